"""Occlusion: how much the class suffers when a patch of the photo is covered.

    R_p = mean over the windows w that cover pixel p of  f_c(x) - f_c(x with w filled)

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2014 (arXiv 1311.2901),
sec. 4.2; their maps show the probability of the class, and so does the default here.

Windows lie on a regular grid; the last one of a row or column is cut off at the edge of the photo.
Positions are visited from coarse to fine, each standing for its surroundings until they are
visited, so that the first picture covers the whole photo. Scores of all classes are kept: asking
about another class (`reread`) runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.masking import masked_logits
from xaiwidgets.methods.baselines import blank, gray_value
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass
class Occluded:
    """What the network said of each covered photo so far.

    Attributes:
        frame: `(H, W)` of the photo.
        patch_size: side of the window in pixels.
        tops: first pixel row of each row of the grid.
        lefts: first pixel column of each column of the grid.
        fill: what covered the photo, pixels `(C, H, W)` in 0..1.
        logits: of all classes, `(rows, cols, K)`; a position not yet visited holds those of the
            position that stands for it.
        normalizers: log of the sum of their exponentials, `(rows, cols)`.
        clean: logits of the whole photo, `(K,)`.
    """

    frame: tuple[int, int]
    patch_size: int
    tops: list[int]
    lefts: list[int]
    fill: Tensor
    logits: Tensor
    normalizers: Tensor
    clean: Tensor
    _spread: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def probabilities(self) -> Tensor:
        """Of all classes with each window covered, `(rows, cols, K)`."""
        return self.logits.softmax(-1)

    def scores(self, target: int, score: str) -> tuple[float, Tensor]:
        """The class's score of the clean photo, and of each covered one, `(rows, cols)`."""
        if score == "logit":
            return float(self.clean[target]), self.logits[..., target]
        # Only the wanted class is exponentiated: a softmax of all would take rows * cols * K.
        covered = (self.logits[..., target] - self.normalizers).exp()
        return float(self.clean.softmax(0)[target]), covered

    def attribution(self, target: int, score: str = "probability") -> Tensor:
        """Mean drop of the score over the windows that cover each pixel, `(H, W)`."""
        clean, covered = self.scores(target, score)
        return self._mean_over_windows(clean - covered)

    def heat(self, target: int, score: str = "probability") -> Tensor:
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

    Diagnostics: `positions`, the number of windows; `stride` as used.
    """
    height, width = task.x.shape[-2:]
    stride = min(stride, patch_size)
    tops, lefts = _starts(height, patch_size, stride), _starts(width, patch_size, stride)
    fill_pixels = blank(task, fill)
    filling = task.model.pixels_to_input(fill_pixels).reshape(task.x.shape)[0]
    order = coarse_to_fine(len(tops), len(lefts))

    def paint(image: Tensor, index: int) -> None:
        row, col, _ = order[index]
        top, left = tops[row], lefts[col]
        window = (..., slice(top, top + patch_size), slice(left, left + patch_size))
        image[window] = filling[window]

    found: Occluded | None = None
    for start, stop, logits in masked_logits(
        task.model, task.x, len(order), paint, exact=task.exact
    ):
        if found is None:
            empty = logits.new_zeros(len(tops), len(lefts), logits.shape[1])
            found = Occluded(
                (height, width),
                patch_size,
                tops,
                lefts,
                fill_pixels,
                empty,
                empty[..., 0].clone(),
                task.logits,
            )
        for (row, col, reach), values in zip(order[start:stop], logits, strict=True):
            block = _block(row, reach, len(tops)), _block(col, reach, len(lefts))
            found.logits[block] = values
            found.normalizers[block] = values.logsumexp(0)
        yield Estimate(
            found.attribution(task.target, score).to(logits.dtype),
            stop,
            len(order),
            {"positions": float(len(order)), "stride": float(stride)},
            found,
        )


def reread(found: Occluded, target: int, score: str = "probability") -> Estimate:
    """The finished explanation of another class, from the scores that are there."""
    total = len(found.tops) * len(found.lefts)
    value = found.attribution(target, score).to(found.logits.dtype)
    return Estimate(value, total, total, {"positions": float(total)}, found)


def _starts(side: int, patch: int, stride: int) -> list[int]:
    count = math.ceil(max(side - patch, 0) / stride) + 1
    return [index * stride for index in range(count)]


def _block(index: int, reach: int, count: int) -> slice:
    """The rows that a position of a level stands for: itself and half-way to its neighbors."""
    stop = count if index + reach >= count else index + (reach + 1) // 2
    return slice(max(index - reach // 2, 0), stop)


def coarse_to_fine(rows: int, cols: int) -> list[tuple[int, int, int]]:
    """Every `(row, col, reach)` of the grid once, coarse levels first, evenly spread in each.

    `reach` is the distance to the neighbors of the same level.
    """
    reach = 1
    while reach * 2 < max(rows, cols):
        reach *= 2
    order: dict[tuple[int, int], int] = {}
    while reach:
        level = [
            (row, col)
            for row in range(0, rows, reach)
            for col in range(0, cols, reach)
            if (row, col) not in order
        ]
        level.sort(key=lambda place: (place[0] * cols + place[1]) * _GOLDEN % 1)
        order.update(dict.fromkeys(level, reach))
        reach //= 2
    return [(row, col, reach) for (row, col), reach in order.items()]
