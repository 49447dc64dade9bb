"""Backward rules against Captum and module hooks, on networks of the usual kinds."""

from __future__ import annotations

import functools
from typing import Any

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from tests.oracle import pooling
from tests.oracle.nets import distance, plain_lite0, settled
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.model import Model

SIDE = 64
RECTIFIED = ("resnet18", "vgg16", "googlenet", "efficientnet_lite0")


@functools.cache
def net(name: str) -> nn.Module:
    """In float64, with normalizations that do something."""
    if name == "efficientnet_lite0":
        return plain_lite0().double()
    return settled(name)


@functools.cache
def task(name: str) -> Task:
    preprocess = {"mean": [0.45] * 3, "std": [0.25] * 3, "size": SIDE}
    model = Model(net(name), preprocess, device="cpu", dtype=torch.float64)
    pixels = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    return make_task(model, pixels)


def ours(name: str, method: str, **params: Any) -> Tensor:
    return last_of(estimates(task(name), method, params)).value


class Hooked(torch.overrides.TorchFunctionMode):
    """Plain tensor hooks on the input of every ReLU, which is all that these rules need.

    With `shares`, a maximum gives back to its whole window, by their positive values.
    """

    def __init__(self, rule: Any, shares: bool = False) -> None:
        super().__init__()
        self.rule = rule
        self.shares = shares

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        called = getattr(func, "__name__", "")
        if self.shares and called in pooling.NAMES:
            found = pooling.windows(args[0], **pooling.read(args, kwargs or {}), fill=0)
            part = found.detach().clamp(min=0)
            part = part / part.sum(-1, keepdim=True).clamp_min(1e-300)
            return pooling.with_way_back(func(*args, **kwargs), (part * found).sum(-1))
        if called not in ("relu", "hardtanh"):
            return func(*args, **(kwargs or {}))
        z = args[0].clone()
        a = z.detach().clamp(0, 6 if called == "hardtanh" else None)
        linear = z * 1
        linear.register_hook(lambda g: self.rule(z.detach(), a, g))
        return a + linear - linear.detach()


def by_hooks(name: str, rule: Any, shares: bool = False) -> Tensor:
    x = task(name).x.clone().requires_grad_()
    with Hooked(rule, shares):
        logits = net(name)(x)
    return torch.autograd.grad(logits[0, task(name).target], x)[0]


def clipped(name: str, z: Tensor) -> Tensor:
    return z < 6 if name == "efficientnet_lite0" else torch.ones_like(z, dtype=torch.bool)


@pytest.mark.parametrize("name", RECTIFIED)
def test_guided_backprop(name: str) -> None:
    def rule(z: Tensor, a: Tensor, g: Tensor) -> Tensor:
        return g.clamp(min=0) * (z > 0) * clipped(name, z)

    assert distance(ours(name, "guided_backprop"), by_hooks(name, rule)) < 1e-9


@pytest.mark.parametrize("name", RECTIFIED)
def test_deconvnet(name: str) -> None:
    def rule(z: Tensor, a: Tensor, g: Tensor) -> Tensor:
        return g.clamp(min=0)

    assert distance(ours(name, "deconvnet"), by_hooks(name, rule)) < 1e-9


def _rectified(q: float) -> Any:
    def rule(z: Tensor, a: Tensor, g: Tensor) -> Tensor:
        ranked = (a * g).flatten().sort().values
        threshold = ranked[round(q / 100 * (len(ranked) - 1))]
        return g * (a * g > threshold)

    return rule


@pytest.mark.parametrize("q", [40.0, 90.0])
@pytest.mark.parametrize("name", RECTIFIED)
def test_rectgrad(name: str, q: float) -> None:
    expected = task(name).x * by_hooks(name, _rectified(q))
    assert distance(ours(name, "rectgrad", q=q), expected) < 1e-9


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "googlenet"])
def test_rectgrad_redistributes(name: str) -> None:
    expected = task(name).x * by_hooks(name, _rectified(40.0), shares=True)
    found = ours(name, "rectgrad", q=40.0, redistribute=True)
    assert distance(found, expected) < 1e-9
    assert distance(found, ours(name, "rectgrad", q=40.0)) > 0.1


LAYERS = {
    "resnet18": "layer4",
    "vgg16": "features",
    "googlenet": "inception5b",
    "efficientnet_lite0": "_blocks.15",
}


@pytest.mark.parametrize("name", RECTIFIED)
def test_guided_grad_cam(name: str) -> None:
    """The map by a hook on the layer, times guided backprop by hooks on the rectifiers."""
    kept: list[Tensor] = []
    module = net(name).get_submodule(LAYERS[name])
    # Of a copy, as some layers are overwritten by what follows.
    handle = module.register_forward_hook(lambda m, i, out: kept.append(out) or out.clone())
    try:
        logits = net(name)(task(name).x.clone().requires_grad_())
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, task(name).target], kept[0])
    small = (gradient.mean((2, 3), keepdim=True) * kept[0].detach()).sum(1, keepdim=True).relu()
    assert float(small.max()) > 0
    where = nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear")

    def rule(z: Tensor, a: Tensor, g: Tensor) -> Tensor:
        return g.clamp(min=0) * (z > 0) * clipped(name, z)

    found = ours(name, "guided_grad_cam", layer=LAYERS[name])
    assert distance(found, by_hooks(name, rule) * where) < 1e-9
    if name in ("resnet18", "vgg16"):
        theirs = captum.attr.GuidedGradCam(net(name), module)
        expected = theirs.attribute(
            task(name).x.clone(), task(name).target, interpolate_mode="bilinear"
        )
        assert distance(found, expected) < 1e-9


@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_captum_agrees_where_activations_are_modules(name: str) -> None:
    x, target = task(name).x, task(name).target
    for method, theirs in (
        ("guided_backprop", captum.attr.GuidedBackprop),
        ("deconvnet", captum.attr.Deconvolution),
    ):
        expected = theirs(net(name)).attribute(x.clone(), target)
        assert distance(ours(name, method), expected) < 1e-9


def test_captum_misses_functional_activations() -> None:
    """On GoogLeNet it gives the plain gradient; ours is what hooks on each call give."""
    x, target = task("googlenet").x, task("googlenet").target
    theirs = captum.attr.GuidedBackprop(net("googlenet")).attribute(x.clone(), target)
    plain = captum.attr.Saliency(net("googlenet")).attribute(x.clone(), target, abs=False)
    assert distance(theirs, plain) == 0
    assert distance(ours("googlenet", "guided_backprop"), plain) > 0.5
