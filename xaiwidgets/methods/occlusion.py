"""Occlusion: how much the class suffers when a patch of the photo is covered.

    R_p = mean over the windows w that cover pixel p of  f_c(x) - f_c(x with w filled)

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2014 (arXiv 1311.2901),
sec. 4.2; their maps show the probability of the class, and so does the default here.

Windows lie on a regular grid; the last one of a row or column is cut off at the edge of the photo.
Positions are visited in an order that is evenly scattered from the first on, each standing for its
surroundings until they are visited, so that the first picture covers the whole photo. Scores of all
classes are kept: asking about another class (`reread`) runs nothing.

Where the network keeps a change local, only what a window changes is computed (`engine.patches`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from xaiwidgets.engine.patches import Patches, logits_at, patched_logits
from xaiwidgets.goals import ClassGoal, Goal, class_goal
from xaiwidgets.methods.baselines import blank, gray_value
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.grid import Nearest, scattered
from xaiwidgets.methods.halves import agreement
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method
from xaiwidgets.methods.scores import check_classes


@dataclass
class Occluded:
    """What the network said of each covered photo so far.

    Attributes:
        frame: `(H, W)` of the photo.
        patch_size: side of the window in pixels.
        tops: first pixel row of each row of the grid.
        lefts: first pixel column of each column of the grid.
        fill: what covered the photo, pixels `(C, H, W)` in 0..1.
        logits: of all classes, `(rows, cols, K)`; 0 at a position not yet visited.
        normalizers: log of the sum of their exponentials, `(rows, cols)`.
        clean: logits of the whole photo, `(K,)`.
        owners: for each position the flat place of the one that stands for it, `(rows, cols)`:
            itself once it is visited, the nearest one before.
    """

    frame: tuple[int, int]
    patch_size: int
    tops: list[int]
    lefts: list[int]
    fill: Tensor
    logits: Tensor
    normalizers: Tensor
    clean: Tensor
    owners: Tensor
    _spread: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def probabilities(self) -> Tensor:
        """Of all classes with each window covered, `(rows, cols, K)`."""
        return self.logits.softmax(-1)

    def scores(self, target: int | Goal, score: str) -> tuple[float, Tensor]:
        """The target's score of the clean photo, and of each covered one, `(rows, cols)`."""
        goal = class_goal(target, str) if isinstance(target, int) else target
        if score == "logit":
            clean, covered = goal(self.clean), goal(self.logits)
        elif isinstance(goal, ClassGoal):
            check_classes(self.clean)
            # Only the wanted ones are exponentiated: a softmax of all would take rows * cols * K.
            covered = goal.combined(lambda k: (self.logits[..., k] - self.normalizers).exp())
            clean = goal.probability(self.clean)
        else:
            clean, covered = goal.probability(self.clean), goal.probability(self.logits)
        return float(clean), covered.flatten()[self.owners]

    def attribution(self, target: int | Goal, score: str = "probability") -> Tensor:
        """Mean drop of the score over the windows that cover each pixel, `(H, W)`."""
        clean, covered = self.scores(target, score)
        return self._mean_over_windows(clean - covered)

    def heat(self, target: int | Goal, score: str = "probability") -> Tensor:
        """Mean score over the windows that cover each pixel, `(H, W)`."""
        return self._mean_over_windows(self.scores(target, score)[1])

    def _mean_over_windows(self, values: Tensor) -> Tensor:
        if "count" not in self._spread:
            self._spread["count"] = self._over_windows(torch.ones(values.shape))
        total = self._over_windows(values)
        return total / self._spread["count"].to(total)

    def _over_windows(self, values: Tensor) -> Tensor:
        """Sum over the windows that cover each pixel, by two passes of running sums."""
        values = values.double()
        height, width = self.frame
        for starts, side in ((self.tops, height), (self.lefts, width)):
            edges = values.new_zeros(side + 1, values.shape[1])
            begins = torch.tensor(starts)
            edges.index_add_(0, begins, values)
            edges.index_add_(0, (begins + self.patch_size).clamp_max(side), values, alpha=-1)
            values = edges.cumsum(0)[:side].T
        return values


@method(
    title="Occlusion",
    family="perturbation",
    paper="Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (2014)",
    url="https://arxiv.org/abs/1311.2901",
    needs="nothing: only outputs are read",
)
def occlusion(
    task: Task,
    *,
    patch_size: Annotated[
        int, Range(1, 128, 1, "Patch size", "px", "Side of the square that covers the photo.")
    ] = 32,
    stride: Annotated[
        int,
        Range(
            1,
            128,
            1,
            "Stride",
            "px",
            "Distance between patches; at most the patch size, so that no pixel is left out.",
        ),
    ] = 16,
    fill: Annotated[
        Any,
        Choice(
            ("black", "mean", "blur", "noise"),
            "Fill",
            help="What the patch is filled with.",
            also=gray_value,
            also_text="a gray value from 0 to 1",
        ),
    ] = "mean",
    score: Annotated[
        str, Choice(("probability", "logit"), "Score", help="Whose drop is shown.")
    ] = "probability",
) -> Iterator[Estimate]:
    """Occlusion, `(H, W)`, in probability (or logits); positive where covering hurts the class.

    A stride above the patch size acts as the patch size.

    Diagnostics: `positions`, the number of windows; `stride` as used; `split_half` and `settled`,
    see `methods.halves`, rather too low while places are missing, 1 when all were visited;
    `incremental`, the part of the windows for which only what they change was computed;
    `multiply_adds_saved`, how many times fewer multiply-adds the last batch took than whole images
    (1 where none were saved).
    """
    height, width = task.x.shape[-2:]
    stride = min(stride, patch_size)
    tops, lefts = _starts(height, patch_size, stride), _starts(width, patch_size, stride)
    fill_pixels = blank(task, fill)
    filling = _as_input(task, fill_pixels)
    places = scattered(len(tops), len(lefts))
    patches = Patches(
        np.asarray(tops)[places[:, 0]], np.asarray(lefts)[places[:, 1]], patch_size, filling
    )
    total = len(places)
    nearest = Nearest(len(tops), len(lefts))
    halves = Nearest(len(tops), len(lefts)), Nearest(len(tops), len(lefts))
    empty = torch.zeros(len(tops), len(lefts), len(task.logits), dtype=task.logits.dtype)
    found = Occluded(
        (height, width),
        patch_size,
        tops,
        lefts,
        fill_pixels,
        empty,
        empty[..., 0].clone(),
        task.logits,
        nearest.index(),
    )
    by_difference = 0
    for part in patched_logits(task.model, task.x, patches, exact=task.exact):
        rows, cols = torch.from_numpy(places[part.start : part.stop]).unbind(1)
        found.logits[rows, cols] = part.logits
        found.normalizers[rows, cols] = part.logits.logsumexp(1)
        for number, (row, col) in enumerate(places[part.start : part.stop].tolist(), part.start):
            nearest.visit(row, col)
            halves[number % 2].visit(row, col)
        found.owners = nearest.index()
        by_difference += (part.stop - part.start) * (part.ratio > 1)
        settled = {"split_half": 1.0, "settled": 1.0}
        if part.stop < total:
            one, other = (replace(found, owners=half.index()) for half in halves)
            settled = agreement(*(f.attribution(task.score, score) for f in (one, other)))
        yield Estimate(
            found.attribution(task.score, score).to(part.logits.dtype),
            part.stop,
            total,
            {
                "positions": float(total),
                "stride": float(stride),
                **settled,
                "incremental": by_difference / part.stop,
                "multiply_adds_saved": part.ratio,
            },
            found,
        )


def reread(found: Occluded, target: int | Goal, score: str = "probability") -> Estimate:
    """The finished explanation of another target, from the scores that are there."""
    total = len(found.tops) * len(found.lefts)
    value = found.attribution(target, score).to(found.logits.dtype)
    return Estimate(value, total, total, {"positions": float(total)}, found)


def covered_at(
    task: Task, fill: Tensor, patch_size: int, corner: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """What the network says of the photo with one patch, anywhere: the same as on the grid.

    Args:
        task: the photo.
        fill: what covers it, pixels `(C, H, W)` in 0..1.
        patch_size: side of the patch in pixels.
        corner: its first pixel row and column, negative where it is cut off there.

    Returns:
        Logits of all classes, `(K,)`, and the log of the sum of their exponentials.
    """
    filling = _as_input(task, fill)
    logits = logits_at(task.model, task.x, filling, patch_size, corner, exact=task.exact)
    return logits, logits.logsumexp(0)


def _as_input(task: Task, fill: Tensor) -> Tensor:
    return task.model.pixels_to_input(fill).reshape(task.x.shape)[0]


def _starts(side: int, patch: int, stride: int) -> list[int]:
    count = math.ceil(max(side - patch, 0) / stride) + 1
    return [index * stride for index in range(count)]
