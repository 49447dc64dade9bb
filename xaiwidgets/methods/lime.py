"""LIME: a linear model of what the network does when segments of the photo are switched off.

    w = argmin  sum over k of  pi(z_k) (f_c(x with segments z_k) - b - z_k . w)^2 + alpha |w|^2
    pi(z) = exp(-D(z)^2 / width^2),    D(z) = 1 - cos(z, 1) = 1 - sqrt(share of segments kept)

Ribeiro, Singh, Guestrin, "'Why Should I Trust You?': Explaining the Predictions of Any Classifier",
2016 (arXiv 1602.04938), eq. 2 and algorithm 1. Each segment is kept with probability 1/2; the first
sample is the whole photo. As in its authors' code D is the cosine distance, alpha is 1 and all
segments take part, or those that the lasso path takes in first (the paper's K-LASSO); the width
0.25 of that code, whose kernel is exp(-D^2 / (2 width^2)), is 0.354 here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Score
from xaiwidgets.methods.baselines import Fill
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.halves import agreement
from xaiwidgets.methods.least_squares import Fit, lasso_choice, moments, ridge
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method
from xaiwidgets.methods.scores import ScoreKind, scored
from xaiwidgets.methods.segments import Segmentation, Segments, segment
from xaiwidgets.methods.toggling import Toggled, toggle


@dataclass(frozen=True)
class Surrogate:
    """The linear model, and the answers that it was fitted to.

    Attributes:
        toggled: labels, samples, and scores of all classes.
        fit: of the change of the score from that of the whole photo: weights of the segments
            `(d,)`, the change with all of them off, R2.
    """

    toggled: Toggled
    fit: Fit

    def strongest(self, features: int) -> Tensor:
        """The segments with the largest absolute weights, largest first."""
        order = self.fit.weights.abs().argsort(descending=True, stable=True)[:features]
        return order[self.fit.weights[order] != 0]


@method(
    title="LIME",
    family="perturbation",
    paper="Ribeiro, Singh, Guestrin: 'Why Should I Trust You?' (2016)",
    url="https://arxiv.org/abs/1602.04938",
    needs="nothing: only outputs are read",
)
def lime(
    task: Task,
    *,
    segments: Segments = 50,
    segmentation: Segmentation = "slic",
    samples: Annotated[
        int, Range(2, 10000, 1, "Samples", help="Photos with some segments switched off.")
    ] = 500,
    features: Annotated[
        int,
        Range(1, 400, 1, "Features", help="Segments that are shown, or chosen by the lasso path."),
    ] = 10,
    select: Annotated[
        str,
        Choice(
            ("all", "lasso"),
            "Selection",
            help="Fit all segments, or only as many as features says, chosen by the lasso path.",
        ),
    ] = "all",
    alpha: Annotated[
        float, Range(0.01, 100, 0.01, "Ridge", help="Penalty on the size of the weights.")
    ] = 1.0,
    width: Annotated[
        float,
        Range(0.05, 5, 0.05, "Kernel width", help="How far from the photo samples still count."),
    ] = 0.35,
    fill: Fill = "mean",
    score: ScoreKind = "probability",
) -> Iterator[Estimate]:
    """LIME, `(H, W)`: the weight of each pixel's segment, in probability (or logits).

    With `select="all"`, `features` changes nothing but what a view shows, see
    `Surrogate.strongest`. `refit` explains another class, or fits in another way, without running
    the network. Memory does not grow with the number of samples, but for the samples `(N, d)` and
    the scores of all classes, `(N, K)`.

    Diagnostics: `r2`, the weighted share of the variance that the linear model explains;
    `split_half` and `settled`, see `xaiwidgets.methods.halves`; `segments`, their number.
    """
    labels = segment(task.prepared.pixels, segmentation, segments)
    kept = coin_flips(task, samples, int(labels.max()) + 1)
    side = kept.shape[1] + 2
    halves = torch.zeros(2, side, side, dtype=torch.float64)
    for start, stop, found in toggle(task, labels, kept, fill):
        halves += _sums(found, start, stop, task.score, score, width)
        value, fit, diagnostics = _fitted(found, halves, features, select, alpha)
        dtype = found.logits.dtype
        yield Estimate(value.to(dtype), stop, samples, diagnostics, Surrogate(found, fit))


def refit(
    found: Toggled,
    target: Score,
    *,
    features: int = 10,
    select: str = "all",
    alpha: float = 1.0,
    width: float = 0.35,
    score: str = "probability",
) -> Estimate:
    """The explanation of any score of the logits, from the answers that are there."""
    halves = _sums(found, 0, found.done, target, score, width)
    value, fit, diagnostics = _fitted(found, halves, features, select, alpha)
    surrogate = Surrogate(found, fit)
    return Estimate(
        value.to(found.logits.dtype), found.done, len(found.kept), diagnostics, surrogate
    )


def coin_flips(task: Task, samples: int, count: int) -> Tensor:
    """Which segments each sample keeps, `(samples, count)`; the first one keeps all."""
    kept = torch.ones(samples, count, dtype=torch.bool)
    for index in range(1, samples):
        kept[index] = torch.rand(count, generator=task.random(index)) < 0.5
    return kept


def proximity(kept: Tensor, width: float) -> Tensor:
    """The weight of each sample, `(N,)`, float64, 1 for the whole photo."""
    distance = 1 - kept.double().mean(1).sqrt()
    return torch.exp(-((distance / width) ** 2))


def _sums(found: Toggled, start: int, stop: int, target: Score, score: str, width: float) -> Tensor:
    """Moments of the even samples and of the odd ones, `(2, d + 2, d + 2)`."""
    kept = found.kept[start:stop]
    # Differences from the photo: next to a large score small changes would be rounded off.
    clean = scored(found.clean[None], target, score)
    change = scored(found.logits[start:stop], target, score) - clean
    weights = proximity(kept, width)
    odd = (torch.arange(start, stop) % 2).double()
    halves = (moments(kept, change, weights * half) for half in (1 - odd, odd))
    return torch.stack(tuple(halves))


def _fitted(
    found: Toggled, halves: Tensor, features: int, select: str, alpha: float
) -> tuple[Tensor, Fit, dict[str, float]]:
    def fit(sums: Tensor) -> Fit:
        return ridge(sums, alpha, lasso_choice(sums, features) if select == "lasso" else None)

    whole = fit(halves.sum(0))
    # As long as one half is empty nothing has settled.
    full = bool((halves[:, 0, 0] > 0).all())
    pictures = [fit(half).weights[found.labels] for half in halves] if full else []
    settled = agreement(*pictures) if full else {"split_half": 0.0, "settled": 0.0}
    diagnostics = {"r2": whole.r2, **settled, "segments": float(found.count)}
    return whole.weights[found.labels], whole, diagnostics
