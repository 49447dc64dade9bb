"""Pictures of a comparison: its photos, and all of its maps on one sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from xaiwidgets.explanation import Explanation
from xaiwidgets.widgets import encode, still

_MOST_LOSSLESS = 8
_MOST_COLUMNS = 6
_GAP = 4


def encoded_frames(frames: Sequence[Tensor]) -> list[bytes]:
    """Frames `(C, H, W)` in 0..1 as PNG, many of them as JPEG; all of one size where they can be,
    so that a cursor is at one place.
    """
    alike = [_like(frame, frames[0]) for frame in frames]
    many = len(alike) > _MOST_LOSSLESS
    return [encode.jpeg(frame, 92) if many else encode.png(frame) for frame in alike]


def contact_sheet(explanations: Sequence[Explanation], columns: int) -> bytes:
    """All maps over their photos, in rows of so many at most, as a PNG."""
    pictures = [Image.fromarray(still.overlay(e.pixels, e.heatmap)) for e in explanations]
    columns = min(_MOST_COLUMNS, max(1, columns), len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = (max(size) for size in zip(*(p.size for p in pictures), strict=True))
    across, down = width + _GAP, height + _GAP
    sheet = Image.new("RGB", (columns * across - _GAP, rows * down - _GAP), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * across, row * down))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _like(pixels: Tensor, first: Tensor) -> Tensor:
    """A frame at the size of the first one, where it has the same aspect."""
    height, width = first.shape[-2:]
    if pixels.shape[-2:] == (height, width):
        return pixels
    if abs(pixels.shape[-2] * width / (pixels.shape[-1] * height) - 1) > 0.01:
        return pixels
    resized: Tensor = torch.nn.functional.interpolate(
        pixels[None], (height, width), mode="bilinear", antialias=True
    )[0]
    return resized
