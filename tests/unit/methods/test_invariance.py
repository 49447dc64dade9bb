"""What may not change the numbers: batch size, seed, the way an activation is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xaiwidgets.engine.batching import Batcher
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods import registry
from xaiwidgets.methods.cams import LayerMap
from xaiwidgets.methods.estimate import Estimate, last_of
from xaiwidgets.model import Model

# Every method, small enough to run often; a new method must be listed here.
SMALL: dict[str, list[dict[str, Any]]] = {
    "saliency": [{}],
    "input_x_gradient": [{}],
    "integrated_gradients": [
        {"steps": 13},
        {"steps": 5, "baseline": "noise", "grid": "gauss_legendre"},
        {"steps": 60, "grid": "adaptive", "tolerance": 0.1},
    ],
    "smoothgrad": [
        {"samples": 9},
        {"samples": 5, "form": "variance"},
        {"samples": 3, "base": "integrated_gradients", "base_steps": 4},
    ],
    "occlusion": [
        {"patch_size": 8, "stride": 5},
        {"patch_size": 9, "stride": 9, "fill": "noise", "score": "logit"},
    ],
    "cam": [{}],
    "grad_cam": [{}, {"layer": "norm2"}],
    "grad_cam_plus_plus": [{}],
    "xgrad_cam": [{}],
    "layer_cam": [{"layer": "norm1"}],
    "eigen_cam": [{}],
    "score_cam": [{"layer": "second"}],
    "layer_ixg": [{}, {"layer": "norm2"}],
    "ablation_cam": [{}, {"layer": "second"}],
    "rise": [
        {"masks": 13, "cells": 4},
        {"masks": 11, "cells": 3, "p": 0.3, "estimator": "paper", "fill": "blur"},
    ],
    "lime": [
        {"samples": 17, "segments": 6},
        {"samples": 15, "segments": 9, "segmentation": "grid", "select": "lasso", "features": 3},
    ],
    "kernel_shap": [
        {"segments": 4, "segmentation": "grid"},
        {"segments": 9, "samples": 40, "score": "probability"},
        {"segments": 7, "samples": 30, "sampling": "partition"},
    ],
    "expected_gradients": [{"samples": 9}, {"samples": 7, "baselines": "black+white"}],
    "vit_cx": [{}, {"distance": 0.3, "noise": 0.4, "score": "logit"}],
    "idgi": [{"steps": 13}],
    "blur_ig": [{"steps": 9, "sigma_max": 6.0}, {"steps": 6, "grid": "sqrt"}],
    "guided_ig": [{"steps": 9, "max_dist": 0.1}, {"steps": 7, "fraction": 0.1, "anchors": 1}],
    "xrai": [{"steps": 4, "min_size": 400}],
    "meaningful_perturbation": [
        {"iterations": 4, "resolution": 6},
        {"iterations": 4, "resolution": 8, "game": "preservation", "score": "logit"},
    ],
    "extremal_perturbation": [
        {"iterations": 3, "resolution": 6},
        {"iterations": 3, "resolution": 5, "game": "delete", "area": 0.3},
    ],
    "phang_mask": [
        {"iterations": 4, "resolution": 6},
        {"iterations": 3, "resolution": 8, "out": "probability"},
    ],
    "perceptual_ball": [{"iterations": 6}, {"iterations": 6, "layers": ["first", "third"]}],
    "guided_backprop": [{}],
    "guided_grad_cam": [{}, {"layer": "norm2"}],
    "deconvnet": [{}],
    "rectgrad": [{"q": 60}, {"q": 20, "padding_trick": True}],
    "deeplift": [{}, {"baseline": "noise"}],
    # With a small epsilon single precision hangs on units whose contributions cancel.
    "lrp": [{}, {"composite": "epsilon", "epsilon": 0.01}, {"composite": "epsilon_gamma_box"}],
}
CASES = [(method, params) for method, several in SMALL.items() for params in several]
every_case = pytest.mark.parametrize(
    ("method", "params"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v))
)


def test_every_method_is_checked() -> None:
    assert set(SMALL) == {spec.name for spec in registry.methods()}


class Net(nn.Module):
    """A residual network in which `activate` is called, as is told by `style`."""

    def __init__(self, style: str = "modules") -> None:
        super().__init__()
        torch.manual_seed(5)
        self.style = style
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.third = nn.Conv2d(8, 12, 3, stride=2)
        self.head = nn.Linear(12, 6)
        self.one, self.two, self.three = (nn.ReLU(inplace=style == "in-place") for _ in range(3))
        for norm in (self.norm1, self.norm2):
            nn.init.uniform_(norm.running_mean, -0.3, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
        # Probabilities that are all alike would differ by rounding alone.
        nn.init.uniform_(self.head.weight, -3, 3)
        self.dropout = nn.Dropout(0.5)

    def activate(self, x: Tensor, number: int) -> Tensor:
        if self.style == "smooth":
            return functional.silu(x)
        if self.style == "functional":
            return functional.relu(x)
        if self.style == "functional in-place":
            return functional.relu_(x)
        if self.style == "reused":
            return self.one(x)
        return [self.one, self.two, self.three][number](x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activate(self.norm1(self.first(x)), 0)
        x = self.activate(x + self.norm2(self.second(x)), 1)
        x = self.activate(self.third(x), 2)
        # Code that only knows contiguous activations calls view.
        x = x.view(len(x), 12, -1).mean(2) if self.style == "view" else x.mean((2, 3))
        return self.head(self.dropout(x))


STYLES = ("in-place", "functional", "functional in-place", "reused", "view")


def _model(style: str = "modules", dtype: torch.dtype = torch.float64) -> Model:
    preprocess = {"mean": [0.4] * 3, "std": [0.3] * 3, "size": 24}
    return Model(Net(style).train(), preprocess, device="cpu", dtype=dtype)


def _photo(seed: int = 11) -> Tensor:
    """Coarse squares and a little noise, so that a covered patch, or a blur, changes the answer.

    By default of another seed than the task's: a baseline of noise would be this very photo.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, 6, 6, generator=generator).repeat_interleave(4, 1)
    return 0.8 * coarse.repeat_interleave(4, 2) + 0.2 * torch.rand(3, 24, 24, generator=generator)


def _value(model: Model, method: str, params: dict[str, Any], seed: int = 0) -> Tensor:
    return last_of(estimates(make_task(model, _photo(), 2, seed=seed), method, params)).value


@every_case
@pytest.mark.parametrize("size", [1, 3, 8, 64])
def test_batch_size(method: str, params: dict[str, Any], size: int) -> None:
    model = _model()
    expected = _value(model, method, params)
    for kind in ("gradient", "forward"):
        model._batchers[kind] = Batcher(model.device, size)
    torch.testing.assert_close(_value(model, method, params), expected, rtol=1e-9, atol=1e-12)


@every_case
def test_batch_size_in_float32(method: str, params: dict[str, Any]) -> None:
    # Without edges between on and off, on which single precision falls on either side.
    model = _model("smooth", dtype=torch.float32)
    expected = _value(model, method, params)
    for kind in ("gradient", "forward"):
        model._batchers[kind] = Batcher(model.device, 1)
    found = _value(model, method, params)
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


@every_case
@pytest.mark.parametrize("style", STYLES)
def test_how_activations_are_written(method: str, params: dict[str, Any], style: str) -> None:
    expected = _value(_model(), method, params)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(
        _value(_model(style), method, params), expected, rtol=1e-9, atol=1e-12
    )


@every_case
def test_same_seed_same_numbers(method: str, params: dict[str, Any]) -> None:
    def value() -> Tensor:
        # A new model has learned nothing: what it learns by the clock (batch sizes, the faster one
        # of two ways) changes the last digits of a second run.
        model = _model()
        for kind in ("gradient", "forward"):
            model._batchers[kind] = Batcher(model.device, 4)
        return _value(model, method, params, 7)

    assert torch.equal(value(), value())


@every_case
def test_global_random_state_is_left_alone(method: str, params: dict[str, Any]) -> None:
    model = _model()
    state = torch.get_rng_state()
    _value(model, method, params)
    assert torch.equal(torch.get_rng_state(), state)


@every_case
def test_estimates(method: str, params: dict[str, Any]) -> None:
    """They count up to the total, are not written to later, and can be left at any point."""
    task = make_task(_model(), _photo(), 2)
    seen: list[tuple[Estimate, Tensor]] = []
    for estimate in estimates(task, method, params):
        assert estimate.value.device.type == "cpu"
        assert estimate.value.shape[-2:] == (24, 24)
        seen.append((estimate, estimate.value.clone()))
    done = [estimate.done for estimate, _ in seen]
    assert done == sorted(set(done))
    assert seen[-1][0].finished
    # An early end lowers the last total.
    assert len({estimate.total for estimate, _ in seen[:-1]}) <= 1
    assert all(estimate.total >= seen[-1][0].total for estimate, _ in seen)
    settled = [estimate.diagnostics.get("settled") for estimate, _ in seen]
    assert settled.count(None) in (0, len(settled))
    assert all(0 <= each <= 1 for each in settled if each is not None)
    for estimate, value in seen:
        assert torch.equal(estimate.value, value)


@every_case
def test_exact_precision_agrees(method: str, params: dict[str, Any]) -> None:
    model = _model()
    assert model.fast is not model.net
    exact = _value(model.precise("exact"), method, params)
    torch.testing.assert_close(exact, _value(model, method, params), rtol=1e-9, atol=1e-12)


# Shares of a score that must add up, which bfloat16 cannot do.
NOT_ROUNDED = ("lrp", "deeplift")


@every_case
def test_rounded_to_bfloat16(method: str, params: dict[str, Any]) -> None:
    """It is float32 again that comes out, and its error is told."""
    model = _model(dtype=torch.float32).precise("bf16")
    steps = estimates(make_task(model, _photo(), 2), method, params)
    if method in NOT_ROUNDED:
        with pytest.raises(ValueError, match="bfloat16"):
            last_of(steps)
        return
    last = last_of(steps)
    assert last.value.dtype == torch.float32
    assert 0 < last.diagnostics["precision_error"] < 0.05
    uses_gradients = registry.get(method).uses_gradients
    assert ("precision_error_gradient" in last.diagnostics) == uses_gradients
    if isinstance(last.detail, LayerMap):
        assert last.detail.map.dtype == torch.float32


def _state(net: nn.Module) -> dict[str, Any]:
    return {
        "mode": [module.training for module in net.modules()],
        "grad": [p.requires_grad for p in net.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "tensors": copy.deepcopy(net.state_dict()),
        "hooks": [
            (dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(m._backward_hooks))
            for m in net.modules()
        ],
        "strides": [p.stride() for p in net.parameters()],
    }


def _same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for key in ("mode", "grad", "hooks", "strides"):
        assert one[key] == other[key]
    for a, b in zip(one["grads"], other["grads"], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    for name, value in one["tensors"].items():
        assert torch.equal(value, other["tensors"][name])


class Failing(Net):
    """Raises at the next batch once `batches` is set high."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        self.batches += 1
        if self.batches > 90:
            raise ZeroDivisionError("half-way")
        return super().forward(x)


@every_case
@pytest.mark.parametrize("end", ["success", "error", "cancel"])
def test_network_is_left_as_it_was(method: str, params: dict[str, Any], end: str) -> None:
    net = Failing() if end == "error" else Net()
    net.train()
    net.head.requires_grad_(False)
    net.first.register_forward_hook(lambda module, inputs, output: None)
    net(_photo()[None]).sum().backward()
    if isinstance(net, Failing):
        net.batches = 0
    before = _state(net)
    model = Model(net, {"mean": [0.4] * 3, "std": [0.3] * 3, "size": 24}, device="cpu")
    for kind in ("gradient", "forward"):
        model._batchers[kind] = Batcher(model.device, 1)
    steps = estimates(make_task(model, _photo(), 2), method, params)
    hooks = _state(model.net)["hooks"], _state(model.fast)["hooks"]
    if end == "success":
        last_of(steps)
    elif end == "cancel":
        next(steps)
        steps.close()
    else:
        whole = estimates(make_task(model, _photo(), 2), method, params)
        if not next(whole).finished:
            next(steps)
        model.net.batches = 99  # type: ignore[assignment]
        model.fast.batches = 99  # type: ignore[assignment]
        with pytest.raises(ZeroDivisionError):
            last_of(steps)
    _same(before, _state(net))
    assert hooks == (_state(model.net)["hooks"], _state(model.fast)["hooks"])
    for module in (model.net, model.fast):
        assert not any(p.requires_grad for p in module.parameters())
        assert all(p.grad is None for p in module.parameters())
