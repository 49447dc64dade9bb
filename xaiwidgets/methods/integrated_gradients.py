"""Integrated gradients: the gradient gathered along a straight path from a baseline to the photo.

    R_i(x) = (x_i - b_i) * integral over alpha from 0 to 1 of  d S_c(b + alpha (x - b)) / dx_i

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017 (arXiv 1703.01365), eq. 1.
The integral is the midpoint rule on a fixed grid, alpha_j = (j + 1/2) / steps, or one of the other
rules of `path_grid`. Completeness says that R sums to S_c(x) - S_c(b); how far it misses is the
completeness gap, reported always.

The grid is visited in the order of a van der Corput sequence, so that an estimate from a few steps
already spreads over the whole path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import gradients
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.halves import agreement
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.path import BASELINE, Line, completeness, line, scores
from xaiwidgets.methods.path_grid import GRIDS, PROBES, Grid, adaptive, gauss_legendre, uniform
from xaiwidgets.methods.registry import method

# A gap can pass through zero by chance; it counts as closed when it stays so for that many steps.
_FEWEST = 8


@dataclass(frozen=True)
class PathChunk:
    """Steps of the path that are new since the last estimate.

    Attributes:
        grid: all the steps of the path.
        indices: places of the new ones on it, 0 to steps - 1.
        scores: the target's logit there.
        probabilities: the target's probability there.
        gradients: gradient summed over channels, `(k, H, W)`.
        integrands: (photo - baseline) times gradient, summed over channels, `(k, H, W)`; their
            sum over the grid by its weights is the heatmap.
        baseline: its pixels `(C, H, W)` in 0..1.
        baseline_score: the target's logit at the baseline.
        photo_score: the target's logit at the photo.
    """

    grid: Grid
    indices: list[int]
    scores: list[float]
    probabilities: list[float]
    gradients: Tensor
    integrands: Tensor
    baseline: Tensor
    baseline_score: float
    photo_score: float


@method(
    title="Integrated gradients",
    family="path",
    paper="Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks (2017)",
    url="https://arxiv.org/abs/1703.01365",
    needs="gradients",
)
def integrated_gradients(
    task: Task,
    *,
    steps: Annotated[
        int, Range(1, 512, 1, "Steps", help="Points on the path from the baseline to the photo.")
    ] = 64,
    baseline: Annotated[Any, BASELINE] = "black",
    grid: Annotated[
        str,
        Choice(
            GRIDS,
            "Grid",
            help="Where the steps lie: evenly, by Gauss and Legendre, or where the score moves.",
        ),
    ] = "uniform",
    tolerance: Annotated[
        float,
        Range(
            *(0, 0.5, 0.01, "Tolerance"),
            help="Stop early once the relative completeness gap stays below this; 0 never stops.",
        ),
    ] = 0.0,
) -> Iterator[Estimate]:
    """Integrated gradients, `(C, H, W)`, in logits.

    With a `tolerance` it ends once the relative gap was below it at every estimate of the last 8
    steps: a gap may pass through zero by chance.

    Diagnostics: `completeness_gap` (sum of the attribution minus the difference of the scores, in
    logits), `completeness_relative` (its size relative to that difference), `score_photo`,
    `score_baseline`; `split_half` and `settled`, see `methods.halves`, of the picture from every
    other step. The gap is a warning light; the picture settles long before it closes.
    """
    path = line(task, baseline)
    pixels = blank(task, baseline)
    places = _grid(task, path, grid, steps)
    order = spread(steps)
    halves = _Half(task.x[0]), _Half(task.x[0])
    closed = 0

    def inputs(first: int, last: int) -> Tensor:
        return path.points([places.alphas[k] for k in order[first:last]])

    for batch in gradients(task.model, steps, inputs, task.score, exact=task.exact):
        indices = order[batch.start : batch.stop]
        for number, (row, index) in enumerate(
            zip(batch.gradients, indices, strict=True), batch.start
        ):
            # One by one, so that the sums do not depend on the batch size.
            # By the parity of its ones: by its last bit, one half would be half of the path.
            halves[number.bit_count() % 2].add(row, places.weights[index])
        value = _together(halves) * path.difference[0]
        value = value.contiguous().cpu()
        gap = completeness(value, path.start_score, path.end_score)
        if gap["completeness_relative"] > tolerance:
            closed = batch.stop
        enough = tolerance > 0 and batch.stop - closed >= _FEWEST
        settled = agreement(*(half.picture(path.difference[0]) for half in halves))
        chunk = PathChunk(
            places,
            indices,
            task.score(batch.logits).tolist(),
            batch.logits.softmax(1)[:, task.target].tolist(),
            batch.gradients.sum(1).cpu(),
            (batch.gradients * path.difference).sum(1).cpu(),
            pixels,
            path.start_score,
            path.end_score,
        )
        total = batch.stop if enough else steps
        yield Estimate(value, batch.stop, total, {**gap, **settled}, chunk)
        if enough:
            return


def _grid(task: Task, path: Line, kind: str, steps: int) -> Grid:
    if kind == "adaptive":
        between = [index / PROBES for index in range(1, PROBES)]
        # A few at a time: no more memory than the gradients that follow.
        found = [
            score
            for start in range(0, len(between), 4)
            for score in scores(task, path.points(between[start : start + 4]))
        ]
        return adaptive(steps, [path.start_score, *found, path.end_score])
    return gauss_legendre(steps) if kind == "gauss_legendre" else uniform(steps)


class _Half:
    """Weighted sum of the gradients of every other step."""

    def __init__(self, like: Tensor) -> None:
        self.sum = torch.zeros_like(like)
        self.weight = 0.0

    def add(self, gradient: Tensor, weight: float) -> None:
        self.sum.add_(gradient, alpha=weight)
        self.weight += weight

    def picture(self, difference: Tensor) -> Tensor:
        return (self.sum * difference).sum(0)


def _together(halves: tuple[_Half, _Half]) -> Tensor:
    one, other = halves
    return (one.sum + other.sum) / (one.weight + other.weight)


def spread(count: int) -> list[int]:
    """The numbers below `count`, each once, in the order of a van der Corput sequence."""
    order: dict[int, None] = {}
    step = 0
    while len(order) < count:
        order.setdefault(int(_van_der_corput(step) * count))
        step += 1
    return list(order)


def _van_der_corput(number: int) -> float:
    result, place = 0.0, 0.5
    while number:
        result += place * (number & 1)
        number >>= 1
        place /= 2
    return result
