"""A region of a segmentation network, beside plain loops."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from tests.oracle.nets import settle_norms
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.cams import place_of
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.model import Model

SIDE = 48
BOX = (8, 12, 30, 40)
CLASS = 5


class Toy(nn.Module):
    """Maps at half the size of the photo."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 9, 3, padding=1), nn.ReLU(inplace=True))
        self.classifier = nn.Conv2d(9, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.middle(self.backbone(x)))


@functools.cache
def net_of(name: str) -> nn.Module:
    if name == "toy":
        net: nn.Module = Toy()
    else:
        import torchvision

        torch.manual_seed(0)
        net = torchvision.models.segmentation.fcn_resnet50(
            weights=None, weights_backbone=None, num_classes=7
        )
    settle_norms(net)
    return net.double().eval()


@functools.cache
def task_of(name: str, kind: str) -> Task:
    pixels = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    model = Model(net_of(name), {"size": SIDE}, device="cpu", dtype=torch.float64)
    return make_task(model, pixels, xai.Region(BOX if kind == "box" else _mask(), CLASS))


def _mask() -> Tensor:
    down, right = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (down - 20) ** 2 + (right - 28) ** 2 < 150


def _maps(name: str, x: Tensor) -> Tensor:
    """As large as the photo: a place of the small maps is as many pixels."""
    found = net_of(name)(x)
    maps: Tensor = found["out"] if isinstance(found, dict) else found
    return maps.repeat_interleave(SIDE // maps.shape[2], 2).repeat_interleave(
        SIDE // maps.shape[3], 3
    )


def score(name: str, x: Tensor, kind: str, probability: bool = False) -> Tensor:
    maps = _maps(name, x)
    maps = (maps.softmax(1) if probability else maps)[:, CLASS]
    if kind == "mask":
        return maps[:, _mask()].mean(1)
    return maps[:, BOX[0] : BOX[2], BOX[1] : BOX[3]].mean((1, 2))


every_case = pytest.mark.parametrize(
    ("name", "kind"),
    [("toy", "box"), ("toy", "mask"), ("fcn_resnet50", "box"), ("fcn_resnet50", "mask")],
)


def _value(name: str, kind: str, method: str, **params: object) -> Tensor:
    return last_of(estimates(task_of(name, kind), method, params)).value


def _close(found: Tensor, expected: Tensor) -> None:
    size = float(expected.abs().max())
    assert size > 0
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9 * size)


@every_case
def test_clean(name: str, kind: str) -> None:
    task = task_of(name, kind)
    with torch.no_grad():
        expected = [score(name, task.x, kind, p)[0] for p in (False, True)]
    _close(task.logits, torch.stack(expected))


@every_case
def test_integrated_gradients(name: str, kind: str) -> None:
    task, steps = task_of(name, kind), 3
    start = task.model.pixels_to_input(blank(task, "black")).reshape(task.x.shape)
    total = torch.zeros_like(task.x)
    for step in range(steps):
        x = (start + (step + 0.5) / steps * (task.x - start)).requires_grad_(True)
        total += torch.autograd.grad(score(name, x, kind).sum(), x)[0]
    _close(
        _value(name, kind, "integrated_gradients", steps=steps, grid="uniform"),
        ((task.x - start) * total / steps)[0],
    )


@every_case
def test_grad_cam(name: str, kind: str) -> None:
    task, net = task_of(name, kind), net_of(name)
    layer = "middle" if name == "toy" else "backbone.layer4"
    kept: list[Tensor] = []
    hook = net.get_submodule(layer).register_forward_hook(lambda m, i, output: kept.append(output))
    x = task.x.clone().requires_grad_(True)
    try:
        found = score(name, x, kind).sum()
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(found, kept[0])
    small = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu()
    expected = functional.interpolate(small, (SIDE, SIDE), mode="bilinear")[0, 0].detach()
    _close(_value(name, kind, "grad_cam", layer=layer), expected)


@pytest.mark.parametrize(("name", "layer"), [("toy", "middle"), ("fcn_resnet50", "classifier.3")])
def test_the_default_layer_is_not_the_scores_themselves(name: str, layer: str) -> None:
    assert place_of(task_of(name, "box"), None).name.startswith(layer)
    assert torch.equal(
        _value(name, "box", "grad_cam"), _value(name, "box", "grad_cam", layer=layer)
    )


@pytest.mark.parametrize("probability", [False, True])
@every_case
def test_occlusion(name: str, kind: str, probability: bool) -> None:
    task = task_of(name, kind)
    patch, stride = 20, 16
    fill = task.model.pixels_to_input(blank(task, "mean")).reshape(task.x.shape)
    total, count = torch.zeros(2, SIDE, SIDE, dtype=torch.float64)
    with torch.no_grad():
        clean = score(name, task.x, kind, probability)[0]
        for top in (0, 16, 32):
            for left in (0, 16, 32):
                covered = task.x.clone()
                window = (..., slice(top, top + patch), slice(left, left + patch))
                covered[window] = fill[window]
                total[window] += clean - score(name, covered, kind, probability)[0]
                count[window] += 1
    found = _value(
        name,
        kind,
        "occlusion",
        patch_size=patch,
        stride=stride,
        score="probability" if probability else "logit",
    )
    _close(found, total / count)


def test_a_region_only_depends_on_what_its_places_see() -> None:
    """The toy's maps see 3 to 4 pixels around; nothing farther away may count."""
    task = task_of("toy", "box")
    found = last_of(estimates(task, "saliency", {})).value
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[BOX[0] - 4 : BOX[2] + 4, BOX[1] - 4 : BOX[3] + 4] = False
    assert float(found[:, outside].abs().max()) == 0
    assert float(found.abs().max()) > 0
