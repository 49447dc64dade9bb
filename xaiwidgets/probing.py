"""What a preprocessing callable does, learned by trying it.

It is a black box from a PIL image to a tensor. A method needs its two halves apart: the geometry,
and the normalization `x[c] = offset[c] + scale[c] * pixels[order[c]]`. Plain images have no
geometry, so black, white and gray ones give offset and scale, and a red, a green and a blue one
give the order (BGR networks). A picture of ramps tells whether it draws at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Two shapes of photo: a frame that is the same for both has a fixed size.
_WIDE, _TALL = (320, 256), (256, 384)
_LEVELS = (0, 128, 255)


@dataclass(frozen=True)
class Normalization:
    """`x[c] = offset[c] + scale[c] * pixels[order[c]]`, as far as that holds.

    Attributes:
        scale: `(C,)`, float32, never 0.
        offset: `(C,)`, float32.
        order: which of the frame's channels goes where; `None` leaves them as they are.
        affine: whether it holds exactly; otherwise it is a fit, good enough to look at.
    """

    scale: Tensor
    offset: Tensor
    order: tuple[int, ...] | None
    affine: bool


def probe(
    run: Callable[[Image.Image], Tensor], stated: tuple[Tensor, Tensor] | None, mode: str
) -> tuple[Normalization, tuple[int, int] | None]:
    """Learn normalization and size of the frame.

    Args:
        run: from a PIL image to `(C, H, W)`.
        stated: mean and std as the callable itself states them; taken where they agree with what
            it does, because they are not rounded.
        mode: of the images it is given, "RGB" or "L".

    Returns:
        The normalization, and `(H, W)` of the frame or `None` when it follows the photo.

    Raises:
        ValueError: when two runs on the same photo differ.
    """
    wide, again, tall = run(_ramps(_WIDE, mode)), run(_ramps(_WIDE, mode)), run(_ramps(_TALL, mode))
    if wide.shape != again.shape or not torch.equal(wide, again):
        raise ValueError(
            "preprocess gives another result each time it is given the same photo: it looks like "
            "the random augmentation of a training set. Give the one for evaluation."
        )
    size = (wide.shape[-2], wide.shape[-1])
    fixed = size if wide.shape == tall.shape else None
    return _exact(run, stated, mode) or _fitted(wide, _ramps(_WIDE, mode)), fixed


def stated_normalization(given: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and std that a transform, or the last such step of a chain of transforms, states."""
    steps: Sequence[Any] = [given, *getattr(given, "transforms", ())]
    for step in reversed(steps):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if isinstance(mean, list | tuple | Tensor) and isinstance(std, list | tuple | Tensor):
            both = (torch.as_tensor(each, dtype=torch.float64).flatten() for each in (mean, std))
            return next(both), next(both)
    return None


def read_result(x: Any) -> Tensor:
    """What a callable gave, as a float32 tensor `(C, H, W)` on the CPU.

    Raises:
        TypeError: when it is no such thing.
    """
    if isinstance(x, Mapping) and "pixel_values" in x:
        x = x["pixel_values"]
        x = x[0] if isinstance(x, list) and len(x) == 1 else x
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(x)
    if isinstance(x, Tensor) and x.ndim == 4 and len(x) == 1:
        x = x[0]
    if not isinstance(x, Tensor) or x.ndim != 3 or not x.is_floating_point() or 0 in x.shape:
        told = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"preprocess must turn a PIL image into a float tensor (C, H, W); it gave {told}. "
            "End it with ToTensor and Normalize."
        )
    return x.detach().cpu().float()


def _exact(
    run: Callable[[Image.Image], Tensor], stated: tuple[Tensor, Tensor] | None, mode: str
) -> Normalization | None:
    plain = [run(Image.new(mode, _WIDE, _color(level, mode))).double() for level in _LEVELS]
    black, gray, white = (_center(x) for x in plain)
    scale = white - black
    limit = 2e-3 * scale.abs()
    good = torch.isfinite(scale) & (scale.abs() > 1e-6)
    good &= (gray - (black + scale * _LEVELS[1] / 255)).abs() <= limit
    order = _order(run, black, scale) if len(scale) == 3 and mode == "RGB" else None
    # What else but an order mixes channels has no inverse that could be shown exactly.
    if not bool(good.all()) or (order is None and len(scale) == 3 and mode == "RGB"):
        return None
    if stated is not None and len(stated[0]) == len(scale):
        mean, std = stated
        if bool(
            ((black + mean / std).abs() <= limit).all() & ((scale - 1 / std).abs() <= limit).all()
        ):
            black, scale = -mean / std, 1 / std
    moved = order if order != tuple(range(len(scale))) else None
    return Normalization(scale.float(), black.float(), moved, True)


def _order(
    run: Callable[[Image.Image], Tensor], black: Tensor, scale: Tensor
) -> tuple[int, ...] | None:
    """Where red, green and blue go; `None` when they are mixed."""
    share = torch.zeros(3, 3, dtype=torch.float64)
    for channel in range(3):
        color = tuple(255 if channel == other else 0 for other in range(3))
        share[:, channel] = (_center(run(Image.new("RGB", _WIDE, color)).double()) - black) / scale
    order = tuple(int(channel) for channel in share.argmax(1))
    return order if bool((share - torch.eye(3)[list(order)]).abs().max() < 0.01) else None


def _fitted(x: Tensor, ramps: Image.Image) -> Normalization:
    """The offset and scale that give a photo of all brightnesses the mean and spread it got."""
    shown = torch.from_numpy(np.array(ramps, dtype=np.float32) / 255)
    shown = shown.reshape(-1, shown.shape[-1] if shown.ndim == 3 else 1)
    if shown.shape[1] != len(x):
        shown = shown.mean(1, keepdim=True).expand(-1, len(x))
    x = x.flatten(1)
    spread = x.std(1)
    spread = torch.where(torch.isfinite(spread) & (spread > 1e-6), spread, torch.ones_like(spread))
    scale = spread / shown.std(0)
    return Normalization(scale, x.mean(1).nan_to_num() - scale * shown.mean(0), None, False)


def _center(x: Tensor) -> Tensor:
    # Not at the border, where padding may be.
    return x[:, x.shape[1] // 2, x.shape[2] // 2]


def _color(level: int, mode: str) -> Any:
    return level if mode == "L" else (level,) * 3


def _ramps(size: tuple[int, int], mode: str) -> Image.Image:
    width, height = size
    across = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    down = np.broadcast_to(np.linspace(255, 0, height)[:, None], (height, width))
    picture = np.stack([across, down, across[:, ::-1]], -1).round().astype(np.uint8)
    return Image.fromarray(picture if mode == "RGB" else picture[..., 0].copy())
