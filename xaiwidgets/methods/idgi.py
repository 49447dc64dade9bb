"""IDGI: integrated gradients with only the part of each gradient that changes the score.

    R_i(x) = sum over j from 0 to n-1 of  g_ij^2 / (sum over k of g_kj^2) * (S_c(x_j+1) - S_c(x_j))

with x_j = b + (j / n) (x - b) and g_j the gradient of S_c at x_j. Yang, Wang, Bilgic, "IDGI: A
Framework to Eliminate Explanation Noise from Integrated Gradients", 2023 (arXiv 2303.14242),
algorithm 1, on the path of integrated gradients.

This is a method of its own and no way to compute integrated gradients: the change of the score is
shared out by squared gradients, and the direction of the path plays no part. Its sum is
S_c(x) - S_c(b) by construction, with any number of steps, so completeness says nothing of its
accuracy. Only a step that begins where the gradient is zero everywhere cannot be shared out; its
part is reported as `unassigned`.

The paper takes S as the class's probability; here it is the logit, as in the other path methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import gradients
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.integrated_gradients import spread
from xaiwidgets.methods.params import Range
from xaiwidgets.methods.path import BASELINE, completeness, line, scores
from xaiwidgets.methods.registry import method

_BLOCK = 4
"""Neighbors on the path that are visited together: only a block's last step needs one more score
than it has gradients."""


@method(
    title="IDGI",
    family="path",
    paper="Yang, Wang, Bilgic: IDGI: A Framework to Eliminate Explanation Noise from Integrated "
    "Gradients (2023)",
    url="https://arxiv.org/abs/2303.14242",
    needs="gradients",
)
def idgi(
    task: Task,
    *,
    steps: Annotated[
        int, Range(1, 512, 1, "Steps", help="Pieces of the path from the baseline to the photo.")
    ] = 64,
    baseline: Annotated[Any, BASELINE] = "black",
) -> Iterator[Estimate]:
    """IDGI, `(C, H, W)`, in logits; the sign is that of the score's changes along the path.

    Diagnostics: `completeness_gap` and `completeness_relative` (see integrated gradients; zero but
    for rounding and what is unassigned), `unassigned` (logits on steps without any gradient),
    `score_photo`, `score_baseline`.
    """
    path = line(task, baseline)
    known = {0: path.start_score, steps: path.end_score}
    order = [
        step
        for block in spread(-(-steps // _BLOCK))
        for step in range(block * _BLOCK, min((block + 1) * _BLOCK, steps))
    ]
    gathered = torch.zeros_like(task.x[0])
    unassigned = 0.0

    def inputs(first: int, last: int) -> Tensor:
        return path.points([step / steps for step in order[first:last]])

    for batch in gradients(task.model, steps, inputs, task.score, exact=task.exact):
        places = order[batch.start : batch.stop]
        for place, score in zip(places, task.score(batch.logits).tolist(), strict=True):
            # A score once used is kept, or rounding would open gaps between the steps.
            known.setdefault(place, score)
        if missing := sorted({place + 1 for place in places} - known.keys()):
            ends = scores(task, path.points([place / steps for place in missing]))
            known.update(zip(missing, ends, strict=True))
        changes = torch.tensor(
            [known[place + 1] - known[place] for place in places], dtype=torch.float64
        )
        shares, found = _shares(batch.gradients)
        unassigned += float(changes[~found].sum())
        gathered += (shares * changes.to(shares).reshape(-1, 1, 1, 1)).sum(0)
        value = gathered.contiguous().to("cpu", copy=True)
        gap = completeness(value, path.start_score, path.end_score)
        yield Estimate(value, batch.stop, steps, {**gap, "unassigned": unassigned})


def _shares(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Squared gradients that sum to one in each row, and which rows are not zero (on the CPU)."""
    # Scaled first: the square of a small gradient would be lost in single precision.
    peaks = gradients.abs().amax((1, 2, 3), keepdim=True)
    squares = (gradients / peaks.where(peaks > 0, 1)).square()
    totals = squares.sum((1, 2, 3), keepdim=True)
    return squares / totals.where(totals > 0, 1), (peaks > 0).flatten().cpu()
