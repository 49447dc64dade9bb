"""DeepLIFT against Captum where Captum can, and its sum on the others."""

from __future__ import annotations

import functools

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from tests.oracle.nets import distance, settled
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.model import Model

SIDES = {"alexnet": 96, "swin_t": 64}


@functools.cache
def net(name: str, averaging: bool = False) -> nn.Module:
    found = settled(name, num_classes=10)
    for module in found.modules():
        if isinstance(module, nn.ReLU):
            # Captum's hooks cannot see what is overwritten.
            module.inplace = False
    if averaging:
        _average(found)
    return found


def _average(module: nn.Module) -> None:
    """Pool by means instead of maxima."""
    for name, child in module.named_children():
        if isinstance(child, nn.MaxPool2d):
            window = child.kernel_size, child.stride, child.padding, child.ceil_mode
            setattr(module, name, nn.AvgPool2d(*window))
        else:
            _average(child)


@functools.cache
def task(name: str, averaging: bool = False) -> Task:
    side = SIDES.get(name, 64)
    preprocess = {"mean": [0.45] * 3, "std": [0.25] * 3, "size": side}
    model = Model(net(name, averaging), preprocess, device="cpu", dtype=torch.float64)
    pixels = torch.rand(3, side, side, generator=torch.Generator().manual_seed(4))
    return make_task(model, pixels)


def ours(name: str, averaging: bool = False) -> Estimate:
    return last_of(estimates(task(name, averaging), "deeplift", {"baseline": "black"}))


def captums(name: str, averaging: bool = False) -> tuple[Tensor, float]:
    """The attribution, and how far its sum is from the difference of the scores."""
    given = task(name, averaging)
    black = given.model.pixels_to_input(torch.zeros(given.x.shape[1:])).reshape(given.x.shape)
    found, gap = captum.attr.DeepLift(net(name, averaging)).attribute(
        given.x.clone(), black.to(given.x), target=given.target, return_convergence_delta=True
    )
    return found, float(gap)


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "squeezenet1_1"])
def test_captum(name: str) -> None:
    expected, gap = captums(name, averaging=True)
    assert abs(gap) < 1e-9
    assert distance(ours(name, averaging=True).value, expected) < 1e-6


def test_captums_maxima_lose_a_part_of_the_difference() -> None:
    found = ours("squeezenet1_1").diagnostics
    whole = found["score_photo"] - found["score_baseline"]
    assert abs(found["completeness_gap"]) < 1e-12
    assert abs(captums("squeezenet1_1")[1]) > 0.5 * abs(whole)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "googlenet", "densenet121", "mobilenet_v3_small", "convnext_tiny", "swin_t"],
)
def test_the_sum_is_exact_where_captum_cannot(name: str) -> None:
    found = ours(name)
    whole = abs(found.diagnostics["score_photo"] - found.diagnostics["score_baseline"])
    assert abs(found.diagnostics["completeness_gap"]) < 1e-9 * max(whole, 1e-3)
    assert float(found.value.abs().sum()) > whole


def test_captum_lets_reused_activations_go_wrong() -> None:
    given = task("resnet18")
    with pytest.raises(RuntimeError):
        captum.attr.DeepLift(net("resnet18")).attribute(
            given.x.clone(), torch.zeros_like(given.x), target=given.target
        )
