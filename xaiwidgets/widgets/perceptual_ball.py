"""Perceptual ball, live: the change that the class cannot bear, as it grows."""

from __future__ import annotations

from torch import Tensor

from xaiwidgets.widgets.masked import MaskWidget


class PerceptualBall(MaskWidget, method="perceptual_ball"):
    """Perceptual ball of a photo: the smallest change that costs a class its lead, live."""

    def _opacity(self, value: Tensor) -> Tensor:
        # The map is of changes, which are small.
        return value / value.max().clamp_min(1e-12)
