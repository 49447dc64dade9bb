"""Networks so small that the answer is known without running anything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from captum.testing.helpers.basic_models import (
    BasicModel2,
    BasicModel_ConvNet_One_Conv,
    BasicModel_MultiLayer,
)
from numpy.typing import ArrayLike
from torch import Tensor, nn

import xaiwidgets as xai
from xaiwidgets.model import Model


class Row(nn.Module):
    """Hands the pixels of a one-row image to a network of plain numbers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(1))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = BasicModel2()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[:, :1], x[:, 1:])


class Curved(nn.Module):
    """5x + y^2 + sin z."""

    def forward(self, x: Tensor) -> Tensor:
        return (5 * x[:, 0] + x[:, 1] ** 2 + x[:, 2].sin())[:, None]


def _model(net: nn.Module) -> Model:
    return Model(net, preprocess="identity", device="cpu", dtype=torch.float64)


def _row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)


@pytest.fixture
def conv() -> Model:
    return _model(BasicModel_ConvNet_One_Conv())


@pytest.fixture
def square() -> Tensor:
    return torch.arange(16, dtype=torch.float64).reshape(1, 4, 4)


def _same(found: ArrayLike, expected: ArrayLike) -> None:
    np.testing.assert_allclose(np.asarray(found).squeeze(), expected, rtol=0, atol=1e-6)


def test_score(conv: Model, square: Tensor) -> None:
    assert xai.explain(conv, square, "saliency", 0).score == pytest.approx(54)


def test_saliency(conv: Model, square: Tensor) -> None:
    found = xai.explain(conv, square, "saliency", 0).attribution
    _same(np.abs(found), [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]])


def test_input_x_gradient(conv: Model, square: Tensor) -> None:
    found = xai.explain(conv, square, "input_x_gradient", 0).attribution
    _same(found, [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]])


def test_occlusion_of_overlapping_windows(conv: Model, square: Tensor) -> None:
    found = xai.explain(
        conv, square, "occlusion", 0, patch_size=2, stride=1, fill="black", score="logit"
    )
    _same(
        found.attribution,
        [
            [7, 8, 6.5, 4],
            [15.5, 20.75, 22.25, 18.5],
            [30, 39.25, 44.25, 40],
            [36, 45, 50.5, 47],
        ],
    )


def test_occlusion_of_single_values() -> None:
    model = _model(Row(BasicModel_MultiLayer()))
    found = xai.explain(
        model,
        _row(20, 50, 30),
        "occlusion",
        0,
        patch_size=1,
        stride=1,
        fill="black",
        score="logit",
    )
    _same(found.attribution, [80, 200, 120])


def test_occlusion_window_cut_off_at_the_edge() -> None:
    model = _model(Row(BasicModel_MultiLayer()))
    found = xai.explain(
        model,
        _row(20, 50, 30),
        "occlusion",
        0,
        patch_size=2,
        stride=2,
        fill="black",
        score="logit",
    )
    _same(found.attribution, [280, 280, 120])


def test_integrated_gradients_of_the_paper() -> None:
    model = _model(Row(TwoInputs()))
    found = xai.explain(model, _row(3, 1), "integrated_gradients", 0, steps=512, grid="uniform")
    # The kink of the second ReLU lies at alpha = 1/2, on the border of two cells.
    _same(found.attribution, [1.5, -0.5])
    assert found.diagnostics["completeness_gap"] == pytest.approx(0, abs=1e-9)


def test_integrated_gradients_of_a_curve() -> None:
    model = _model(Row(Curved()))
    found = xai.explain(
        model, _row(1, 2, 3), "integrated_gradients", 0, steps=512, baseline=_row(0.5, 1, 1)
    )
    np.testing.assert_allclose(
        found.attribution.squeeze(), [2.5, 3, math.sin(3) - math.sin(1)], atol=1e-5
    )


class Places(nn.Module):
    """A score that is linear in two channels of two places, each with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.weights = nn.Parameter(torch.tensor([[[1.0, -2.0]], [[3.0, -1.0]]]))

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer(x * 1.0) * self.weights).sum((1, 2, 3))[:, None]


# Of activations ((1, 3), (2, -1)) and gradients ((1, -2), (3, -1)). The score is 2; without the
# first channel it is 7, without the second -5.
MAPS = {
    # Weights -1/2 and 1.
    "grad_cam": [1.5, 0],
    # Weights 1 / (2 + 4) and 3 / (2 + 3) of the gradients above 0.
    "grad_cam_plus_plus": [1 / 6 + 2 * 3 / 5, 0],
    # Weights (1 - 6) / 4 and (6 + 1) / 1.
    "xgrad_cam": [-5 / 4 + 14, 0],
    "layer_cam": [1 + 6, 0],
    # Weights (2 - 7) / 2 and (2 + 5) / 2.
    "ablation_cam": [-5 / 2 + 7, 0],
    # The channels as masks leave one place each, with scores -5 and 7.
    "score_cam": [
        1 / (1 + math.exp(12)) + 2 / (1 + math.exp(-12)),
        3 / (1 + math.exp(12)) - 1 / (1 + math.exp(-12)),
    ],
    "layer_ixg": [7, -5],
    # Scaled to (0, 1) and (1, 0), the masks have no place in common.
    "vit_cx": [7, -5],
}


SIGNED = ("layer_ixg", "vit_cx")


@pytest.mark.parametrize("method", MAPS)
def test_maps_of_a_layer(method: str) -> None:
    photo = torch.tensor([[[1.0, 3.0]], [[2.0, -1.0]]], dtype=torch.float64)
    more = {"noise": 0.0, "score": "logit"} if method == "vit_cx" else {}
    found = xai.explain(_model(Places()), photo, method, 0, layer="layer", **more)
    expected = np.array(MAPS[method])
    _same(found.attribution, expected if method in SIGNED else expected.clip(0))


class Pooled(nn.Module):
    """Means of the channels, and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Identity(), nn.Linear(2, 1)
        self.head.weight.data = torch.tensor([[2.0, -3.0]])
        self.head.bias.data = torch.tensor([0.25])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x * 1.0).mean((2, 3)))


def test_cam() -> None:
    """2 (1, 3) - 3 (2, -1); its mean and the bias are the score."""
    photo = torch.tensor([[[1.0, 3.0]], [[2.0, -1.0]]], dtype=torch.float64)
    found = xai.explain(_model(Pooled()), photo, "cam", 0, layer="layer")
    _same(found.attribution, [-4, 9])
    assert found.score == pytest.approx(2.5 + 0.25)
    assert found.diagnostics["bias"] == pytest.approx(0.25)


def test_smoothgrad_of_a_linear_network_is_its_weights() -> None:
    net = nn.Linear(3, 2)
    found = xai.explain(_model(Row(net)), _row(1, 2, 3), "smoothgrad", 1, noise=0.5, samples=7)
    _same(found.attribution, net.weight[1].detach())
    spread = xai.explain(
        _model(Row(net)), _row(1, 2, 3), "smoothgrad", 1, samples=7, form="variance"
    )
    _same(spread.attribution, [0, 0, 0])
