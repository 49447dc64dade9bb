"""What methods share that optimize a mask: coarse cells, how they become pixels, what they cost."""

from __future__ import annotations

import torch
from torch import Tensor

from xaiwidgets.methods.estimate import Task
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.scores import probability

RESOLUTION = Range(4, 112, 1, "Mask cells", help="Cells of the mask along the shorter side.")
"""The parameter `resolution`: coarse masks keep the optimization from drawing artifacts."""

SCORE = Choice(("probability", "logit"), "Score", help="What of the class is optimized.")
"""The parameter `score`."""


def cells(task: Task, resolution: int) -> tuple[int, int]:
    """Rows and columns of a mask of square cells, never more than pixels."""
    height, width = task.x.shape[-2:]
    short = min(height, width)
    resolution = min(resolution, short)
    return round(height * resolution / short), round(width * resolution / short)


class Upsampling:
    """Turns cells `(N, 1, h, w)` into pixels `(N, 1, H, W)` by Gaussian weights.

    M(v) = sum over u of g(v - u) m(u) / sum over u of g(v - u), distances in cells; a constant mask
    stays what it is, and values stay between the lowest and the highest.

    Args:
        coarse: rows and columns.
        frame: height and width in pixels.
        sigma: of g, in cells.
        like: gives dtype and device.
    """

    def __init__(
        self, coarse: tuple[int, int], frame: tuple[int, int], sigma: float, like: Tensor
    ) -> None:
        self._rows, self._columns = (
            self._weights(few, many, sigma).to(like)
            for few, many in zip(coarse, frame, strict=True)
        )

    @staticmethod
    def _weights(few: int, many: int, sigma: float) -> Tensor:
        pixels = (torch.arange(many, dtype=torch.float64) + 0.5) * few / many
        apart = pixels[:, None] - (torch.arange(few, dtype=torch.float64) + 0.5)
        weights = torch.exp(-((apart / sigma) ** 2) / 2)
        return weights / weights.sum(1, keepdim=True)

    def __call__(self, mask: Tensor) -> Tensor:
        """The mask in pixels."""
        return self._rows @ mask @ self._columns.T


def blend(x: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """`x` where the mask is 1, `reference` where it is 0."""
    return reference + mask * (x - reference)


def variation(mask: Tensor, power: float, rounding: float = 0.0) -> Tensor:
    """Sum of powered differences between neighboring cells.

    Args:
        mask: `(N, 1, h, w)`.
        power: at least 1.
        rounding: differences well below it cost nothing. With power 1 it has to be above 0: equal
            cells have no slope then, instead of one that hangs on the last digit.
    """
    down = mask[..., 1:, :] - mask[..., :-1, :]
    right = mask[..., 1:] - mask[..., :-1]
    squares = torch.cat([down.flatten(), right.flatten()]).square()
    total: Tensor = ((squares + rounding**2).pow(power / 2) - rounding**power).sum()
    return total


def score_of(task: Task, logits: Tensor, kind: str) -> Tensor:
    """The target's probability or logit of each row."""
    return probability(logits, task.score) if kind == "probability" else task.score(logits)
