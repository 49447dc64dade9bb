"""KernelSHAP, live: what each segment adds, and what the class is without it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.kernel_shap import Shares, reshare
from xaiwidgets.methods.toggling import Toggled
from xaiwidgets.widgets.segmented import SegmentWidget


class KernelSHAP(SegmentWidget, method="kernel_shap"):
    """KernelSHAP of a photo, live: what each segment adds, to be switched on and off."""

    _asks = ("segments", "segmentation", "samples", "sampling", "fill")

    def _toggled(self, detail: Shares) -> Toggled:
        return detail.toggled

    def _again(self, detail: Shares, task: Task, params: dict[str, Any]) -> Estimate:
        return reshare(detail, task.score, params["score"])

    def _strongest(self, detail: Shares, params: dict[str, Any]) -> Tensor:
        return (detail.values > 0).nonzero().flatten()
