"""KernelSHAP: what each segment adds to the score, on average over the orders of adding them.

    phi_i = sum over S without i of  |S|! (d - |S| - 1)! / d!  (v(S + i) - v(S))

where v(S) is the score of the photo with only the segments S. Shapley values are the solution of

    argmin  sum over S of  kernel(S) (v(S) - v({}) - sum of phi_i in S)^2
    subject to  sum of phi = v(all) - v({})

Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions", 2017 (arXiv 1705.07874),
theorem 2. The constraint (efficiency) holds exactly, for any samples. Where all 2^d coalitions fit
into the samples they are all asked, and the values are exact; `coalitions` tells which are
asked otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from xaiwidgets.engine.gradients import Score
from xaiwidgets.methods.baselines import Fill
from xaiwidgets.methods.coalitions import Plan, Regression, plan
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.halves import agreement
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.partition import Owen, Tree, partition
from xaiwidgets.methods.registry import method
from xaiwidgets.methods.scores import ScoreKind, scored
from xaiwidgets.methods.segments import Segmentation, Segments, segment
from xaiwidgets.methods.toggling import Toggled, toggle


@dataclass(frozen=True)
class Shares:
    """What each segment adds, and the answers that it follows from.

    Attributes:
        toggled: labels, coalitions, and scores of all classes.
        plan: how the coalitions were chosen.
        values: of the segments, `(d,)`, float64.
    """

    toggled: Toggled
    plan: Plan | Tree
    values: Tensor


@method(
    title="KernelSHAP",
    family="perturbation",
    paper="Lundberg, Lee: A Unified Approach to Interpreting Model Predictions (2017)",
    url="https://arxiv.org/abs/1705.07874",
    needs="nothing: only outputs are read",
)
def kernel_shap(
    task: Task,
    *,
    segments: Segments = 50,
    segmentation: Segmentation = "slic",
    samples: Annotated[
        int,
        Range(
            3,
            20000,
            1,
            "Samples",
            help="Coalitions that are asked; from 2^segments - 1 on, the values are exact.",
        ),
    ] = 1024,
    sampling: Annotated[
        str,
        Choice(
            ("kernel", "partition"),
            "Sampling",
            help="Any coalition of segments (Shapley values), or neighbors as groups (Owen "
            "values, exact from about segments squared samples on).",
        ),
    ] = "kernel",
    fill: Fill = "mean",
    score: ScoreKind = "logit",
) -> Iterator[Estimate]:
    """Shapley values of the segments, `(H, W)`: each pixel has its segment's, in logits.

    `reshare` explains another class without running the network. Memory does not grow with the
    number of samples, but for the coalitions `(N, d)` and the scores of all classes, `(N, K)`.

    Diagnostics: `exact`, 1 where all coalitions are asked that there are; `score_photo` and
    `score_baseline`, with all segments and with none: the values of the segments sum to their
    difference; `split_half` and `settled`, see `xaiwidgets.methods.halves`, from drawn coalitions:
    0 before there are any, 1 when exact; `segments`, their number.
    """
    labels = segment(task.prepared.pixels, segmentation, segments)
    chosen = (
        partition(labels, samples, task.random)
        if sampling == "partition"
        else plan(int(labels.max()) + 1, samples, task.random)
    )
    solver: _Solver | None = None
    for start, stop, found in toggle(task, labels, chosen.kept, fill):
        if solver is None:
            solver = _Solver(found, chosen, task.score, score)
        solver.add(start, stop)
        yield solver.estimate(stop)


def reshare(found: Shares, target: Score, score: str = "logit") -> Estimate:
    """The explanation of any score of the logits, from the answers that are there."""
    solver = _Solver(found.toggled, found.plan, target, score)
    solver.add(0, found.toggled.done)
    return solver.estimate(found.toggled.done)


class _Solver:
    """Gathers answers in place, and shares out the score."""

    def __init__(self, found: Toggled, chosen: Plan | Tree, target: Score, score: str) -> None:
        self._found, self._plan = found, chosen
        self._target, self._score = target, score
        self._nothing, self._all = self._scores(found.logits[:1]), self._scores(found.clean[None])
        self._sums = Owen(chosen) if isinstance(chosen, Tree) else Regression(chosen)

    def _scores(self, logits: Tensor) -> Tensor:
        return scored(logits, self._target, self._score)

    def add(self, start: int, stop: int) -> None:
        self._sums.add(start, self._scores(self._found.logits[start:stop]) - self._nothing)

    def estimate(self, done: int) -> Estimate:
        values, *halves = self._sums.solved(float(self._all - self._nothing))
        total, labels = len(self._plan.kept), self._found.labels
        if self._plan.exact or not halves:
            known = float(self._plan.exact and done == total)
            settled = {"split_half": known, "settled": known}
        else:
            settled = agreement(*(half[labels] for half in halves))
        diagnostics = {
            "exact": float(self._plan.exact),
            **settled,
            "score_photo": float(self._all),
            "score_baseline": float(self._nothing),
            "segments": float(self._found.count),
        }
        value = values[labels].to(self._found.logits.dtype)
        return Estimate(value, done, total, diagnostics, Shares(self._found, self._plan, values))
