"""LRP by hand and against dense matrices, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from tests.toys import Flattening, Functional, InPlace, Residual, Reused, noise, toy_model
from xaiwidgets.methods.lrp_layers import RULES, Layer, Settings
from xaiwidgets.model import Model

EPS, GAMMA = 1e-6, 0.3


def _model(net: nn.Module) -> Model:
    return Model(net, preprocess="identity", device="cpu", dtype=torch.float64)


@pytest.fixture
def square() -> Tensor:
    return torch.arange(16, dtype=torch.float64).reshape(1, 4, 4)


def _explained(square: Tensor, composite: Any) -> Any:
    net = _model(BasicModel_ConvNet_One_Conv())
    return xai.explain(net, square, "lrp", 0, composite=composite, epsilon=0)


def test_epsilon_of_a_convolution(square: Tensor) -> None:
    expected = [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]]
    np.testing.assert_allclose(_explained(square, "epsilon").attribution[0], expected, atol=1e-6)


def test_z_plus_of_a_convolution(square: Tensor) -> None:
    # Units of 4, 31 and 40 speak for the class, those of 6 and 15 against it. Each shares out what
    # it has to the nine pixels of its window, by their values.
    relevance = torch.tensor([[0.0, 4], [31 - 6, 40 - 15]], dtype=torch.float64)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        window = square[0, row : row + 3, column : column + 3]
        expected[row : row + 3, column : column + 3] += (
            window / window.sum() * relevance[row, column]
        )
    found = _explained(square, {"conv": "z_plus"}).attribution[0]
    np.testing.assert_allclose(found[3], [3.7037, 7.6235, 8.2099, 4.1667], atol=1e-4)
    assert found.sum() == pytest.approx(54, rel=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_flat_of_a_convolution(square: Tensor) -> None:
    found = _explained(square, {"first": "flat"}).attribution[0]
    np.testing.assert_allclose(found[1], [2.7778, 6, 6, 3.2222], atol=1e-4)
    assert found.sum() == pytest.approx(54, rel=1e-6)


# --- every rule as a dense matrix


def _linear() -> tuple[Callable[..., Tensor], Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    return functional.linear, weight, bias, torch.Size([1, 7])  # type: ignore[return-value]


def _convolution() -> tuple[Callable[..., Tensor], Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)

    def apply(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return functional.conv2d(x, w, b, stride=2, padding=1, groups=2)

    return apply, weight, bias, torch.Size([1, 4, 5, 6])  # type: ignore[return-value]


def _dense(apply: Callable[..., Tensor], weight: Tensor, shape: Any) -> Tensor:
    """The layer as a matrix (inputs, outputs)."""
    inputs = torch.Size(shape).numel()
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *shape[1:])
    return apply(basis, weight, None).flatten(1)


def _share(numerator: Tensor, constant: Tensor, relevance: Tensor) -> Tensor:
    """Sum over outputs j of numerator_ij R_j / stab(sum_i numerator_ij + constant_j)."""
    z = numerator.sum(0) + constant
    return (numerator * (relevance / (z + torch.where(z < 0, -EPS, EPS)))).sum(1)


def _by_matrix(
    name: str, x: Tensor, w: Tensor, ones: Tensor, b: Tensor, r: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    up, down = w.clamp(min=0), w.clamp(max=0)
    xp, xn = x.clamp(min=0)[:, None], x.clamp(max=0)[:, None]
    none = torch.zeros_like(b)
    if name == "epsilon":
        return _share(x[:, None] * w, b, r)
    if name in ("z_plus", "alpha1_beta0"):
        return _share(xp * up + xn * down, b.clamp(min=0), r)
    if name == "alpha2_beta1":
        agreeing = _share(xp * up + xn * down, b.clamp(min=0), r)
        return 2 * agreeing - _share(xp * down + xn * up, b.clamp(max=0), r)
    if name == "gamma":
        z = (x[:, None] * w).sum(0) + b
        above = xp * (w + GAMMA * up) + xn * (w + GAMMA * down)
        below = xp * (w + GAMMA * down) + xn * (w + GAMMA * up)
        return _share(above, b + GAMMA * b.clamp(min=0), r * (z > 0)) + _share(
            below, b + GAMMA * b.clamp(max=0), r * (z < 0)
        )
    if name == "flat":
        return _share(ones, none, r)
    assert name == "z_box"
    numerator = x[:, None] * w - low[:, None] * up - high[:, None] * down
    return _share(numerator, none, r)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", [_linear, _convolution])
@pytest.mark.parametrize("sign", ["mixed", "positive"])
def test_rules_are_their_matrices(name: str, kind: Callable[..., Any], sign: str) -> None:
    apply, weight, bias, shape = kind()
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    low, high = torch.zeros_like(x), torch.ones_like(x)
    if sign == "mixed":
        x, low, high = 2 * x - 1, low - 1, high
    output = apply(x, weight, bias)
    relevance = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    settings = Settings(EPS, GAMMA, low, high)
    found = RULES[name](Layer(apply, weight, bias), x, relevance, settings)
    spread = bias if kind is _linear else bias.repeat_interleave(output[0, 0].numel())
    expected = _by_matrix(
        name,
        x.flatten(),
        _dense(apply, weight, shape),
        _dense(apply, torch.ones_like(weight), shape),
        spread,
        relevance.flatten(),
        low.flatten(),
        high.flatten(),
    )
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-10, atol=1e-10)


# --- the network as a whole


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1"])
def test_ways_to_write_an_activation(composite: str) -> None:
    nets = [toy_model(kind(), dtype=torch.float64) for kind in (Functional, Reused, InPlace)]
    a, b, c = (xai.explain(net, noise(), "lrp", 1, composite=composite) for net in nets)
    np.testing.assert_array_equal(a.attribution, b.attribution)
    np.testing.assert_array_equal(a.attribution, c.attribution)


def _without_biases(net: nn.Module) -> Model:
    for module in net.modules():
        for name in ("bias", "running_mean"):
            if isinstance(getattr(module, name, None), Tensor):
                getattr(module, name).data.zero_()
    return toy_model(net, dtype=torch.float64)


@pytest.mark.parametrize("kind", [Functional, Residual, Flattening])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus_flat"])
def test_without_biases_nothing_leaks(kind: Any, composite: str) -> None:
    if (kind, composite) == (Residual, "epsilon_plus_flat"):
        # Its gated convolution has units below zero that nothing positive flows into.
        composite = "epsilon"
    params = {"composite": composite, "epsilon": 1e-9}
    found = xai.explain(_without_biases(kind()), noise(), "lrp", 1, **params)
    assert found.diagnostics["leak_relative"] < 1e-5
    assert found.attribution.sum() == pytest.approx(found.score, rel=1e-4)


def test_biases_take_a_share_or_none() -> None:
    net = toy_model(Functional(), dtype=torch.float64)
    for composite in ("epsilon", "epsilon_plus"):
        params = {"composite": composite, "epsilon": 1e-9}
        paper = xai.explain(net, noise(), "lrp", 1, **params)
        assert paper.diagnostics["leak_relative"] > 0.5
        without = xai.explain(net, noise(), "lrp", 1, biases=False, **params)
        assert without.diagnostics["leak_relative"] < 1e-6


def test_own_composites() -> None:
    net = toy_model(Functional(), dtype=torch.float64)
    mine = {"first": "flat", "second": "gamma", "head": "z_plus"}
    found = xai.explain(net, noise(), "lrp", 1, composite=mine)
    told = {name: n for name, n in found.diagnostics.items() if name.startswith("layers_")}
    assert told == {"layers_flat": 1, "layers_gamma": 1, "layers_z_plus": 1}
    same = xai.explain(net, noise(), "lrp", 1, composite={"conv": "gamma", "first": "flat"})
    assert same.diagnostics["layers_epsilon"] == 1


@pytest.mark.parametrize(
    ("composite", "error", "words"),
    [
        ("epsilon_minus", ValueError, "epsilon_plus"),
        ({"conv": "z_minus"}, ValueError, "z_plus"),
        ({"secnd": "gamma"}, ValueError, "second"),
        ({1: "gamma"}, TypeError, "by their names"),
        ({"conv": 3}, TypeError, "by their names"),
        (7, TypeError, "composite"),
    ],
)
def test_bad_composites(composite: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        xai.explain(toy_model(Functional()), noise(), "lrp", composite=composite)


class Sorting(Functional):
    def activate(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 1).sort(1).values


def test_an_operation_without_a_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"no rule for .*(cumsum|sort)"):
        xai.explain(toy_model(Sorting()), noise(), "lrp")


class Scaled(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 2)


def test_z_box_needs_the_image_as_it_is() -> None:
    with pytest.raises(ValueError, match="reads the image as it is"):
        xai.explain(toy_model(Scaled()), noise(), "lrp", composite="epsilon_gamma_box")
