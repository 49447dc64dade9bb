"""Photos of which some segments are switched off, and what the network says of them.

LIME and SHAP ask the same question and differ in what they make of the answers. Scores of all
classes are kept, so that another class, another fit, or a closer look costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xaiwidgets.engine.masking import blended_logits
from xaiwidgets.engine.upload import upload
from xaiwidgets.methods.baselines import blank, filling
from xaiwidgets.methods.estimate import Task


@dataclass
class Toggled:
    """What the network said of each photo so far.

    Attributes:
        labels: the segment of each pixel, `(H, W)`, 0 to d - 1.
        kept: which segments each photo keeps, `(N, d)`, bool.
        logits: of all classes, `(N, K)`; rows from `done` on are not there yet.
        clean: logits of the whole photo, `(K,)`.
        fill: what stands where a segment is off, pixels `(C, H, W)` in 0..1.
        done: number of photos so far.
    """

    labels: Tensor
    kept: Tensor
    logits: Tensor
    clean: Tensor
    fill: Tensor
    done: int = 0

    @property
    def count(self) -> int:
        """Number of segments, d."""
        return self.kept.shape[1]


def toggle(
    task: Task, labels: Tensor, kept: Tensor, fill: object
) -> Iterator[tuple[int, int, Toggled]]:
    """Yield `(start, stop, all so far)` after each batch.

    Args:
        task: the photo.
        labels: `(H, W)`.
        kept: `(N, d)`, bool.
        fill: what stands where a segment is off.
    """
    places = labels.to(task.x.device)

    def masks(start: int, stop: int) -> Tensor:
        return upload(kept[start:stop], task.x.device, task.x.dtype)[:, places]

    found: Toggled | None = None
    for start, stop, logits in blended_logits(
        task.model, task.x, filling(task, fill), len(kept), masks, exact=task.exact
    ):
        if found is None:
            empty = logits.new_zeros(len(kept), logits.shape[1])
            found = Toggled(labels, kept, empty, task.logits, blank(task, fill))
        found.logits[start:stop] = logits
        found.done = stop
        yield start, stop, found


def part_off(pixels: Tensor, found: Toggled, kept: Tensor) -> Tensor:
    """The photo, `(C, H, W)`, with only the segments `kept` `(d,)` on, to look at or to run."""
    return torch.where(kept[found.labels], pixels, found.fill)
