"""Widgets of segments: other classes and other fits at no cost, segments switched by hand."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaiwidgets.explanation import Explanation, finished
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.toggling import Toggled, part_off
from xaiwidgets.runtime.stream import Packed
from xaiwidgets.widgets import encode
from xaiwidgets.widgets.cache import fingerprint
from xaiwidgets.widgets.general import GeneralWidget
from xaiwidgets.widgets.method import About, Outcome, Shown


class SegmentWidget(GeneralWidget):
    """Keeps the network's answers, and asks it about the segments that the page switches on."""

    _kind_name = "segmented"
    _asks: ClassVar[tuple[str, ...]] = ()
    """Parameters that say what the network is asked; the others only read its answers."""

    # --- what a method defines

    def _toggled(self, detail: Any) -> Toggled:
        """The network's answers."""
        raise NotImplementedError

    def _again(self, detail: Any, task: Task, params: dict[str, Any]) -> Estimate:
        """The explanation from the answers that are there."""
        raise NotImplementedError

    def _strongest(self, detail: Any, params: dict[str, Any]) -> Tensor:
        """The segments that are shown at first."""
        raise NotImplementedError

    # --- the job

    def _known(self, about: About, params: dict[str, Any]) -> Outcome | None:
        outcome = super()._known(about, params)
        last: Estimate | None = self._finished.get(self._answers_key(about, params))
        if outcome is not None or last is None:
            return outcome
        read = self._again(last.detail, about.task, params)
        explanation = finished(about.task, self._spec.name, params, read, 0.0)
        return self._outcome(about, read, explanation)

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        found, params = self._toggled(last.detail), explanation.params
        size = found.logits.nbytes + found.kept.nbytes + found.labels.nbytes
        self._finished.put(self._answers_key(about, params), last, size)
        kept = self._strongest(last.detail, params).tolist()
        picture, probability = _asked(about.task, found, kept)
        info = {
            "count": found.count,
            "kept": kept,
            "probability": probability,
            "labels": encode.int32(found.labels),
        }
        return Outcome(explanation, last.done, picture, info, found, size)

    def _answers_key(self, about: About, params: dict[str, Any]) -> Hashable:
        return ("answers", about.photo_key, *(fingerprint(params[name]) for name in self._asks))

    # --- by hand

    def _take_message(self, kind: str, content: dict[str, Any], buffers: list[Any]) -> None:
        if kind != "action" or content.get("name") != "toggle":
            super()._take_message(kind, content, buffers)
            return
        found: Toggled = self._result_shown().outcome.kept
        kept = content.get("kept")
        if not isinstance(kept, list) or not all(
            isinstance(each, int) and not isinstance(each, bool) and 0 <= each < found.count
            for each in kept
        ):
            raise ValueError("The page switched segments that are not there.")

        def switched(shown: Shown) -> Packed | None:
            """One pass of the network with the segments that the page switched on."""
            if shown.outcome.kept is not found:
                return None
            picture, probability = _asked(shown.about.task, found, kept)
            return {"probability": probability}, [picture]

        self._ask_aside({"kind": "picture", "kept": kept}, switched)


def _asked(task: Task, found: Toggled, kept: list[int]) -> tuple[bytes, float]:
    """The photo with only these segments on, and the probability of the class then."""
    on = torch.zeros(found.count, dtype=torch.bool)
    on[kept] = True
    pixels = part_off(task.prepared.pixels, found, on)
    with torch.inference_mode():
        logits = task.model.logits(task.model.pixels_to_input(pixels[None]), exact=task.exact)
    chance = float(task.score.probability(logits.float()))
    return encode.jpeg(pixels), chance
