"""Every method and every kind of target: explained as it is defined, or refused."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from tests.unit.methods.test_invariance import SMALL, Net
from xaiwidgets.engine.batching import Batcher
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods import registry
from xaiwidgets.methods.estimate import last_of
from xaiwidgets.methods.scores import scored
from xaiwidgets.model import Model

# Maps that are linear in the score, with parameters for which they are: the map of a sum or a
# difference is the sum or difference of the maps.
LINEAR: dict[str, dict[str, Any]] = {
    "saliency": {},
    "input_x_gradient": {},
    # The adaptive grid follows the score that is explained.
    "integrated_gradients": {"steps": 5, "grid": "uniform"},
    "blur_ig": {"steps": 4, "sigma_max": 6.0},
    "smoothgrad": {"samples": 5},
    "expected_gradients": {"samples": 5},
    "layer_ixg": {},
    "cam": {},
    "occlusion": {"patch_size": 8, "stride": 5},
    "rise": {"masks": 9, "cells": 4},
    "kernel_shap": {"segments": 4, "segmentation": "grid"},
    "lrp": {},
    "deeplift": {},
}
# Those that have to refuse, and what.
REFUSED = {
    ("phang_mask", "difference"),
    ("phang_mask", "output"),
    ("perceptual_ball", "classes"),
    ("perceptual_ball", "output"),
}
METHODS = [spec.name for spec in registry.methods()]
# CAM is not defined for such a number, and rules need one for each operator of the callable.
NOT_OF_A_SQUARE = {"cam": "CAM needs a layer that is followed by", "lrp": "no rule for operations"}
every_method = pytest.mark.parametrize("method", METHODS)


def made(net: nn.Module | None = None) -> Model:
    preprocess = {"mean": [0.4] * 3, "std": [0.3] * 3, "size": 24}
    names = None if net else list("abcdef")
    model = Model(net or Net(), preprocess, names, "cpu", dtype=torch.float64)
    for kind in ("gradient", "forward"):
        model._batchers[kind] = Batcher(model.device, 4)
    return model


def photo() -> Tensor:
    # Another seed than the task's: a baseline of noise would be this very photo.
    return torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(11))


def value(method: str, target: Any, params: dict[str, Any], net: nn.Module | None = None) -> Tensor:
    return last_of(estimates(make_task(made(net), photo(), target), method, params)).value


def close(found: Tensor, expected: Tensor) -> None:
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12 + 1e-9 * _size(expected))


def _size(values: Tensor) -> float:
    return float(values.abs().max())


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("method", LINEAR)
def test_linear_methods(method: str, score: str) -> None:
    params = dict(LINEAR[method])
    if "score" in registry.get(method).parameters:
        params["score"] = score
    elif score == "probability":
        return  # such a method shows logits alone
    a, b = value(method, 2, params), value(method, "e", params)
    close(value(method, ["c", 4], params), a + b)
    close(value(method, xai.Difference("c", "e"), params), a - b)
    close(value(method, xai.Difference(["c", 4], 0), params), a + b - value(method, "a", params))


class Combined(nn.Module):
    """The scores of `net`, and behind them what `last` makes of them, as one more class."""

    def __init__(self, last: Any) -> None:
        super().__init__()
        self.net = Net()
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return torch.stack([logits[:, 0] * 0, self.last(logits)], 1)


@every_method
@pytest.mark.parametrize("kind", ["classes", "difference", "output"])
def test_the_score_is_the_one_that_was_asked_for(method: str, kind: str) -> None:
    """The same map as for a network that has the asked-for number as a class of its own."""
    parts = {
        "classes": ([1, 3], lambda z: z[:, 1] + z[:, 3]),
        "difference": (xai.Difference(1, 3), lambda z: z[:, 1] - z[:, 3]),
        "output": (_squared, lambda z: _squared(z)),
    }
    target, last = parts[kind]
    params = dict(SMALL[method][0])
    layer = params.get("layer")
    if (method, kind) in REFUSED:
        with pytest.raises(ValueError, match=r"is defined for .*, not for"):
            value(method, target, params)
        return
    if method in ("phang_mask", "perceptual_ball"):
        return  # defined by all classes: the tests below
    if method == "lrp" and kind != "output":
        return  # depends on how the network is written: the test of linear methods
    if "score" in registry.get(method).parameters:
        params["score"] = "logit"
    if kind == "output" and method in NOT_OF_A_SQUARE:
        with pytest.raises(ValueError, match=NOT_OF_A_SQUARE[method]):
            value(method, target, params)
        return
    found = value(method, target, params)
    if layer is not None:
        params["layer"] = f"net.{layer}"
    close(found, value(method, 1, params, Combined(last)))


def _squared(output: Tensor) -> Tensor:
    return output[:, 1].square() + output[:, 3]


@every_method
def test_the_same_twice(method: str) -> None:
    targets = {"classes": [1, 3], "difference": xai.Difference(1, 3), "output": _squared}
    for kind, target in targets.items():
        if (method, kind) in REFUSED or (kind == "output" and method in NOT_OF_A_SQUARE):
            continue
        one, other = (value(method, target, SMALL[method][-1]) for _ in range(2))
        assert torch.equal(one, other)
        assert bool(torch.isfinite(one).all())


def test_phang_of_several_is_of_their_joint_probability() -> None:
    """As for a network in which the two are one class."""

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Tensor) -> Tensor:
            logits = self.net(x)
            both = logits[:, [1, 3]].logsumexp(1, keepdim=True)
            return torch.cat([both, logits[:, [0, 2, 4, 5]]], 1)

    params = {"iterations": 4, "resolution": 6, "out": "probability", "w_out": 1.0, "w_in": 1.0}
    # Both terms are divided by the logarithm of the number of classes.
    fewer = math.log(5) / math.log(6)
    close(
        value("phang_mask", [1, 3], params),
        value("phang_mask", 0, params | {"w_out": fewer, "w_in": fewer}, Joined()),
    )


def test_perceptual_ball_of_a_difference_is_that_of_two_classes() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)[:, [1, 3]]

    params = {"iterations": 5, "layers": "none"}
    close(
        value("perceptual_ball", xai.Difference(1, 3), params),
        value("perceptual_ball", 0, params, Two()),
    )


def test_cam_of_a_linear_callable() -> None:
    found = value("cam", lambda logits: 2 * logits[:, 1] - logits[:, 3], {})
    close(found, 2 * value("cam", 1, {}) - value("cam", 3, {}))


def test_probabilities() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = logits.softmax(1)
    goal = made().goal(xai.Difference((1, 2), 3))
    torch.testing.assert_close(
        scored(logits, goal, "probability"), shares[:, 1] + shares[:, 2] - shares[:, 3]
    )
    with pytest.raises(ValueError, match=r'one class.*always 1.*score="logit"'):
        scored(logits[:, :1], goal, "probability")


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 1]


@pytest.mark.parametrize(
    "method",
    [s.name for s in registry.methods() if "score" in s.parameters] + ["phang_mask"],
)
def test_the_probability_of_the_only_class_is_refused(method: str) -> None:
    params = dict(SMALL[method][0])
    if method != "phang_mask":
        params["score"] = "probability"
    with pytest.raises(ValueError, match="one class, whose softmax is always 1"):
        value(method, 0, params, Single())


@every_method
def test_network_is_left_as_it_was_by_a_callable_that_fails(method: str) -> None:
    model = made()
    calls = 0

    def fails(output: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ZeroDivisionError
        return _squared(output)

    task = make_task(model, photo(), fails)
    before = copy.deepcopy(model.net.state_dict())
    with pytest.raises((ZeroDivisionError, ValueError), match=r"^$|defined for|CAM needs|no rule"):
        last_of(estimates(task, method, SMALL[method][0]))
    for net in (model.net, model.fast):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    for name, kept in model.net.state_dict().items():
        assert torch.equal(kept, before[name])
    # And it still answers.
    assert bool(torch.isfinite(value(method, 1, SMALL[method][0])).all())
