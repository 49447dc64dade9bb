"""Blur IG: the gradient gathered along a path from a blurred photo to the sharp one.

    R_i(x) = - integral over sigma from 0 to sigma_max of  d S_c(z) / dz_i * d z_i / d sigma

with z = x(sigma), the photo under a Gaussian blur. Xu, Venugopalan, Sundararajan, "Attribution in
Scale and Space", 2020 (arXiv 2004.03383). No baseline has to be chosen, and the path
introduces no features that the photo does not have.

Details of our own: edges are mirrored, so that no dark frame appears; d x / d sigma is the exact
derivative of the blur, not a difference; the integral is the midpoint rule on a grid that is
uniform in sigma ("linear") or in sigma squared, the paper's scale ("sqrt").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from xaiwidgets.engine.gaussian import blur, blur_and_rate
from xaiwidgets.engine.gradients import gradients
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.integrated_gradients import spread
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.path import completeness, scores
from xaiwidgets.methods.registry import method


@method(
    title="Blur IG",
    family="path",
    paper="Xu, Venugopalan, Sundararajan: Attribution in Scale and Space (2020)",
    url="https://arxiv.org/abs/2004.03383",
    needs="gradients",
)
def blur_ig(
    task: Task,
    *,
    steps: Annotated[
        int, Range(1, 512, 1, "Steps", help="Points on the path from the blurred photo.")
    ] = 64,
    sigma_max: Annotated[
        float,
        Range(1, 200, 1, "Largest blur", "px", "Sigma of the blur that the path begins with."),
    ] = 50.0,
    grid: Annotated[
        str,
        Choice(
            ("linear", "sqrt"),
            "Grid",
            help="Points uniform in sigma (linear), or in its square (sqrt).",
        ),
    ] = "linear",
) -> Iterator[Estimate]:
    """Blur IG, `(C, H, W)`, in logits.

    Diagnostics: `completeness_gap` (sum of the attribution minus the difference of the scores of
    the photo and the most blurred one), `completeness_relative`, `score_photo`, `score_baseline`.
    """
    first_score, last_score = scores(task, torch.cat([blur(task.x, sigma_max), task.x]))
    order = spread(steps)
    gathered = torch.zeros_like(task.x[0])
    rates: list[Tensor] = []

    def inputs(first: int, last: int) -> Tensor:
        rates.clear()
        blurred = []
        for step in order[first:last]:
            sigma, width = _place(step, steps, sigma_max, grid)
            point, rate = blur_and_rate(task.x, sigma)
            blurred.append(point)
            rates.append(rate[0] * width)
        return torch.cat(blurred)

    for batch in gradients(task.model, steps, inputs, task.score, exact=task.exact):
        for row, rate in zip(batch.gradients, rates, strict=True):
            gathered -= row * rate
        # The mean over the steps so far, times all of them.
        value = (gathered * (steps / batch.stop)).contiguous().cpu()
        yield Estimate(value, batch.stop, steps, completeness(value, first_score, last_score))


def _place(step: int, steps: int, sigma_max: float, grid: str) -> tuple[float, float]:
    """Sigma at the middle of a step, and how much of sigma the step stands for."""
    middle = (step + 0.5) / steps
    if grid == "linear":
        return sigma_max * middle, sigma_max / steps
    root = math.sqrt(middle)
    return sigma_max * root, sigma_max / (2 * root * steps)
