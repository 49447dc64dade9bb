"""Images that stand for "nothing there": baselines of a path, fillings of a patch.

All are made of pixels in 0..1, before normalization: black is pixel value 0, not input value 0.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.methods.estimate import Task
from xaiwidgets.methods.params import Choice

BLANKS = ("black", "white", "mean", "blur", "noise")
_BLUR = 1 / 16
"""Sigma of the blur, as a share of the longer side."""


def blank(task: Task, kind: Any) -> Tensor:
    """Pixels `(C, H, W)` in 0..1 of the named kind, for the task's photo.

    Args:
        task: the photo.
        kind: "black" (0), "white" (1), "mean" (the photo's own mean color), "blur" (the photo,
            Gaussian, sigma a 16th of the longer side), "noise" (uniform, seeded), "zero" (what
            the network is fed as 0: the mean color that its preprocessing subtracts), a gray
            value from 0 to 1, or an image, which is prepared as the photo was.
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
    if kind == "zero":
        return task.model.input_to_pixels(torch.zeros_like(task.x))[0].to(pixels)
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


Fill = Annotated[
    Any,
    Choice(
        ("black", "mean", "blur", "noise", "zero"),
        "Fill",
        help="What stands where the photo is covered; 'zero' is the network's own input 0.",
        also=gray_value,
        also_text="a gray value from 0 to 1",
    ),
]
"""The parameter `fill` of a method that covers parts of the photo."""


def filling(task: Task, fill: Any) -> Tensor:
    """What the network is fed where the photo is covered, `(1, C, H, W)`."""
    if isinstance(fill, str) and fill == "zero":
        # By way of the pixels it would be 0 but for rounding.
        return torch.zeros_like(task.x)
    return task.model.pixels_to_input(blank(task, fill)).reshape(task.x.shape)
