"""RISE: the average of random masks, each weighted by the score of the photo that it leaves.

    paper:     R = 1 / (N p) * sum over k of  f_c(x * M_k) M_k
    centered:  R = 1 / (N p) * sum over k of  (f_c(x * M_k) - mean of f_c) M_k

Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", 2018
(arXiv 1806.07421), eq. 6. The centered form is the covariance of score and mask. Both converge to
the same map but for a constant: the mean score times the mean mask, whose noise the paper's form
carries along. The centered one needs about a quarter of the masks to be as repeatable.

The paper multiplies the photo by the mask; its authors' code does so after normalization, so that
what is hidden is the network's input 0. That is `fill="zero"` here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Score
from xaiwidgets.engine.masking import blended_logits
from xaiwidgets.methods.baselines import Fill, filling
from xaiwidgets.methods.cells import CellMasks
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.halves import agreement
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method
from xaiwidgets.methods.scores import ScoreKind, scored

_AT_ONCE = 64


@dataclass
class Masked:
    """What the network said of each masked photo so far.

    Attributes:
        masks: makes the masks, by number.
        logits: of all classes, `(N, K)`; rows from `done` on are not there yet.
        done: number of masks so far.
    """

    masks: CellMasks
    logits: Tensor
    done: int = 0

    def attribution(
        self, score: Score, kind: str = "probability", estimator: str = "centered"
    ) -> Tensor:
        """The map of any score of the logits, `(H, W)`, float64; the network is not run."""
        values = scored(self.logits[: self.done], score, kind)
        sums = _Sums(self.masks.frame)
        for start in range(0, self.done, _AT_ONCE):
            stop = min(start + _AT_ONCE, self.done)
            sums.add(self.masks, start, stop, values[start:stop])
        return sums.map(self.masks.p, estimator, slice(None))


@method(
    title="RISE",
    family="perturbation",
    paper="Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation (2018)",
    url="https://arxiv.org/abs/1806.07421",
    needs="nothing: only outputs are read",
)
def rise(
    task: Task,
    *,
    masks: Annotated[
        int, Range(2, 20000, 1, "Masks", help="Random masks that are averaged.")
    ] = 1000,
    cells: Annotated[
        int, Range(2, 32, 1, "Cells", help="Coin flips of a mask, in each direction.")
    ] = 7,
    p: Annotated[
        float, Range(0.05, 0.95, 0.05, "Kept", "%", "Probability that a cell keeps the photo.")
    ] = 0.5,
    estimator: Annotated[
        str,
        Choice(
            ("centered", "paper"),
            "Estimator",
            help="Covariance of score and mask, or the paper's mean, which takes four times the "
            "masks to be as repeatable.",
        ),
    ] = "centered",
    fill: Fill = "zero",
    score: ScoreKind = "probability",
) -> Iterator[Estimate]:
    """RISE, `(H, W)`, in probability (or logits).

    Memory does not grow with the number of masks, but for the scores of all classes, `(masks, K)`,
    which let `Masked.attribution` explain another class at no cost; the masks are made anew.

    Diagnostics: `split_half`, the correlation of the maps from even and from odd masks, and
    `settled`, see `xaiwidgets.methods.halves`; `mean_score` of the masked photos.
    """
    frame = (task.x.shape[-2], task.x.shape[-1])
    made = CellMasks(frame, cells, p, task.random, task.x)
    sums = _Sums(frame)
    found: Masked | None = None
    for start, stop, logits in blended_logits(
        task.model, task.x, filling(task, fill), masks, made.masks, exact=task.exact
    ):
        if found is None:
            found = Masked(made, logits.new_zeros(masks, logits.shape[1]))
        found.logits[start:stop] = logits
        found.done = stop
        sums.add(made, start, stop, scored(logits, task.score, score))
        even, odd = (sums.map(p, estimator, slice(half, half + 1)) for half in (0, 1))
        diagnostics = {**agreement(even, odd), "mean_score": sums.mean(slice(None))}
        value = sums.map(p, estimator, slice(None)).to(logits.dtype)
        yield Estimate(value, stop, masks, diagnostics, found)


class _Sums:
    """Sums over the even masks and over the odd ones, in place."""

    def __init__(self, frame: tuple[int, int]) -> None:
        self._masks = torch.zeros(2, *frame, dtype=torch.float64)
        self._products = torch.zeros_like(self._masks)
        self._scores = torch.zeros(2, dtype=torch.float64)
        self._counts = torch.zeros(2, dtype=torch.float64)

    def add(self, masks: CellMasks, start: int, stop: int, values: Tensor) -> None:
        """Add those from `start` to `stop`, of which `values` `(n,)` are the scores."""
        odd = torch.arange(start, stop) % 2
        halves = torch.stack([1 - odd, odd], 1).double()
        products = values[:, None] * halves
        # Together, since masks are made anew each time they are asked for.
        sums = masks.weighted(start, stop, torch.cat([products, halves], 1))
        self._products += sums[:2]
        self._masks += sums[2:]
        self._scores += products.sum(0)
        self._counts += halves.sum(0)

    def mean(self, half: slice) -> float:
        return float(self._scores[half].sum() / self._counts[half].sum().clamp_min(1))

    def map(self, p: float, estimator: str, half: slice) -> Tensor:
        result = self._products[half].sum(0)
        if estimator == "centered":
            result -= self.mean(half) * self._masks[half].sum(0)
        return result / (float(self._counts[half].sum().clamp_min(1)) * p)
