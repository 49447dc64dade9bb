"""From a photo to what the network is fed, in two steps that can be told apart.

First geometry: the photo becomes the *frame*, pixels in 0..1 at the network's size; it is what
is shown. Then normalization, an affine map of each channel. "Black" is a pixel value of 0, which is
some other number after normalization, so the second step is needed by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xaiwidgets.images import fit, in_unit_range, read_image
from xaiwidgets.probing import Normalization, probe, read_result, stated_normalization

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What luminance weights make of the three: for networks of one channel.
GRAY_MEAN = (0.449,)
GRAY_STD = (0.226,)

_CROP = 0.875
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_KEYS = ("mean", "std", "size", "resize", "interpolation")
_MOST_SIDE = 8192


class Preprocess:
    """Geometry and normalization.

    Attributes:
        size: `(H, W)` of the frame, or `None` when it follows the image.
        affine: whether normalization is exactly `x = offset + scale * pixels`. Where it is not
            (a callable that standardizes each photo, say), the network still gets exactly what
            the callable gives; pixels, baselines and fillings are those of the nearest such map.
    """

    def __init__(
        self,
        input_of: Callable[[Any], Tensor],
        normalization: Normalization,
        size: tuple[int, int] | None,
        told: str,
    ) -> None:
        self._input_of = input_of
        self._scale = normalization.scale.reshape(-1, 1, 1)
        self._offset = normalization.offset.reshape(-1, 1, 1)
        self._placed: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
        self._order = normalization.order
        self.size = size
        self.affine = normalization.affine
        self._told = told

    @property
    def channels(self) -> int:
        """Channels of the frame."""
        return len(self._scale)

    def takes(self, channels: int) -> bool:
        """Whether an input of that many channels fits."""
        return channels == self.channels

    def __repr__(self) -> str:
        return self._told

    def prepare(self, image: Any) -> tuple[Tensor, Tensor]:
        """The frame `(C, H, W)` and the normalized input `(C, H, W)`, float32 on the CPU."""
        x = self._input_of(image)
        return self.denormalize(x), x

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels `(..., C, H, W)` in 0..1, as the network is fed them."""
        if self._order is not None:
            pixels = pixels[..., list(self._order), :, :]
        scale, offset = self._constants(pixels)
        return pixels * scale + offset

    def denormalize(self, x: Tensor) -> Tensor:
        """What `normalize` was given, in 0..1."""
        scale, offset = self._constants(x)
        pixels = ((x - offset) / scale).clamp(0, 1)
        if self._order is not None:
            pixels = pixels[..., [self._order.index(c) for c in range(len(self._order))], :, :]
        return pixels

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and offset, moved to where `like` is once and for all."""
        place = (like.device, like.dtype)
        if place not in self._placed:
            # What is made in inference mode could never be differentiated through.
            with torch.inference_mode(False):
                self._placed[place] = self._scale.to(like), self._offset.to(like)
        return self._placed[place]


class _Identity(Preprocess):
    """Feeds tensors as they are; pixels are whatever the network takes."""

    def __init__(self, channels: int | None) -> None:
        ones = torch.ones(channels or 1)
        told = "images are fed as they are"
        super().__init__(_as_is, Normalization(ones, ones * 0, None, True), None, told)
        self._known = channels is not None
        self._last = channels or 1

    @property
    def channels(self) -> int:
        """Those of the network, else of the last image."""
        return self._last

    def takes(self, channels: int) -> bool:
        return channels == self._last or not self._known

    def prepare(self, image: Any) -> tuple[Tensor, Tensor]:
        x = self._input_of(image)
        if not self._known:
            self._last = len(x)
        return x, x

    def normalize(self, pixels: Tensor) -> Tensor:
        return pixels

    def denormalize(self, x: Tensor) -> Tensor:
        return in_unit_range(x)


def make_preprocess(given: Any, channels: int | None) -> Preprocess:
    """Settle what `Model(preprocess=...)` was given.

    Args:
        given: `None` (the ImageNet evaluation preset), "identity", a dictionary with any of mean,
            std, size, resize and interpolation, or a callable from a PIL image to a tensor, such
            as torchvision's `weights.transforms()`; weights themselves do as well.
        channels: that the network takes, `None` when it does not say.

    Raises:
        TypeError: for anything else.
        ValueError: for values that are not possible.
    """
    if isinstance(given, Preprocess):
        return given
    given = getattr(given, "transforms", given) if hasattr(given, "meta") else given
    if isinstance(given, functools.partial) and isinstance(given.func, type):
        # torchvision's weights.transforms, not called yet.
        given = given()
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


def _preset(given: Mapping[str, Any], known: int | None) -> Preprocess:
    for key in given:
        if key not in _KEYS:
            raise ValueError(f'preprocess has no "{key}"; it has {", ".join(_KEYS)}.')
    stated = _stated_channels(given)
    channels = known or 3
    if stated == 3 or known not in (1, 3):
        # The first convolution that a network has need not be the first to run.
        channels = stated or channels
    if channels not in (1, 3):
        raise ValueError(
            f"The network seems to take {channels} channels, and photos have 1 or 3. Use "
            'preprocess="identity" and give tensors, or state mean and std of 1 or 3 numbers.'
        )
    gray = channels == 1
    mean = _numbers("mean", given.get("mean"), GRAY_MEAN if gray else IMAGENET_MEAN, channels)
    std = _numbers("std", given.get("std"), GRAY_STD if gray else IMAGENET_STD, channels)
    if not bool((std > 0).all()):
        raise ValueError(f"std must be positive; it is {std.tolist()}.")
    size = _size(given.get("size", 224))
    resize = given.get("resize", round(min(size) / _CROP))
    interpolation = given.get("interpolation", "bilinear")
    interpolation = getattr(interpolation, "value", interpolation)
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be one of {', '.join(_INTERPOLATIONS)}, not {interpolation!r}."
        )
    if not _is_side(resize):
        raise ValueError(
            f"resize, the shorter side before cropping, must be a whole number of pixels from 1 "
            f"to {_MOST_SIDE}, not {resize!r}."
        )
    if resize < min(size):
        raise ValueError(
            f"resize={resize} is less than the frame of {size[0]} x {size[1]} pixels that is cut "
            f"out afterwards. State a resize of at least {min(size)}, or a smaller size."
        )

    def to_input(image: Any) -> Tensor:
        pixels = torch.from_numpy(fit(image, size, resize, interpolation, channels))
        return (pixels - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)

    told = (
        f"resize to {resize}, {interpolation}, center crop {size[0]}x{size[1]}, "
        f"mean {_short(mean)}, std {_short(std)}"
    )
    return Preprocess(to_input, Normalization(1 / std, -mean / std, None, True), size, told)


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


def _probed(given: Callable[[Any], Any], channels: int | None) -> Preprocess:
    """Learn a callable's normalization and size by trying it on made-up images."""
    name = getattr(given, "__name__", type(given).__name__)
    mode = "L" if channels == 1 else "RGB"

    def run(photo: Image.Image) -> Tensor:
        try:
            x = given(photo)
        except Exception as error:
            raise ValueError(
                f"preprocess ({name}) raised {type(error).__name__} for a PIL image of mode "
                f"{photo.mode}, {photo.width} x {photo.height}: {error}. Give a callable from a "
                "PIL image to a float tensor (C, H, W)."
            ) from error
        return read_result(x)

    def to_input(image: Any) -> Tensor:
        x = run(read_image(image).convert(mode))
        if not bool(torch.isfinite(x).all()):
            raise ValueError("preprocess gave values that are NaN or infinite for this image.")
        return x

    normalization, size = probe(run, stated_normalization(given), mode)
    if channels in (1, 3) and len(normalization.scale) != channels:
        raise ValueError(
            f"preprocess ({name}) gives {len(normalization.scale)} channels, but the network's "
            f"first convolution takes {channels}."
        )
    told = f"{name} (to {'x'.join(map(str, size)) if size else 'a size that follows the image'})"
    if not normalization.affine:
        told += ", not a plain normalization: the photo is shown approximately"
    return Preprocess(to_input, normalization, size, told)


def _stated_channels(given: Mapping[str, Any]) -> int:
    """How many channels mean or std have; 0 when they do not say."""
    values: list[Any] = [given.get("mean"), given.get("std")]
    return max(np.size(value) if np.ndim(value) == 1 else 0 for value in values)


def _numbers(name: str, value: Any, default: Sequence[float], channels: int) -> Tensor:
    try:
        found = torch.as_tensor(default if value is None else value, dtype=torch.float32).flatten()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be numbers, one a channel, not {value!r}.") from error
    if len(found) == 1:
        found = found.expand(channels).clone()
    if len(found) != channels or not bool(torch.isfinite(found).all()):
        raise ValueError(f"{name} must be {channels} finite numbers, one a channel, not {value!r}.")
    return found


def _size(value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else value
    good = isinstance(pair, list | tuple) and len(pair) == 2
    if not good or not all(_is_side(side) for side in pair):
        raise ValueError(
            f"size must be a whole number of pixels from 1 to {_MOST_SIDE}, or (height, width), "
            f"not {value!r}."
        )
    return int(pair[0]), int(pair[1])


def _is_side(side: Any) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= _MOST_SIDE


def _short(values: Tensor) -> str:
    return "/".join(f"{value:.3g}" for value in values.tolist())
