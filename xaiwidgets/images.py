"""Read an image from whatever people have: a file, bytes, a PIL image, an array, a tensor."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

_MOST_PIXELS = 150_000_000
_MOST_ASPECT = 100
ALLOWED = (
    "An image is a path, bytes of an image file, a PIL image, an array (H, W), (H, W, 1|3|4) or "
    "(1|3, H, W), or a tensor (C, H, W); pixels are uint8, uint16 or floats from 0 to 1."
)


def read_image(image: Any) -> Image.Image:
    """Return a PIL image: "RGB", or "L" for gray.

    Palettes are resolved, 16 bits become 8, CMYK becomes RGB, the EXIF orientation is applied,
    and what is transparent is put on white. Floats are rounded to 8 bits, but see `fit`.

    Args:
        image: a path, bytes of an image file, a PIL image, an array or a tensor.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not an image, or has no pixels, or pixels that are not allowed.
        TypeError: for anything else.
    """
    if isinstance(image, Image.Image):
        return _flattened(image)
    if isinstance(image, str | os.PathLike):
        return _opened(_existing(Path(image)), f'"{image}"')
    if isinstance(image, bytes | bytearray | memoryview):
        return _opened(io.BytesIO(bytes(image)), f"{len(image)} bytes")
    array = as_array(image)
    if array.dtype != np.uint8:
        array = (array * 255).round().astype(np.uint8)
    return _flattened(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array))


def fit(
    image: Any, size: tuple[int, int], resize: int, interpolation: str, channels: int
) -> NDArray[np.float32]:
    """The frame `(C, H, W)` in 0..1 that is cut out of an image.

    The shorter side is scaled to `resize`, or to more where the frame would reach beyond the
    image, and the center is cropped, as torchvision does it. A float array or tensor that has the
    frame's size already is taken as it is, without rounding to 8 bits.

    Args:
        image: see `read_image`.
        size: `(H, W)` of the frame.
        resize: pixels of the shorter side before cropping.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        channels: 1 or 3.

    Raises:
        ValueError: also when one side is more than 100 times the other.
    """
    if isinstance(image, np.ndarray) or _is_tensor(image):
        array = as_array(image)
        if array.dtype == np.float32 and array.shape == (*size, channels):
            return np.ascontiguousarray(array.transpose(2, 0, 1))
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as transforms

    photo = read_image(image).convert("L" if channels == 1 else "RGB")
    # Scaled up, a strip could fill the memory.
    if max(photo.size) > _MOST_ASPECT * min(photo.size):
        raise ValueError(
            f"The image has {photo.width} x {photo.height} pixels: too long and thin. One side "
            f"may be {_MOST_ASPECT} times the other; crop it first."
        )
    # Cropped where it ends, the photo would have black bars, and be explained by them.
    height, width = (
        -(-side * min(photo.size) // edge)
        for side, edge in zip(size, (photo.height, photo.width), strict=True)
    )
    short = max(resize, height, width)
    photo = transforms.resize(photo, [short], InterpolationMode(interpolation))
    photo = transforms.center_crop(photo, list(size))
    array = np.asarray(photo, dtype=np.float32) / np.float32(255)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def visible(pixels: Tensor) -> Tensor:
    """Pixels `(C, H, W)` as a person can see them: with other channels than 1 or 3, their mean.

    Such an input may have any values; they are scaled to 0..1 where they lie outside.
    """
    if len(pixels) in (1, 3):
        return pixels
    return in_unit_range(pixels.mean(0, keepdim=True))


def in_unit_range(values: Tensor) -> Tensor:
    """The same values where all are in 0..1, else scaled so that they just fill it."""
    low, high = float(values.min()), float(values.max())
    return values if 0 <= low and high <= 1 else (values - low) / max(high - low, 1e-12)


def as_array(image: Any) -> NDArray[Any]:
    """An array or tensor as `(H, W, C)` with C of 1, 3 or 4, uint8 or float32 in 0..1.

    Raises:
        TypeError: when it is neither an array nor a tensor, or of a type that no pixels have.
        ValueError: for a shape or for values that no image has.
    """
    array = _plain_array(image)
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"An image of shape {shape} is not possible. {ALLOWED}")
    # A tensor is channels first, an array only when it cannot be anything else.
    first, last = array.shape[0] in (1, 3, 4), array.shape[-1] in (1, 3, 4)
    if first and (not last or _is_tensor(image)):
        array = np.moveaxis(array, 0, -1)
    elif not last:
        raise ValueError(
            f"An image of shape {shape} has a wrong number of channels: 1, 3 or 4 are possible. "
            f"{ALLOWED}"
        )
    return _unit(np.ascontiguousarray(array))


def _is_tensor(image: Any) -> bool:
    return type(image).__module__.split(".")[0] == "torch"


def _plain_array(image: Any) -> NDArray[Any]:
    if _is_tensor(image):
        image = image.detach().cpu()
        if image.dtype.is_floating_point and image.dtype.itemsize < 4:
            image = image.float()
        return np.asarray(image.numpy())
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{type(image).__name__} is not an image. {ALLOWED}")
    return image


def _unit(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return (array / 65535).astype(np.float32)
    if array.dtype.kind in "iu" and 0 <= array.min() and array.max() <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind != "f":
        raise TypeError(f"Pixels of type {array.dtype} are not possible. {ALLOWED}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"{bad} pixel values are NaN or infinite. Replace them, for example with "
            "numpy.nan_to_num."
        )
    low, high = float(array.min()), float(array.max())
    # A little over is rounding, from resizing for example.
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(
            f"Float pixels must lie from 0 to 1; these go from {low:.3g} to {high:.3g}. Divide "
            "pixels of 0..255 by 255. For an image that is normalized already, wrap the network "
            'with xai.Model(net, preprocess="identity").'
        )
    return array.clip(0, 1).astype(np.float32)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(
            f'There is no file "{path}" (looked in {Path.cwd()}). Give the path of an image file.'
        )
    if path.is_dir():
        raise ValueError(f'"{path}" is a folder. Give the path of an image file.')
    return path


def _opened(source: Any, told: str) -> Image.Image:
    try:
        with Image.open(source) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError(
                    f"{told} has {opened.width} x {opened.height} pixels, more than "
                    f"{_MOST_PIXELS:,}. Make it smaller first."
                )
            opened.load()
            return _flattened(opened)
    except PIL.UnidentifiedImageError as error:
        raise ValueError(
            f"{told} is not an image that can be read. PNG, JPEG, WebP, GIF, TIFF and BMP are."
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{told} is too large to be read: {error}. Make it smaller.") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{told} is damaged: {error}. Save it again, or take another.") from error


def _flattened(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise ValueError(f"The image has {image.width} x {image.height} pixels: there are none.")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGB", "L"):
        return image.copy()
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        gray = image.mode in ("LA", "La")
        layers = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, layers).convert("L" if gray else "RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    array = np.asarray(image).astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError("The image has pixels that are NaN or infinite. Replace them first.")
    if array.min() < 0 or array.max() > 65535:
        raise ValueError(
            f"The image has pixels from {array.min():.3g} to {array.max():.3g}; possible are 0..1 "
            "(floats), 0..255 and 0..65535. Scale it first."
        )
    if image.mode == "F":
        scale = 1.0 if array.max() <= 1 else 255.0 if array.max() <= 255 else 65535.0
    else:
        scale = 255.0 if array.max() <= 255 and image.mode == "I" else 65535.0
    return Image.fromarray(((array / scale).clip(0, 1) * 255).round().astype(np.uint8))
