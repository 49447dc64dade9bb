"""Guided IG: integrated gradients on a path that avoids high gradients.

    R_i(x) = integral along the path of  d S_c(x) / dx_i  dx_i

Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi, "Guided Integrated Gradients: an Adaptive
Path Method for Removing Noise", 2021 (arXiv 2106.09788), algorithm 1. In each of equal
steps (equal in the L1 distance that is left to the photo) only the share `fraction` of the inputs
with the smallest absolute gradient moves on, so that large gradients on the way, which are mostly
noise, are passed late and quickly.

Each input's way is measured by alpha_i from 0 (baseline) to 1 (photo). None may be more than
`max_dist` before or behind the straight line, which replaces the paper's anchors in its authors'
later practice; `anchors` are points of the straight line that every input meets at the same time,
as in the paper. Either keeps the path near; max_dist = 0 is the straight line. A step
takes the gradient where it begins, as in the paper, so completeness holds in the limit of many
steps, and the gap is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import gradient
from xaiwidgets.engine.upload import upload
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Range
from xaiwidgets.methods.path import BASELINE, completeness, line
from xaiwidgets.methods.registry import method

# Slopes that differ by less are equal: that is what rounding makes of them.
_TIES = 1e-9


@method(
    title="Guided IG",
    family="path",
    paper="Kapishnikov et al.: Guided Integrated Gradients: an Adaptive Path Method for Removing "
    "Noise (2021)",
    url="https://arxiv.org/abs/2106.09788",
    needs="gradients",
)
def guided_ig(
    task: Task,
    *,
    steps: Annotated[
        int, Range(1, 512, 1, "Steps", help="Steps of the path, one gradient each.")
    ] = 200,
    fraction: Annotated[
        float,
        Range(
            0.01, 1, 0.01, "Fraction", "%", "Share of the inputs that moves on, lowest gradient."
        ),
    ] = 0.25,
    max_dist: Annotated[
        float,
        Range(
            0,
            1,
            0.01,
            "Distance",
            "%",
            "How far an input may be from the straight line; 0 is the straight line itself.",
        ),
    ] = 0.02,
    anchors: Annotated[
        int,
        Range(0, 20, 1, "Anchors", help="Points of the straight line that the path must meet."),
    ] = 0,
    baseline: Annotated[Any, BASELINE] = "black",
) -> Iterator[Estimate]:
    """Guided IG, `(C, H, W)`, in logits. Steps depend on each other and run one after another.

    With fewer steps than stretches between anchors, there are as many anchors as fit.

    Diagnostics: `completeness_gap`, `completeness_relative`, `score_photo`, `score_baseline`, as in
    integrated gradients.
    """
    path = line(task, baseline)
    # On the CPU in float64: whether an input has arrived is decided exactly, on every device.
    way = path.difference[0].to("cpu", torch.float64)
    weights = way.abs().flatten()
    alphas = torch.zeros_like(weights)
    gathered = torch.zeros_like(way)
    stretches = min(anchors + 1, steps)
    borders = [round(steps * k / stretches) for k in range(stretches + 1)]

    for stretch in range(stretches):
        for step in range(borders[stretch] + 1, borders[stretch + 1] + 1):
            done = upload(alphas.reshape(way.shape), path.start.device, path.start.dtype)
            here = torch.addcmul(path.start, path.difference, done[None])
            found, _ = gradient(task.model, here, task.score, exact=task.exact)
            slope = found[0].to("cpu", torch.float64)
            aim = step / steps
            moved = advance(
                alphas,
                weights,
                slope.abs().flatten(),
                aim,
                max(aim - max_dist, borders[stretch] / steps),
                min(aim + max_dist, borders[stretch + 1] / steps),
                fraction,
            )
            gathered += slope * way * (moved - alphas).reshape(way.shape)
            alphas = moved
            value = gathered.to(task.x.dtype, copy=True)
            gap = completeness(value, path.start_score, path.end_score)
            yield Estimate(value, step, steps, gap)


def advance(
    alphas: Tensor,
    weights: Tensor,
    slopes: Tensor,
    aim: float,
    low: float,
    high: float,
    fraction: float,
) -> Tensor:
    """One step of the path: where each input is afterwards, as a share of its way.

    Args:
        alphas: where each is now, `(n,)`.
        weights: length of each one's way, at least 0.
        slopes: absolute gradients.
        aim: mean of alpha after the step, weighted by the ways.
        low: where all must be at least.
        high: where none may be beyond.
        fraction: share of the inputs that moves at a time.
    """
    alphas = alphas.clamp_min(low)
    wanted = aim * weights.sum()
    rank = math.floor(fraction * (len(alphas) - 1)) + 1
    while True:
        need = float(wanted - (weights * alphas).sum())
        # What does not move at all has always arrived.
        free = (alphas < high) & (weights > 0)
        if need <= 1e-12 * float(wanted) or not bool(free.any()):
            return alphas
        open_slopes = slopes.where(free, math.inf)
        # Equal slopes come in any order, and not quite equal, by the order of additions.
        chosen = free & (open_slopes <= open_slopes.kthvalue(rank).values * (1 + _TIES))
        room = float((weights * (high - alphas))[chosen].sum())
        share = min(need / room, 1.0)
        # Those that arrive are set, or rounding would leave them a little before it.
        there = high if share == 1 else alphas + share * (high - alphas)
        alphas = torch.where(chosen, torch.as_tensor(there, dtype=alphas.dtype), alphas)
        if share < 1:
            return alphas
