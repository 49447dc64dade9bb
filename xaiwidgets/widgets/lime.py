"""LIME, live: which segments speak for a class, and what it is without them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.lime import Surrogate, refit
from xaiwidgets.methods.toggling import Toggled
from xaiwidgets.widgets.segmented import SegmentWidget


class LIME(SegmentWidget, method="lime"):
    """LIME of a photo, live: segments that speak for a class, to be switched on and off."""

    _asks = ("segments", "segmentation", "samples", "fill")

    def _toggled(self, detail: Surrogate) -> Toggled:
        return detail.toggled

    def _again(self, detail: Surrogate, task: Task, params: dict[str, Any]) -> Estimate:
        fits = {name: value for name, value in params.items() if name not in self._asks}
        return refit(detail.toggled, task.score, **fits)

    def _strongest(self, detail: Surrogate, params: dict[str, Any]) -> Tensor:
        return detail.strongest(params["features"])
