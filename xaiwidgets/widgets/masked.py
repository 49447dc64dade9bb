"""Widgets of optimized masks: the mask is seen while it forms, and what it costs."""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor

from xaiwidgets.explanation import Explanation
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.widgets import encode
from xaiwidgets.widgets.general import GeneralWidget
from xaiwidgets.widgets.method import About, Outcome
from xaiwidgets.widgets.running import Request

_GRAY = 0.5
_CURVES = (
    # An objective whose weights grow on the way says nothing; how far it is from its aim does.
    {"area_penalty": "distance from the area", "loss": "objective"},
    {
        "score_masked": "score through the mask",
        "probability_in": "probability through the mask",
        "lead": "lead of the class",
    },
)
"""Diagnostics that are drawn over the iterations, of each group the first that a method has: how
far the mask is optimized, and what becomes of the class."""


class MaskWidget(GeneralWidget):
    """Streams the photo as the mask lets it through, and the objective of each iteration."""

    _kind_name = "masked"

    def _deliver(self, request: Request, task: Task, estimate: Estimate, *, first: bool) -> None:
        if first:
            self._curves: dict[str, list[float]] = {}
        for group in _CURVES:
            name = next((name for name in group if name in estimate.diagnostics), None)
            if name is not None:
                value = float(f"{estimate.diagnostics[name]:.4g}")
                self._curves.setdefault(group[name], []).append(value)
        super()._deliver(request, task, estimate, first=first)

    def _beside(self, estimate: Estimate, task: Task) -> dict[str, bytes]:
        return {
            "picture": self._seen_through(estimate, task),
            "curves": json.dumps(self._curves).encode(),
        }

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        info: dict[str, Any] = {"curves": self._curves}
        return Outcome(explanation, last.done, self._seen_through(last, about.task), info)

    def _seen_through(self, estimate: Estimate, task: Task) -> bytes:
        mask = self._opacity(estimate.value).float().clamp(0, 1)
        return encode.jpeg(_GRAY + mask * (task.prepared.pixels.float() - _GRAY))

    def _opacity(self, value: Tensor) -> Tensor:
        """How much of the photo shows at each pixel, 0 to 1."""
        return value
