"""Widgets of optimized masks: the mask is seen while it forms, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from xaiwidgets.explanation import Explanation
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.widgets import encode
from xaiwidgets.widgets.general import GeneralWidget
from xaiwidgets.widgets.method import About, Outcome
from xaiwidgets.widgets.running import Request

_GRAY = 0.5


class MaskWidget(GeneralWidget):
    """Streams the photo as the mask lets it through, and the objective of each iteration."""

    _kind_name = "masked"

    def _deliver(self, request: Request, task: Task, estimate: Estimate, *, first: bool) -> None:
        if first:
            self._curve: list[float] = []
        self._curve.append(estimate.diagnostics["loss"])
        super()._deliver(request, task, estimate, first=first)

    def _beside(self, estimate: Estimate, task: Task) -> dict[str, bytes]:
        return {
            "picture": self._seen_through(estimate, task),
            "curve": encode.float32(np.array(self._curve)),
        }

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        info: dict[str, Any] = {"curve": encode.float32(np.array(self._curve))}
        return Outcome(explanation, last.done, self._seen_through(last, about.task), info)

    def _seen_through(self, estimate: Estimate, task: Task) -> bytes:
        mask = self._opacity(estimate.value).float().clamp(0, 1)
        return encode.jpeg(_GRAY + mask * (task.prepared.pixels.float() - _GRAY))

    def _opacity(self, value: Tensor) -> Tensor:
        """How much of the photo shows at each pixel, 0 to 1."""
        return value
