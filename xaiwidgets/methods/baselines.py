"""Images that stand for "nothing there": baselines of a path, fillings of a patch.

All are made of pixels in 0..1, before normalization: black is pixel value 0, not input value 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from xaiwidgets.methods.estimate import Task

BLANKS = ("black", "white", "mean", "blur", "noise")
_BLUR = 1 / 16
"""Sigma of the blur, as a share of the longer side."""


def blank(task: Task, kind: Any) -> Tensor:
    """Pixels `(C, H, W)` in 0..1 of the named kind, for the task's photo.

    Args:
        task: the photo.
        kind: "black" (0), "white" (1), "mean" (the photo's own mean color), "blur" (the photo,
            Gaussian, sigma a 16th of the longer side), "noise" (uniform, seeded), a gray value
            from 0 to 1, or an image, which is prepared as the photo was.
    """
    pixels = task.prepared.pixels
    if isinstance(kind, float):
        return torch.full_like(pixels, kind)
    if not isinstance(kind, str):
        return task.model.prepare(kind).pixels
    if kind == "black":
        return torch.zeros_like(pixels)
    if kind == "white":
        return torch.ones_like(pixels)
    if kind == "mean":
        return pixels.mean(dim=(-2, -1), keepdim=True).expand_as(pixels).clone()
    if kind == "blur":
        return blurred(pixels)
    generator = torch.Generator().manual_seed(task.seed)
    return torch.rand(pixels.shape, generator=generator, dtype=torch.float32).to(pixels)


def blurred(pixels: Tensor) -> Tensor:
    """The image `(C, H, W)` blurred beyond recognition, edges mirrored."""
    from torchvision.transforms.v2.functional import gaussian_blur

    sigma = max(pixels.shape[-2:]) * _BLUR
    reach = min(math.ceil(3 * sigma), *(side - 1 for side in pixels.shape[-2:]))
    if reach < 1:
        return pixels.clone()
    side = 2 * reach + 1
    result: Tensor = gaussian_blur(pixels, [side, side], [sigma, sigma])
    return result


def gray_value(value: Any) -> float:
    """A gray value from 0 (black) to 1 (white)."""
    number = float(value)
    if isinstance(value, bool) or not 0 <= number <= 1:
        raise ValueError("a gray value lies from 0 to 1")
    return number
