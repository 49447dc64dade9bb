"""DeepLIFT by hand, its sum, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from tests.toys import Flattening, Functional, InPlace, Residual, Reused, noise, toy_model
from xaiwidgets.model import Model


class Scores(nn.Module):
    """One score of one row of pixels; `weight` only makes it a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.flatten(1) * self.weight)[:, None]


def _shares(function: Callable[[Tensor], Tensor], *pixels: float) -> Any:
    model = Model(Scores(function), preprocess="identity", device="cpu", dtype=torch.float64)
    row = torch.tensor(pixels, dtype=torch.float64).reshape(1, 1, -1)
    return xai.explain(model, row, "deeplift", 0, baseline=torch.zeros_like(row))


CASES: dict[str, tuple[Callable[[Tensor], Tensor], list[float], list[float]]] = {
    # The saturated unit, whose gradient is zero.
    "saturated": (lambda x: 1 - torch.relu(1 - x[:, 0]), [2], [1]),
    "two rectifiers": (
        lambda x: 2 * torch.relu(x[:, 0]) + 2 * torch.relu(x[:, 1] - 1.5),
        [1, 2],
        [2, 1],
    ),
    # 3 * 4 - 0: by the mean of the factors, 2 * 3 and 1.5 * 4.
    "product": (lambda x: x[:, 0] * x[:, 1], [3, 4], [6, 6]),
    "square": (lambda x: x[:, 0] * x[:, 0] + x[:, 1] ** 2, [3, 2], [9, 4]),
    # The winner for the photo takes the rise from 0 to 5.
    "maximum": (lambda x: functional.max_pool1d(x[:, None], 3).flatten(), [2, 5, 1], [0, 5, 0]),
    "sigmoid": (lambda x: torch.sigmoid(x[:, 0]), [1], [1 / (1 + np.exp(-1)) - 0.5]),
    "no difference": (lambda x: torch.relu(x[:, 0]) + x[:, 1], [0, 1], [0, 1]),
    "quotient": (lambda x: x[:, 0] / (1 + x[:, 1]), [4, 1], [3, -1]),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    function, pixels, expected = CASES[name]
    found = _shares(function, *pixels)
    np.testing.assert_allclose(found.attribution.ravel(), expected, rtol=1e-6, atol=1e-6)
    assert abs(found.diagnostics["completeness_gap"]) < 1e-9


def test_a_falling_maximum_goes_to_the_baselines_winner() -> None:
    model = Model(
        Scores(lambda x: functional.max_pool1d(x[:, None], 3).flatten()),
        preprocess="identity",
        device="cpu",
        dtype=torch.float64,
    )
    photo, blank = (
        torch.tensor(v, dtype=torch.float64)[None, None] for v in ([0.1, 0.2, 0], [0.9, 0, 0.3])
    )
    found = xai.explain(model, photo, "deeplift", 0, baseline=blank)
    np.testing.assert_allclose(found.attribution.ravel(), [-0.7, 0, 0], atol=1e-6)


def test_softmax_sums_for_each_sample() -> None:
    found = _shares(lambda x: torch.softmax(x, 1)[:, 0], 2.0, 1, -1)
    expected = np.exp(2) / (np.exp(2) + np.exp(1) + np.exp(-1)) - 1 / 3
    assert found.attribution.sum() == pytest.approx(expected, rel=1e-6)
    # What is the same for all classes changes no probability.
    even = _shares(lambda x: torch.softmax(x, 1)[:, 0], 50.0, 50, 50)
    assert even.attribution.sum() == pytest.approx(0, abs=1e-9)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "layer norm": lambda x: functional.layer_norm(x, (4,)),
    "group norm": lambda x: functional.group_norm(x.reshape(len(x), 4, 1), 2).flatten(1),
    "attention": lambda x: functional.scaled_dot_product_attention(
        *(x.reshape(len(x), 2, 2) * k for k in (1, 2, 3))
    ).flatten(1),
    "gelu": functional.gelu,
    "hardswish": functional.hardswish,
    "average pooling": lambda x: functional.avg_pool1d(x[:, None], 2)[:, 0].repeat(1, 2),
}


@pytest.mark.parametrize("name", NORMS)
def test_nothing_is_lost(name: str) -> None:
    weights = torch.tensor([1.0, -2, 0.5, 3], dtype=torch.float64)
    found = _shares(lambda x: (NORMS[name](x + 0.1) * weights).sum(1), 0.3, -1.0, 2.0, 0.7)
    whole = found.diagnostics["score_photo"] - found.diagnostics["score_baseline"]
    assert abs(whole) > 1e-3
    assert abs(found.diagnostics["completeness_gap"]) < 1e-12 * max(1, abs(whole)) * 100


@pytest.mark.parametrize("kind", [Functional, Residual, Flattening])
@pytest.mark.parametrize("baseline", ["black", "blur", "noise"])
def test_the_sum_is_the_difference(kind: Any, baseline: str) -> None:
    found = xai.explain(
        toy_model(kind(), dtype=torch.float64), noise(), "deeplift", 1, baseline=baseline
    )
    assert found.diagnostics["completeness_relative"] < 1e-10
    assert found.diagnostics["acted_on"] >= 2


def test_ways_to_write_an_activation() -> None:
    nets = [toy_model(kind(), dtype=torch.float64) for kind in (Functional, Reused, InPlace)]
    a, b, c = (xai.explain(net, noise(), "deeplift", 1) for net in nets)
    np.testing.assert_array_equal(a.attribution, b.attribution)
    np.testing.assert_array_equal(a.attribution, c.attribution)


class Sorting(Functional):
    def activate(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1).sort(1).values


class Mixing(Functional):
    """Takes the mean over the batch away, as a network in train mode does."""

    def activate(self, x: Tensor) -> Tensor:
        return functional.relu(x - x.mean(0, keepdim=True))


def test_an_operation_without_a_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"no rule for .*(cumsum|sort)"):
        xai.explain(toy_model(Sorting()), noise(), "deeplift")


def test_images_that_are_mixed_are_noticed() -> None:
    with pytest.raises(ValueError, match="treats the images of a batch together"):
        xai.explain(toy_model(Mixing()), noise(), "deeplift")
