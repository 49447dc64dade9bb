"""What methods along a path from a baseline to the photo share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaiwidgets.engine.upload import upload
from xaiwidgets.methods.baselines import BLANKS, blank
from xaiwidgets.methods.estimate import Task
from xaiwidgets.methods.params import Choice


def _any_image(value: Any) -> Any:
    from xaiwidgets.images import read_image

    read_image(value)
    return value


BASELINE = Choice(
    BLANKS,
    "Baseline",
    help="Where the path begins: the image that stands for 'nothing there'.",
    also=_any_image,
    also_text="an image",
)
"""The parameter `baseline` of a path."""


@dataclass(frozen=True)
class Line:
    """The straight line from a baseline to the photo.

    Attributes:
        start: the baseline as the model sees it, `(1, C, H, W)`.
        difference: photo minus baseline, `(1, C, H, W)`.
        start_score: the target's logit at the baseline.
        end_score: the target's logit at the photo.
    """

    start: Tensor
    difference: Tensor
    start_score: float
    end_score: float

    def points(self, alphas: Sequence[float]) -> Tensor:
        """Inputs at some places between 0 (baseline) and 1 (photo), `(N, C, H, W)`."""
        like = self.start
        weights = upload(torch.tensor(alphas, dtype=like.dtype), like.device, like.dtype)
        return torch.addcmul(self.start, self.difference, weights.reshape(-1, 1, 1, 1))


def line(task: Task, baseline: Any) -> Line:
    """The line from a baseline (see `baselines.blank`) to the task's photo."""
    start = task.model.pixels_to_input(blank(task, baseline)).reshape(task.x.shape)
    first, last = (
        float(task.score(logits)) for logits in (_start_logits(task, baseline, start), task.logits)
    )
    return Line(start, task.x - start, first, last)


def _start_logits(task: Task, baseline: Any, start: Tensor) -> Tensor:
    """What the network says of the baseline, `(K,)`; of those that are no matter of the photo it is
    kept, so that the first picture after a slider moves does not wait for it.
    """

    def run() -> Tensor:
        with torch.inference_mode():
            return task.model.logits(start, exact=task.exact)[0].to(task.logits).clone()

    if isinstance(baseline, str) and baseline in ("black", "white"):
        return task.model.once(("baseline", baseline, task.exact, tuple(start.shape)), run)
    return run()


def scores(task: Task, inputs: Tensor) -> list[float]:
    """The task's score of each input."""
    with torch.inference_mode():
        found: list[float] = task.score(task.model.logits(inputs, exact=task.exact)).tolist()
    return found


def completeness(value: Tensor, start_score: float, end_score: float) -> dict[str, float]:
    """How far an attribution is from summing to the difference of the scores."""
    whole = end_score - start_score
    gap = float(value.sum(dtype=torch.float64)) - whole
    return {
        "completeness_gap": gap,
        "completeness_relative": abs(gap) / max(abs(whole), 1e-12),
        "score_photo": end_score,
        "score_baseline": start_score,
    }
