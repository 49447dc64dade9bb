"""XRAI: the regions of the photo with the densest integrated gradients.

    A = mean of integrated gradients from black and from white, summed over channels
    next region = argmax over segments s of  mean of A over the pixels of s that are not taken yet

Kapishnikov, Bolukbasi, Viegas, Terry, "XRAI: Better Attributions Through Regions", 2019 (arXiv
1906.02825), algorithm 1. Segments are Felzenszwalb's at scales 50, 100, 150, 250, 500 and 1200
(sigma 0.8, at least 150 pixels, dilated by 5 pixels), on the photo at 224 pixels a side.

A pixel's value is the density of the region that took it, so the map sums to what A sums to. As in
the authors' code, a segment that would add less than 50 pixels (a third of the smallest segment) is
left out, and pixels that nobody took become one last region. Other than there, channels are summed,
not maximized, so that the map stays complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import gradients
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.integrated_gradients import spread
from xaiwidgets.methods.params import Range
from xaiwidgets.methods.path import completeness, line
from xaiwidgets.methods.regions import SIDE, painted, ranked, segments
from xaiwidgets.methods.registry import method

_GROWTH = 1.5
"""Regions are ranked anew when the gradients have become so many times as many."""


@method(
    title="XRAI",
    family="path",
    paper="Kapishnikov et al.: XRAI: Better Attributions Through Regions (2019)",
    url="https://arxiv.org/abs/1906.02825",
    needs="gradients",
)
def xrai(
    task: Task,
    *,
    steps: Annotated[
        int,
        Range(1, 256, 1, "Steps", help="Points on each of the two paths, from black and white."),
    ] = 100,
    min_size: Annotated[
        int,
        Range(
            20,
            2000,
            10,
            "Smallest segment",
            "px",
            "Pixels of the smallest segment, for a photo of 224 pixels a side.",
        ),
    ] = 150,
) -> Iterator[Estimate]:
    """XRAI, `(H, W)`, in logits for each pixel. `detail` is the list of `Region`, best first.

    Diagnostics: `regions`; `completeness_gap` (sum of the map minus the difference of the photo's
    score and the mean of the two baselines'), `completeness_relative`, `score_photo`,
    `score_baseline`.
    """
    paths = [line(task, color) for color in ("black", "white")]
    base = sum(path.start_score for path in paths) / 2
    # Both paths in turn, so that the first regions already know of both.
    order = [(path, step) for step in spread(steps) for path in paths]
    masks = segments(task.prepared.pixels, min_size)
    height, width = task.x.shape[-2:]
    least = round(min_size / 3 * height * width / SIDE**2)
    gathered = torch.zeros(height, width, dtype=torch.float64)
    due = 0.0

    def inputs(first: int, last: int) -> Tensor:
        return torch.cat([path.points([(step + 0.5) / steps]) for path, step in order[first:last]])

    for batch in gradients(task.model, len(order), inputs, task.score, exact=task.exact):
        ways = torch.cat([path.difference for path, _ in order[batch.start : batch.stop]])
        gathered += (batch.gradients * ways).sum((0, 1)).to("cpu", torch.float64)
        if batch.stop >= due or batch.stop == len(order):
            due = batch.stop * _GROWTH
            regions = ranked(gathered / batch.stop, masks, least)
            value = painted(regions)
            diagnostics = {
                "regions": float(len(regions)),
                **completeness(value, base, paths[0].end_score),
            }
        yield Estimate(value.to(task.x.dtype), batch.stop, len(order), diagnostics, regions)
