"""Occlusion, live: cover a patch, see what the class loses.

The page looks the patch of the grid up that is nearest to the cursor. It may also ask for a patch
anywhere, which the network answers beside its runs.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from xaiwidgets.explanation import Explanation, finished
from xaiwidgets.goals import Goal
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.occlusion import Occluded, covered_at, reread
from xaiwidgets.runtime.stream import Packed
from xaiwidgets.widgets import encode, front_end
from xaiwidgets.widgets.cache import fingerprint
from xaiwidgets.widgets.method import About, MethodWidget, Outcome, Shown
from xaiwidgets.widgets.sync import shortened

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
            clean, indices, names = goal.probability(about.task.logits)[None], [0], [goal.name]
        else:
            clean, classes = about.task.logits.softmax(0).topk(
                min(_CLASSES, len(about.task.logits))
            )
            indices = classes.tolist()
            names = [self._model.category(index) for index in indices]
        covered, winners, sure = _bars(goal, found.logits, found.normalizers, indices)
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
        extra, info = b"".join(parts), encode.plain(info)
        return Outcome(explanation, last.done, extra, info, found.fill, found.fill.nbytes)

    # --- a patch anywhere

    def _take_message(self, kind: str, content: dict[str, Any], buffers: list[Any]) -> None:
        if kind != "action" or content.get("name") != "cover":
            super()._take_message(kind, content, buffers)
            return
        top, left = content.get("top"), content.get("left")
        corner = _corner(self._result_shown(), top, left)
        if corner is None:
            told = shortened(f"row {top!r}, column {left!r}", 60)
            raise ValueError(
                f"The page asked for a patch at {told}. Both must be whole numbers, and a part of "
                "the patch must lie on the photo."
            )

        def covered(shown: Shown) -> Packed | None:
            # The result may have become another one meanwhile, of a smaller patch.
            return None if _corner(shown, *corner) is None else (_covered(shown, corner), [])

        self._ask_aside({"kind": "covered", "top": corner[0], "left": corner[1]}, covered)


def _covered(shown: Shown, corner: tuple[int, int]) -> dict[str, Any]:
    """What the network says with the patch there."""
    task, outcome = shown.about.task, shown.outcome
    size = outcome.explanation.params["patch_size"]
    answer = covered_at(task, outcome.kept, size, corner)
    bars, winner, sure = _bars(task.score, *answer, outcome.extra_info["classes"])
    told = {"probabilities": bars.tolist(), "winner": int(winner), "sure": float(sure)}
    return cast("dict[str, Any]", encode.plain(told))


def _corner(shown: Shown, top: Any, left: Any) -> tuple[int, int] | None:
    """Where the patch begins, if that is a place from where a part of it lies on the photo."""
    size = shown.outcome.explanation.params["patch_size"]
    fits = all(
        isinstance(at, int) and not isinstance(at, bool) and -size < at < side
        for at, side in zip((top, left), shown.about.task.x.shape[-2:], strict=True)
    )
    return (top, left) if fits else None


def _bars(
    goal: Goal, logits: Tensor, normalizers: Tensor, classes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of the classes `(..., classes)`, the likeliest of all and its own `(...)`.

    Args:
        goal: what is explained.
        logits: `(..., K)`.
        normalizers: log of the sum of their exponentials, `(...)`.
        classes: whose bars are shown.
    """
    if goal.kind == "output":
        # Nothing is known of the classes: the one bar is that of the number itself.
        value = goal.probability(logits)
        return value[..., None], torch.zeros(value.shape, dtype=torch.int32), value
    most, winners = logits.max(-1)
    shares = (logits[..., classes] - normalizers[..., None]).exp()
    return shares, winners, (most - normalizers).exp()


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
