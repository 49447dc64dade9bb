"""The result as a still picture, for where the live widget cannot run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaiwidgets.widgets import colormaps

_CLIP = 99.5


def overlay(pixels: NDArray[np.float32], heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photo in gray under the heatmap in color, uint8 `(H, W, 3)`.

    Args:
        pixels: `(C, H, W)` in 0..1.
        heatmap: `(H, W)`, signed; zero is transparent.
    """
    strength = np.abs(heatmap)
    limit = float(np.percentile(strength, _CLIP)) or float(strength.max()) or 1.0
    signed = bool((heatmap < 0).any())
    place = heatmap / limit * 0.5 + 0.5 if signed else heatmap / limit
    table = colormaps.table("RdBu_r" if signed else "inferno")
    color: NDArray[Any] = table[(np.clip(place, 0, 1) * 255).round().astype(np.uint8)]
    opacity = 0.85 * np.sqrt(np.clip(strength / limit, 0, 1))[..., None]
    gray = np.clip(pixels, 0, 1).mean(0)[..., None] * 255
    mixed: NDArray[np.uint8] = (gray * (1 - opacity) + color * opacity).round().astype(np.uint8)
    return mixed
