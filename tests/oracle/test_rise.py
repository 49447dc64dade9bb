"""RISE against a plain loop, and against the average over every mask there is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.oracle.black_box import NETS, SIDE, answer, small_task
from tests.oracle.nets import distance
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.cells import CellMasks
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.methods.halves import agreement, correlation
from xaiwidgets.model import Model


def _mask(task: Task, index: int, cells: int, p: float) -> Tensor:
    """As the authors make it: enlarge in two dimensions, then cut out."""
    height, width = task.x.shape[-2:]
    step = [math.ceil(side / cells) for side in (height, width)]
    random = task.random(index)
    grid = torch.rand(cells, cells, generator=random, dtype=torch.float64) < p
    top, left = (
        int(draw * side)
        for draw, side in zip(
            torch.rand(2, generator=random, dtype=torch.float64).tolist(), step, strict=True
        )
    )
    size = [(cells + 1) * side for side in step]
    large = functional.interpolate(grid.double()[None, None], size, mode="bilinear")
    return large[0, 0, top : top + height, left : left + width]


@pytest.mark.parametrize("estimator", ["paper", "centered"])
@pytest.mark.parametrize(
    ("name", "kind", "fill"),
    [(name, "probability", "zero") for name in NETS[:2]]
    + [("googlenet", "logit", "blur"), ("resnet18", "logit", "black")],
)
def test_plain_loop(name: str, kind: str, fill: str, estimator: str) -> None:
    task, count, p = small_task(name), 12, 0.4
    filling = torch.zeros_like(task.x)
    if fill != "zero":
        filling = task.model.pixels_to_input(blank(task, fill))[None]
    masks = torch.stack([_mask(task, index, 7, p) for index in range(count)])
    images = masks[:, None] * task.x + (1 - masks[:, None]) * filling
    scores = answer(name, images, task.score, kind)
    if estimator == "centered":
        scores = scores - scores.mean()
    expected = (scores[:, None, None] * masks).sum(0) / (count * p)
    params = {"masks": count, "p": p, "fill": fill, "score": kind, "estimator": estimator}
    found = last_of(estimates(task, "rise", params)).value
    assert found.shape == (SIDE, SIDE)
    assert distance(found, expected) < 1e-9


@pytest.mark.parametrize("frame", [(24, 24), (30, 17), (5, 224)])
@pytest.mark.parametrize("cells", [2, 7])
def test_masks_are_the_enlarged_grids(frame: tuple[int, int], cells: int) -> None:
    task = _tiny_task(nn.Flatten(), frame)
    made = CellMasks(frame, cells, 0.5, task.random, task.x)
    expected = torch.stack([_mask(task, index, cells, 0.5) for index in range(9)])
    torch.testing.assert_close(made.masks(0, 9), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(made.masks(4, 6), expected[4:6], rtol=0, atol=1e-12)
    weights = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double()
    summed = torch.einsum("nm,nhw->mhw", weights, expected)
    torch.testing.assert_close(made.weighted(0, 9, weights), summed, rtol=0, atol=1e-12)


class Spots(nn.Module):
    """Brightness in one corner, times brightness in another, and its opposite."""

    def forward(self, x: Tensor) -> Tensor:
        one, other = x[:, 0, :3, :3].mean((1, 2)), x[:, 0, 4:, 4:].mean((1, 2))
        return torch.stack([one * (1 + other), -one], 1)


def _tiny_task(net: nn.Module, frame: tuple[int, int] = (8, 8), seed: int = 0) -> Task:
    model = Model(net, preprocess="identity", device="cpu", dtype=torch.float64)
    return make_task(model, torch.ones(1, *frame, dtype=torch.float64), 0, seed=seed)


def _limit(task: Task, estimator: str) -> Tensor:
    """The map of infinitely many masks: every grid and every offset once."""
    rows, total, products, scores = [], 0, torch.zeros(8, 8).double(), []
    for bits in itertools.product((0.0, 1.0), repeat=4):
        grid = torch.tensor(bits, dtype=torch.float64).reshape(1, 1, 2, 2)
        large = functional.interpolate(grid, (12, 12), mode="bilinear")[0, 0]
        rows += [large[a : a + 8, b : b + 8] for a in range(4) for b in range(4)]
    masks = torch.stack(rows)
    scores = task.model.logits(masks[:, None] * task.x)[:, 0]
    if estimator == "centered":
        scores = scores - scores.mean()
    products, total = (scores[:, None, None] * masks).sum(0), len(masks)
    return products / (total * 0.5)


@pytest.mark.parametrize("estimator", ["paper", "centered"])
def test_it_converges_and_says_how_far(estimator: str) -> None:
    """`settled` is the correlation with the map of all masks, which is known here."""
    said, true = [], []
    for seed in range(12):
        task = _tiny_task(Spots(), seed=seed)
        params = {"masks": 200, "cells": 2, "estimator": estimator, "score": "logit"}
        last = last_of(estimates(task, "rise", params))
        said.append(last.diagnostics["settled"])
        true.append(correlation(last.value, _limit(task, estimator)))
    assert np.mean(said) == pytest.approx(np.mean(true), abs=0.03)
    task = _tiny_task(Spots(), seed=1)
    params = {"masks": 4000, "cells": 2, "estimator": estimator, "score": "logit"}
    last = last_of(estimates(task, "rise", params))
    assert distance(last.value, _limit(task, estimator)) < 0.05
    assert last.diagnostics["settled"] > 0.98


def test_the_centered_form_is_the_paper_form_without_a_constant() -> None:
    task = small_task("resnet18")
    params = {"masks": 10, "p": 0.5}
    paper = last_of(estimates(task, "rise", {**params, "estimator": "paper"}))
    centered = last_of(estimates(task, "rise", params))
    masks = torch.stack([_mask(task, index, 7, 0.5) for index in range(10)])
    constant = paper.diagnostics["mean_score"] * masks.mean(0) / 0.5
    torch.testing.assert_close(paper.value - centered.value, constant, rtol=1e-9, atol=1e-12)


def test_another_class_costs_nothing() -> None:
    task = small_task("efficientnet_lite0")
    last = last_of(estimates(task, "rise", {"masks": 20}))
    other = Task(task.model, task.prepared, 7, task.logits, task.seed)
    expected = last_of(estimates(other, "rise", {"masks": 20})).value
    found = last.detail.attribution(lambda logits: logits[:, 7])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


def test_agreement_of_halves() -> None:
    one = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert agreement(one, 2 * one + 1) == {"split_half": 1.0, "settled": 1.0}
    assert agreement(one, -one)["settled"] == 0
    assert agreement(one, torch.ones(4)) == {"split_half": 0.0, "settled": 0.0}
    # r = 1/2: R = 2/3, settled = sqrt(2/3).
    other = torch.tensor([1.0, -1.0, 0.0]), torch.tensor([1.0, 0.0, -1.0])
    found = agreement(*other)
    assert found["split_half"] == pytest.approx(0.5)
    assert found["settled"] == pytest.approx(math.sqrt(2 / 3))
