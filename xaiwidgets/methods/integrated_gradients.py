"""Integrated gradients: the gradient gathered along a straight path from a baseline to the photo.

    R_i(x) = (x_i - b_i) * integral over alpha from 0 to 1 of  d S_c(b + alpha (x - b)) / dx_i

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017 (arXiv 1703.01365), eq. 1.
The integral is the midpoint rule, on cells of equal width, alpha_j = (j + 1/2) / steps, or on those
of another rule of `path_grid`. Completeness says that R sums to S_c(x) - S_c(b); how far it misses
is the completeness gap, reported always.

The grid is visited in the order of a van der Corput sequence, so that an estimate from a few steps
already spreads over the whole path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import gradient, gradients
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.halves import agreement, half_of
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.path import BASELINE, Line, completeness, line, scores
from xaiwidgets.methods.path_grid import (
    GRIDS,
    PROBES,
    Grid,
    adaptive,
    chosen,
    gauss_legendre,
    uniform,
)
from xaiwidgets.methods.registry import method

# Steps that an early end takes at least.
_FEWEST = 16


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
            help="Where the steps lie: evenly, by Gauss and Legendre, or where the score moves. "
            "Auto: where the score moves from black, else evenly.",
        ),
    ] = "auto",
    tolerance: Annotated[
        float,
        Range(
            *(0, 0.5, 0.01, "Tolerance"),
            help="Stop early once the relative completeness gap stays below this; 0 never stops.",
        ),
    ] = 0.0,
) -> Iterator[Estimate]:
    """Integrated gradients, `(C, H, W)`, in logits.

    The grid "adaptive" first asks for the score at 15 places of the path, without gradients but for
    the middle: what is found there is a first estimate, with `done` 0 and no `detail`, that goes
    into no later one. Its steps follow the score that is explained: only on the other grids do the
    maps of two scores add up exactly to that of their sum.

    With a `tolerance` it ends before all steps are taken, once the relative gap has stayed within
    it while the number of steps doubled, at 16 steps at least: a gap may pass through zero by
    chance. `total` is then lowered to the steps that were taken.

    Diagnostics: `completeness_gap` (sum of the attribution minus the difference of the scores, in
    logits), `completeness_relative` (its size relative to that difference), `score_photo`,
    `score_baseline`; `split_half` and `settled`, see `methods.halves`, from two interleaved halves
    of the steps. The gap is a warning light; the picture settles long before it closes.
    """
    path = line(task, baseline)
    pixels = blank(task, baseline)
    sums = torch.zeros(2, *task.x.shape[1:], dtype=task.x.dtype, device=task.x.device)
    kind = chosen(grid, baseline)
    if kind == "adaptive":
        # Something to look at before the path is probed.
        value, middle = one_step(task, path)
        told = completeness(value, path.start_score, path.end_score)
        yield Estimate(value, 0, steps, told | agreement(*sums.sum(1).cpu()))
        places = adaptive(steps, probe(task, path, middle))
    else:
        places = uniform(steps) if kind == "uniform" else gauss_legendre(steps)
    order = spread(steps)
    closing = _Closing(tolerance, path.end_score - path.start_score)

    def inputs(first: int, last: int) -> Tensor:
        return path.points([places.alphas[k] for k in order[first:last]])

    for batch in gradients(task.model, steps, inputs, task.score, exact=task.exact):
        integrands = (batch.gradients * path.difference).sum(1).cpu()
        stop = batch.start
        for row, change in enumerate(integrands.sum((1, 2), dtype=torch.float64).tolist()):
            # One by one, so that neither the sums nor the end depend on the batch size.
            weight = places.weights[order[stop]]
            sums[half_of(stop)].add_(batch.gradients[row], alpha=weight)
            stop += 1
            if closing.closed(change, weight):
                break
        count = stop - batch.start
        pictures = sums * path.difference
        value = (pictures.sum(0) / closing.weight).contiguous().cpu()
        logits = batch.logits[:count]
        chunk = PathChunk(
            places,
            order[batch.start : stop],
            task.score(logits).tolist(),
            task.score.probability(logits).tolist(),
            batch.gradients[:count].sum(1).cpu(),
            integrands[:count],
            pixels,
            path.start_score,
            path.end_score,
        )
        told = completeness(value, path.start_score, path.end_score)
        told |= agreement(*pictures.sum(1).cpu())
        yield Estimate(value, stop, stop if closing.done else steps, told, chunk)
        if closing.done:
            return


def one_step(task: Task, path: Line) -> tuple[Tensor, float]:
    """The midpoint rule with a single step, `(C, H, W)`, and the score in the middle."""
    middle = path.points([0.5])
    found, logits = gradient(task.model, middle, task.score, exact=task.exact)
    return (found * path.difference)[0].cpu(), float(task.score(logits))


def probe(task: Task, path: Line, middle: float) -> list[float]:
    """The score at `PROBES + 1` equally spaced places; both ends and the middle are known."""
    half = PROBES // 2
    between = [index / PROBES for index in range(1, PROBES) if index != half]

    def evaluate(first: int, last: int) -> list[float]:
        return scores(task, path.points(between[first:last]))

    parts = task.model.batcher("forward").run(len(between), evaluate)
    found = [score for _, _, part in parts for score in part]
    return [path.start_score, *found[: half - 1], middle, *found[half - 1 :], path.end_score]


class _Closing:
    """Watches the completeness gap step by step.

    A gap passes through zero by chance now and then; it counts as closed when it stayed within
    the tolerance while the number of steps doubled.

    Attributes:
        weight: of the steps so far.
        done: whether the gap is closed.
    """

    def __init__(self, tolerance: float, whole: float) -> None:
        self._limit = tolerance * abs(whole)
        self._on = tolerance > 0
        self._whole = whole
        self._sum = self.weight = 0.0
        self._count = self._open = 0
        self.done = False

    def closed(self, change: float, weight: float) -> bool:
        """Take the next step's integrand, summed, and its weight; say whether that is enough."""
        self._count += 1
        self._sum += weight * change
        self.weight += weight
        if abs(self._sum / self.weight - self._whole) > self._limit:
            self._open = self._count
        self.done = self._on and self._count >= max(_FEWEST, 2 * self._open)
        return self.done


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
