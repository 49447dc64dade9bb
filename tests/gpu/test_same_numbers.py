"""On a GPU every method gives the numbers that it gives on the CPU, and leaves no trace there.

In float64: what is left is the order of additions.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from tests.oracle.nets import LITE0, photo, raw
from tests.unit.methods.test_invariance import Net, _photo, every_case
from xaiwidgets.engine.batching import Batcher
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.inside.deep_dream import deep_dream
from xaiwidgets.methods.estimate import Estimate, last_of
from xaiwidgets.model import Model


def _model(net: nn.Module, device: str, preprocess: Any, dtype: torch.dtype) -> Model:
    made = Model(net, preprocess, device=device, dtype=dtype)
    for kind in ("gradient", "forward"):
        # A measured size goes by the clock, and sums go by the size.
        made._batchers[kind] = Batcher(made.device, 4)
    return made


def _far(one: Tensor, other: Tensor) -> float:
    assert one.device.type == other.device.type == "cpu"
    return float((one.double() - other.double()).norm() / other.double().norm().clamp_min(1e-30))


@every_case
def test_small_network(method: str, params: dict[str, Any]) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        preprocess = {"mean": [0.4] * 3, "std": [0.3] * 3, "size": 24}
        model = _model(Net(), device, preprocess, torch.float64)
        task = make_task(model, _photo(), 2)
        found[device] = last_of(estimates(task, method, params))
    ours, theirs = found["cuda"], found["cpu"]
    assert ours.value.any()
    assert _far(ours.value, theirs.value) < 1e-6
    for name, value in theirs.diagnostics.items():
        assert ours.diagnostics[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


REAL = {
    "integrated_gradients": {"steps": 8},
    "smoothgrad": {"samples": 8},
    "occlusion": {"patch_size": 32, "stride": 16},
    "grad_cam": {},
    "guided_backprop": {},
    "rise": {"masks": 32},
    "deeplift": {},
    "lrp": {},
    "layer_ixg": {},
}


def _real(name: str, device: str, method: str, dtype: torch.dtype) -> Estimate:
    preprocess = LITE0 if name == "efficientnet_lite0" else None
    model = _model(raw(name, dtype), device, preprocess, dtype)
    return last_of(estimates(make_task(model, photo()), method, REAL[method]))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize("method", list(REAL))
def test_real_network(name: str, method: str) -> None:
    ours, theirs = (_real(name, device, method, torch.float64) for device in ("cuda", "cpu"))
    assert _far(ours.value, theirs.value) < 1e-6


def test_real_network_in_single_precision() -> None:
    ours, theirs = (
        _real("efficientnet_lite0", device, "occlusion", torch.float32)
        for device in ("cuda", "cpu")
    )
    assert _far(ours.value, theirs.value) < 1e-2


def test_deep_dream() -> None:
    net, preprocess = Net(), {"mean": [0.4] * 3, "std": [0.3] * 3, "size": 24}
    image = (photo()[:64, :80], "norm2")
    ours, theirs = (
        deep_dream(
            _model(net, device, preprocess, torch.float64),
            *image,
            iterations=12,
            octaves=2,
            size=80,
        )
        for device in ("cuda", "cpu")
    )
    assert np.abs(ours.image.astype(int) - theirs.image).max() <= 1
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-6)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "lrp", "perceptual_ball"])
def test_the_network_is_left_as_it_was(method: str) -> None:
    """Also one that is on the GPU itself, after success and after a stop in the middle."""
    net = Net().cuda()
    before = copy.deepcopy(net.state_dict())
    model = Model(net, {"size": 24}, device="cuda")
    task = make_task(model, _photo(), 2)
    whole = last_of(estimates(task, method, {}))
    steps = estimates(task, method, {})
    next(steps)
    steps.close()
    after = net.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert whole.value.isfinite().all()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_reduced_precision_tells_its_error(precision: str) -> None:
    model = Model(raw("efficientnet_lite0"), LITE0, device="cuda")
    found = xai.explain(
        model, photo(), "integrated_gradients", steps=4, precision=precision, progress=False
    )
    assert 0 < found.diagnostics["precision_error"] < 0.2
    assert found.diagnostics["precision_error_gradient"] > 0
