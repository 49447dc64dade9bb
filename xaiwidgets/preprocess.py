"""From a photo to what the network is fed, in two steps that can be told apart.

First geometry: the photo becomes the *frame*, pixels in 0..1 at the network's size; it is what
is shown. Then normalization, an affine map of each channel. "Black" is a pixel value of 0, which is
some other number after normalization, so the second step is needed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xaiwidgets.images import as_array, read_image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What luminance weights make of the three: for networks of one channel.
GRAY_MEAN = (0.449,)
GRAY_STD = (0.226,)

_CROP = 0.875
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_KEYS = ("mean", "std", "size", "resize", "interpolation")
_PROBE = 256


class Preprocess:
    """Geometry and normalization.

    Attributes:
        size: `(H, W)` of the frame, or `None` when it follows the image.
        channels: 1 or 3.
        affine: whether normalization is exactly `x = offset + scale * pixels`.
    """

    def __init__(
        self,
        geometry: Callable[[Any], Tensor],
        scale: Tensor,
        offset: Tensor,
        size: tuple[int, int] | None,
        told: str,
        *,
        affine: bool = True,
    ) -> None:
        self._input_of = geometry
        self._scale = scale.reshape(-1, 1, 1)
        self._offset = offset.reshape(-1, 1, 1)
        self.size = size
        self.affine = affine
        self._told = told

    @property
    def channels(self) -> int:
        """Channels of the frame."""
        return len(self._scale)

    def __repr__(self) -> str:
        return self._told

    def prepare(self, image: Any) -> tuple[Tensor, Tensor]:
        """The frame `(C, H, W)` and the normalized input `(C, H, W)`, float32 on the CPU."""
        x = self._input_of(image)
        return self.denormalize(x), x

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels `(..., C, H, W)` in 0..1, as the network is fed them."""
        return pixels * self._scale.to(pixels) + self._offset.to(pixels)

    def denormalize(self, x: Tensor) -> Tensor:
        """What `normalize` was given, in 0..1."""
        return ((x - self._offset.to(x)) / self._scale.to(x)).clamp(0, 1)


class _Identity(Preprocess):
    """Feeds tensors as they are; pixels are whatever the network takes."""

    def __init__(self, channels: int) -> None:
        ones = torch.ones(channels)
        told = "images are fed as they are"
        super().__init__(_as_is, ones, ones * 0, None, told)

    def prepare(self, image: Any) -> tuple[Tensor, Tensor]:
        x = self._input_of(image)
        return x, x

    def denormalize(self, x: Tensor) -> Tensor:
        low, high = float(x.min()), float(x.max())
        if low >= 0 and high <= 1:
            return x
        return (x - low) / max(high - low, 1e-12)


def make_preprocess(given: Any, channels: int) -> Preprocess:
    """Settle what `Model(preprocess=...)` was given.

    Args:
        given: `None` (the ImageNet evaluation preset), "identity", a dictionary with any of mean,
            std, size, resize and interpolation, or a callable from a PIL image to a tensor, such
            as torchvision's `weights.transforms()`.
        channels: that the network takes.

    Raises:
        TypeError: for anything else.
        ValueError: for values that are not possible.
    """
    if isinstance(given, Preprocess):
        return given
    if given is None:
        return _preset({}, channels)
    if isinstance(given, Mapping):
        return _preset(given, channels)
    if isinstance(given, str) and given == "identity":
        return _Identity(channels)
    if callable(given):
        return _probed(given, channels)
    raise TypeError(
        f"preprocess={given!r} is not possible. Give None (the ImageNet evaluation preset), "
        '"identity", a dictionary with mean, std, size, resize, interpolation, or a callable from '
        "a PIL image to a tensor, such as torchvision's weights.transforms()."
    )


def _preset(given: Mapping[str, Any], channels: int) -> Preprocess:
    for key in given:
        if key not in _KEYS:
            raise ValueError(f'preprocess has no "{key}"; it has {", ".join(_KEYS)}.')
    gray = channels == 1
    mean = _numbers("mean", given.get("mean"), GRAY_MEAN if gray else IMAGENET_MEAN)
    std = _numbers("std", given.get("std"), GRAY_STD if gray else IMAGENET_STD)
    if len(mean) != len(std) or len(mean) != channels or not bool((std > 0).all()):
        raise ValueError(
            f"mean and std must each be {channels} numbers, one a channel, and std positive; "
            f"they are {mean.tolist()} and {std.tolist()}."
        )
    size = _size(given.get("size", 224))
    resize = given.get("resize", round(min(size) / _CROP))
    interpolation = given.get("interpolation", "bilinear")
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, not {interpolation!r}."
        )
    if isinstance(resize, bool) or not isinstance(resize, int) or resize < min(size):
        raise ValueError(
            f"resize must be a whole number of at least {min(size)} pixels, not {resize!r}."
        )

    def to_input(image: Any) -> Tensor:
        pixels = _exact_pixels(image, size, channels)
        if pixels is None:
            pixels = _cropped(image, size, resize, interpolation, channels)
        return (pixels - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)

    told = (
        f"resize to {resize}, {interpolation}, center crop {size[0]}x{size[1]}, "
        f"mean {_short(mean)}, std {_short(std)}"
    )
    return Preprocess(to_input, 1 / std, -mean / std, size, told)


def _exact_pixels(image: Any, size: tuple[int, int], channels: int) -> Tensor | None:
    """Float pixels that have the frame's size already, without rounding to 8 bits."""
    if isinstance(image, Image.Image | str | bytes | bytearray | memoryview) or not hasattr(
        image, "ndim"
    ):
        return None
    array = as_array(image)
    if array.dtype != np.float32 or array.shape[:2] != size or array.shape[2] != channels:
        return None
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _cropped(
    image: Any, size: tuple[int, int], resize: int, interpolation: str, channels: int
) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as transforms

    photo = read_image(image).convert("L" if channels == 1 else "RGB")
    photo = transforms.resize(photo, [resize], InterpolationMode(interpolation))
    photo = transforms.center_crop(photo, list(size))
    array = np.array(photo, dtype=np.float32) / 255
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))


def _as_is(image: Any) -> Tensor:
    if isinstance(image, Tensor | np.ndarray):
        x = torch.as_tensor(image).detach().cpu()
        x = x if x.is_floating_point() else x.float()
        x = x[None] if x.ndim == 2 else x[0] if x.ndim == 4 and len(x) == 1 else x
        if x.ndim != 3 or 0 in x.shape:
            raise ValueError(
                f"An input of shape {tuple(x.shape)} is not possible; with preprocess="
                '"identity", give a tensor (C, H, W).'
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError("The input has values that are NaN or infinite. Replace them first.")
        return x.clone()
    array = np.asarray(read_image(image), dtype=np.float32) / 255
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def _probed(given: Callable[[Any], Any], channels: int) -> Preprocess:
    """Learn a callable's normalization: by its own mean and std, or from plain gray images."""

    def to_input(image: Any) -> Tensor:
        return _checked(given(read_image(image).convert("L" if channels == 1 else "RGB")))

    levels = {
        level: to_input(Image.new("L", (_PROBE, _PROBE), level)).double() for level in (0, 128, 255)
    }
    height, width = levels[0].shape[-2:]
    black, gray, white = (levels[level].mean((1, 2)) for level in (0, 128, 255))
    stated = _stated(given)
    if stated is not None and len(stated[0]) == len(black):
        mean, std = stated
        black, white = -mean / std, (1 - mean) / std
    scale = white - black
    expected = black + scale * 128 / 255
    spread = float(levels[128].std((1, 2)).max())
    tolerance = 0.02 * scale.abs().clamp_min(1e-6)
    affine = bool(((gray - expected).abs() <= tolerance).all()) and spread < 0.02
    scale = torch.where(scale.abs() < 1e-6, torch.ones_like(scale), scale)
    name = getattr(given, "__name__", type(given).__name__)
    told = f"{name} (to {height}x{width})"
    if not affine:
        told += ", not a plain normalization: the photo is shown approximately"
    return Preprocess(
        to_input, scale.float(), black.float(), (height, width), told, affine=affine
    )


def _checked(x: Any) -> Tensor:
    if isinstance(x, Mapping) and "pixel_values" in x:
        x = x["pixel_values"]
        x = x[0] if isinstance(x, list) else x
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(x)
    if isinstance(x, Tensor) and x.ndim == 4 and len(x) == 1:
        x = x[0]
    if not isinstance(x, Tensor) or x.ndim != 3 or not x.is_floating_point():
        told = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"preprocess must turn a PIL image into a float tensor (C, H, W); it gave {told}. "
            "End it with ToTensor and Normalize."
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("preprocess gave values that are NaN or infinite for this image.")
    return x.detach().cpu().float()


def _stated(given: Any) -> tuple[Tensor, Tensor] | None:
    """Mean and std as the transform itself states them."""
    steps: Sequence[Any] = [given, *getattr(given, "transforms", [])]
    for step in steps:
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if mean is not None and std is not None and not callable(mean):
            return (
                torch.as_tensor(mean, dtype=torch.float64).flatten(),
                torch.as_tensor(std, dtype=torch.float64).flatten(),
            )
    return None


def _numbers(name: str, value: Any, default: Sequence[float]) -> Tensor:
    try:
        return torch.as_tensor(default if value is None else value, dtype=torch.float32).flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be numbers, one a channel, not {value!r}.") from error


def _size(value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else value
    if (
        not isinstance(pair, list | tuple)
        or len(pair) != 2
        or not all(isinstance(side, int) and side >= 1 for side in pair)
    ):
        raise ValueError(f"size must be a whole number or (height, width), not {value!r}.")
    return int(pair[0]), int(pair[1])


def _short(values: Tensor) -> str:
    return "/".join(f"{value:.3g}" for value in values.tolist())
