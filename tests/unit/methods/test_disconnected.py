"""Networks whose parts see one cell of the photo each: nothing may be attributed outside of it.

After DiFull of Rao, Böhle, Schiele, "Towards Better Understanding Attribution Methods", 2022
(arXiv 2205.10435): a grid of photos, each with a network of its own, and a class that only one of
them decides. Whatever is attributed elsewhere is wrong, whatever the weights.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from xaiwidgets.engine.batching import Batcher
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods import registry
from xaiwidgets.methods.cams import LayerMap
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.methods.kernel_shap import Shares
from xaiwidgets.methods.occlusion import Occluded
from xaiwidgets.model import Model

SIDE, CELL, STRIDE = 32, 16, 4
CHANNELS = 5

# Methods that must be 0 elsewhere, with parameters; windows and segments lie within cells.
ZERO: dict[str, dict[str, Any]] = {
    "saliency": {},
    "input_x_gradient": {},
    "guided_backprop": {},
    "deconvnet": {},
    "rectgrad": {"q": 30},
    "lrp": {},
    "deeplift": {},
    "integrated_gradients": {"steps": 8},
    "idgi": {"steps": 8},
    "blur_ig": {"steps": 6, "sigma_max": 8.0},
    "guided_ig": {"steps": 8},
    "smoothgrad": {"samples": 6},
    "expected_gradients": {"samples": 6},
    "layer_ixg": {},
    "cam": {},
    "grad_cam": {},
    "grad_cam_plus_plus": {},
    "xgrad_cam": {},
    "layer_cam": {},
    "ablation_cam": {},
    "guided_grad_cam": {},
    # A probability looks at the other classes too.
    "occlusion": {"patch_size": 8, "stride": 8, "score": "logit"},
    "kernel_shap": {"segments": 4, "segmentation": "grid", "score": "logit"},
}
# Those of which it cannot be asked, and why.
NOT_ZERO = {
    "score_cam": "the paper's softmax gives every channel a positive weight",
    "eigen_cam": "knows no class",
    "xrai": "regions are cut by color and may reach over a border",
    "rise": "random masks: 0 only on average",
    "lime": "random samples and a ridge: 0 only on average",
    "vit_cx": "masks of clustered channels: 0 only on average",
    "meaningful_perturbation": "the mask starts everywhere and is driven to 0 in the limit",
    "extremal_perturbation": "the mask has a given area, whatever the class needs of it",
    "phang_mask": "looks at the probabilities of all classes",
    "perceptual_ball": "looks at the other classes too",
}
REGISTERED = [spec.name for spec in registry.methods()]


class Grid(nn.Module):
    """Four networks, each of which sees one cell and alone decides two of eight classes.

    Its channels are its own: they are 0 outside of its cell, so that the last map, global average
    pooling and a linear layer, as CAM needs them, keep the cells apart too.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stems = nn.ModuleList(nn.Conv2d(3, CHANNELS, STRIDE, STRIDE) for _ in range(4))
        self.bodies = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(4))
        self.last = nn.Identity()
        self.heads = nn.ModuleList(nn.Linear(CHANNELS, 2, bias=False) for _ in range(4))
        for head in self.heads:
            # One class for, one against: ReLUs and signs of both kinds occur.
            nn.init.uniform_(head.weight, 0.2, 1)
            with torch.no_grad():
                head.weight[1].neg_()
        for conv in [*self.stems, *self.bodies]:
            nn.init.uniform_(conv.bias, 0, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for index, (stem, body) in enumerate(zip(self.stems, self.bodies, strict=True)):
            cell = inside(index, scale=STRIDE).to(x)
            # Nothing comes in over the border, and nothing goes out.
            found = functional.relu(stem(x)) * cell
            maps.append(functional.relu(body(found)) * cell)
        means = self.last(torch.cat(maps, 1)).mean((2, 3))
        parts = means.reshape(len(x), 4, CHANNELS).unbind(1)
        return torch.cat([head(part) for head, part in zip(self.heads, parts, strict=True)], 1)


@functools.cache
def model_of() -> Model:
    model = Model(
        Grid(),
        {"size": SIDE, "mean": [0.4] * 3, "std": [0.3] * 3},
        None,
        "cpu",
        dtype=torch.float64,
    )
    for kind in ("gradient", "forward"):
        model._batchers[kind] = Batcher(model.device, 4)
    return model


def photo() -> Tensor:
    return torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def run(target: Any, method: str, params: dict[str, Any]) -> tuple[Task, Estimate]:
    task = make_task(model_of(), photo(), target)
    return task, last_of(estimates(task, method, params))


def inside(*cells: int, margin: int = 0, scale: int = 1) -> Tensor:
    """Where some cells are; with `scale` on a coarser map."""
    side, size = SIDE // scale, CELL // scale
    mask = torch.zeros(side, side, dtype=torch.bool)
    for cell in cells:
        top, left = cell // 2 * size, cell % 2 * size
        rows = slice(max(0, top - margin), top + size + margin)
        mask[rows, max(0, left - margin) : left + size + margin] = True
    return mask


def check(estimate: Estimate, *cells: int) -> None:
    value, margin = estimate.value, 0
    assert float(value.abs().max()) > 0
    if isinstance(estimate.detail, LayerMap):
        assert float(estimate.detail.map[~inside(*cells, scale=STRIDE)].abs().max()) == 0
    if value.ndim == 2 and not isinstance(estimate.detail, Occluded | Shares):
        # Enlarged bilinearly a place of a layer's map reaches half a place over the border.
        margin = STRIDE // 2
    assert float(value[..., ~inside(*cells, margin=margin)].abs().max()) <= TINY * float(
        value.abs().max()
    )


# Exactly 0, but where a difference of scores that are equal was rounded.
TINY = 1e-12


def test_every_method_is_listed() -> None:
    assert set(REGISTERED) <= set(ZERO) | set(NOT_ZERO)
    assert not set(ZERO) & set(NOT_ZERO)


@pytest.mark.parametrize("method", [name for name in ZERO if name in REGISTERED])
def test_nothing_outside_of_the_own_cell(method: str) -> None:
    shown = 0
    for target in range(0, 8, 2):
        _, estimate = run(target, method, ZERO[method])
        check(estimate, target // 2)
        shown += 1
    assert shown == 4


@pytest.mark.parametrize("method", [name for name in ZERO if name in REGISTERED])
def test_nothing_outside_of_the_two_cells(method: str) -> None:
    """Several classes, and why one and not the other."""
    check(run([0, 6], method, ZERO[method])[1], 0, 3)
    check(run(xai.Difference(0, 7), method, ZERO[method])[1], 0, 3)
    check(run(lambda logits: logits[:, 2] * logits[:, 4], "saliency", {})[1], 1, 2)


@pytest.mark.parametrize("method", ["rise", "lime", "extremal_perturbation"])
def test_most_is_in_the_own_cell_elsewhere(method: str) -> None:
    params: dict[str, dict[str, Any]] = {
        "rise": {"masks": 600, "cells": 4, "score": "logit"},
        "lime": {"samples": 300, "segments": 4, "segmentation": "grid", "score": "logit"},
        "extremal_perturbation": {"iterations": 40, "area": 0.2, "resolution": 8},
    }
    for target in range(0, 8, 2):
        _, estimate = run(target, method, params[method])
        means = [float(estimate.value[inside(cell)].mean()) for cell in range(4)]
        assert max(means) == means[target // 2]


# --- answers that are known by hand


class Sums(nn.Module):
    """Class i is a_i times the sum of cell i, all inputs being positive."""

    def forward(self, x: Tensor) -> Tensor:
        # No pixel, black ones included, lies on the edge of the ReLU.
        whole = functional.relu(x + 0.1).sum(1)
        cells = whole.unfold(1, CELL, CELL).unfold(2, CELL, CELL).sum((-2, -1)).flatten(1)
        return cells * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=x.dtype)


@pytest.mark.parametrize("target", [0, 3])
@pytest.mark.parametrize("method", ["slope", "share", "cell"])
def test_answers_by_hand(method: str, target: int) -> None:
    """The slope is a_i, each pixel's share a_i x_i, the cell's whole share a_i times its sum."""
    model = Model(Sums(), "identity", device="cpu", dtype=torch.float64)
    x = photo().double()
    task = make_task(model, x, target)
    own = inside(target)
    a = target + 1.0
    expected = {
        "slope": a * own.expand(3, -1, -1),
        "share": a * x * own,
        "cell": a * (x * own).sum() * own,
    }[method]
    cases: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "slope": [
            ("saliency", {}),
            ("guided_backprop", {}),
            ("deconvnet", {}),
        ],
        "share": [
            ("input_x_gradient", {}),
            ("integrated_gradients", {"steps": 3}),
            ("guided_ig", {"steps": 4}),
        ],
        "cell": [
            ("occlusion", {"patch_size": CELL, "stride": CELL, "fill": "black", "score": "logit"}),
            ("kernel_shap", {"segments": 4, "segmentation": "grid", "fill": "black"}),
        ],
    }
    for name, params in cases[method]:
        found = last_of(estimates(task, name, params)).value
        torch.testing.assert_close(found, expected.to(found), rtol=1e-9, atol=1e-9)
