"""Occlusion, live: cover a patch, see what the class loses."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch

from xaiwidgets.explanation import Explanation, finished
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.occlusion import Occluded, reread
from xaiwidgets.widgets import encode, front_end
from xaiwidgets.widgets.cache import fingerprint
from xaiwidgets.widgets.method import About, MethodWidget, Outcome

_CLASSES = 5


class Occlusion(MethodWidget, method="occlusion"):
    """Occlusion of a photo: how much a class suffers when a patch is covered."""

    _esm = front_end.script("special")

    patch_size: int
    stride: int
    fill: Any
    score: str

    def _beside(self, estimate: Estimate, task: Task) -> dict[str, bytes]:
        found: Occluded = estimate.detail
        return {"heat": encode.float32(found.heat(task.score))}

    def _known(self, about: About, params: dict[str, Any]) -> Outcome | None:
        outcome = super()._known(about, params)
        if outcome is not None:
            return outcome
        kept: Estimate | None = self._finished.get(_scores_key(about, params))
        if kept is None:
            return None
        read = reread(kept.detail, about.task.score, params["score"])
        last = replace(read, diagnostics=kept.diagnostics)
        return self._outcome(about, last, finished(about.task, "occlusion", params, last, 0.0))

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        found: Occluded = last.detail
        size = found.logits.nbytes + found.normalizers.nbytes
        self._finished.put(_scores_key(about, explanation.params), last, size)
        goal = about.task.score
        if goal.kind == "output":
            # Nothing is known of the classes: the one bar is that of the number itself.
            clean = goal.probability(about.task.logits)[None]
            covered = goal.probability(found.logits)[..., None]
            indices, names = [0], [goal.name]
            winners, sure = torch.zeros(covered.shape[:2], dtype=torch.int32), covered[..., 0]
        else:
            clean, classes = about.task.logits.softmax(0).topk(
                min(_CLASSES, len(about.task.logits))
            )
            covered = (found.logits[..., classes] - found.normalizers[..., None]).exp()
            indices = classes.tolist()
            names = [self._model.category(index) for index in indices]
            most, winners = found.logits.max(-1)
            sure = (most - found.normalizers).exp()
        parts = [
            encode.float32(covered),
            encode.int32(winners),
            encode.float32(sure),
            encode.float32(found.heat(goal)),
        ]
        info = {
            "rows": len(found.tops),
            "cols": len(found.lefts),
            "tops": found.tops,
            "lefts": found.lefts,
            "patch_size": found.patch_size,
            "stride": explanation.params["stride"],
            "fill": explanation.params["fill"],
            "classes": indices,
            "names": names,
            "clean": clean.tolist(),
            "score": explanation.params["score"],
            "fill_rgb": _color(found.fill),
        }
        return Outcome(explanation, last.done, b"".join(parts), encode.plain(info))


def _scores_key(about: About, params: dict[str, Any]) -> Hashable:
    places = tuple(fingerprint(params[name]) for name in ("patch_size", "stride", "fill"))
    return ("scores", about.photo_key, places)


def _color(fill: torch.Tensor) -> list[int] | None:
    """The one color of the filling, 0 to 255, or None if it has many."""
    flat = fill.flatten(1)
    if bool((flat != flat[:, :1]).any()):
        return None
    color = [round(float(value) * 255) for value in flat[:, 0]]
    return color * 3 if len(color) == 1 else color
