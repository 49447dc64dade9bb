"""Integrated gradients: the gradient gathered along a straight path from a baseline to the photo.

    R_i(x) = (x_i - b_i) * integral over alpha from 0 to 1 of  d S_c(b + alpha (x - b)) / dx_i

Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017 (arXiv 1703.01365), eq. 1.
The integral is the midpoint rule on a fixed grid, alpha_j = (j + 1/2) / steps. Completeness says
that R sums to S_c(x) - S_c(b); how far it misses is the completeness gap, reported always.

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
from xaiwidgets.methods.baselines import BLANKS, blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method


@dataclass(frozen=True)
class PathChunk:
    """Steps of the path that are new since the last estimate.

    Attributes:
        indices: their places on the grid, 0 to steps - 1.
        alphas: where they lie, 0 (baseline) to 1 (photo).
        scores: the target's logit there.
        probabilities: the target's probability there.
        gradients: gradient summed over channels, `(k, H, W)`.
        integrands: (photo - baseline) times gradient, summed over channels, `(k, H, W)`; their
            mean over the grid is the heatmap.
        baseline: its pixels `(C, H, W)` in 0..1.
        baseline_score: the target's logit at the baseline.
        photo_score: the target's logit at the photo.
    """

    indices: list[int]
    alphas: list[float]
    scores: list[float]
    probabilities: list[float]
    gradients: Tensor
    integrands: Tensor
    baseline: Tensor
    baseline_score: float
    photo_score: float


def _any_image(value: Any) -> Any:
    from xaiwidgets.images import read_image

    read_image(value)
    return value


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
    baseline: Annotated[
        Any,
        Choice(
            BLANKS,
            "Baseline",
            help="Where the path begins: the image that stands for 'nothing there'.",
            also=_any_image,
            also_text="an image",
        ),
    ] = "black",
) -> Iterator[Estimate]:
    """Integrated gradients, `(C, H, W)`, in logits.

    Diagnostics: `completeness_gap` (sum of the attribution minus the difference of the scores, in
    logits), `completeness_relative` (its size relative to that difference), `score_photo`,
    `score_baseline`.
    """
    pixels = blank(task, baseline)
    start = task.model.pixels_to_input(pixels).reshape(task.x.shape)
    difference = task.x - start
    with torch.inference_mode():
        ends = torch.cat([start, task.x])
        baseline_score, photo_score = task.score(task.model.logits(ends, exact=task.exact)).tolist()
    order = spread(steps)
    gathered = torch.zeros_like(task.x[0])
    trapezoid = photo_score - baseline_score

    def inputs(first: int, last: int) -> Tensor:
        alphas = [(order[k] + 0.5) / steps for k in range(first, last)]
        weights = torch.tensor(alphas, dtype=task.x.dtype, device=task.x.device)
        return torch.addcmul(start, difference, weights.reshape(-1, 1, 1, 1))

    for batch in gradients(task.model, steps, inputs, task.score, exact=task.exact):
        for row in batch.gradients:
            # One by one, so that the sum does not depend on the batch size.
            gathered += row
        value = (gathered * difference[0] / batch.stop).contiguous().cpu()
        gap = float(value.sum(dtype=torch.float64)) - trapezoid
        indices = order[batch.start : batch.stop]
        logits = batch.logits
        chunk = PathChunk(
            indices,
            [(index + 0.5) / steps for index in indices],
            task.score(logits).tolist(),
            logits.softmax(1)[:, task.target].tolist(),
            batch.gradients.sum(1).cpu(),
            (batch.gradients * difference).sum(1).cpu(),
            pixels,
            baseline_score,
            photo_score,
        )
        diagnostics = {
            "completeness_gap": gap,
            "completeness_relative": abs(gap) / max(abs(trapezoid), 1e-12),
            "score_photo": photo_score,
            "score_baseline": baseline_score,
        }
        yield Estimate(value, batch.stop, steps, diagnostics, chunk)


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
