"""From tensors to what crosses the wire: fresh bytes and plain, finite values.

Buffers are sent by reference, some time later. So everything here makes bytes of its own, which no
later step can write to.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xaiwidgets.images import visible


def float32(values: Tensor | NDArray[Any]) -> bytes:
    """Little-endian float32, row by row."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    return np.ascontiguousarray(array, dtype="<f4").tobytes()


def int32(values: Tensor) -> bytes:
    """Little-endian int32, row by row."""
    return np.ascontiguousarray(values.cpu().numpy(), dtype="<i4").tobytes()


def int8(values: Tensor) -> tuple[bytes, float]:
    """Signed bytes and their scale: value = byte * scale / 127."""
    scale = float(values.abs().max()) or 1.0
    return (values * (127 / scale)).round().to(torch.int8).cpu().numpy().tobytes(), scale


def int16(values: NDArray[Any]) -> tuple[bytes, float]:
    """Signed 16-bit integers, row by row, and their scale: value = integer * scale / 32767."""
    scale = float(np.abs(values).max()) or 1.0
    return np.rint(values * (32767 / scale)).astype("<i2").tobytes(), scale


def picture(pixels: Tensor | NDArray[np.uint8]) -> Image.Image:
    """Pixels `(C, H, W)` in 0..1, or uint8 `(H, W, 3)`, as an image; see `visible`."""
    if isinstance(pixels, Tensor):
        scaled = visible(pixels.detach()).clamp(0, 1).mul(255).round().to(torch.uint8)
        array = scaled.permute(1, 2, 0).cpu().numpy()
        return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    return Image.fromarray(pixels)


def png(pixels: Tensor | NDArray[np.uint8]) -> bytes:
    """Lossless, for what is looked at closely."""
    return _encoded(picture(pixels), "PNG", compress_level=3)


def jpeg(pixels: Tensor | NDArray[np.uint8], quality: int = 88) -> bytes:
    """Small, for what goes by."""
    return _encoded(picture(pixels), "JPEG", quality=quality)


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def plain(value: Any) -> Any:
    """The value as JSON takes it: no NaN or infinity, no array; anything else is "custom"."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return "custom"
