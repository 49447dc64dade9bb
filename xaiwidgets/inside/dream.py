"""Deep Dream: change a photo so that a layer sees more of what it already sees there.

    x <- x + step * g / mean|g|,    g = d O(x) / dx

for O half the sum of squares of a layer's activations, or the sum of one channel, climbed at
several scales ("octaves") from coarse to fine. The detail made at one scale is carried to the next.
At every step the image is shifted at random ("jitter") and shifted back.

Mordvintsev, Olah, Tyka, "Inceptionism", 2015, and the notebook published with it: 4 octaves of
scale 1.4, 10 iterations each, step 1.5 of 255, jitter 32. Those are the defaults.

The schedule is fixed: each octave but the last takes `ITERATIONS_PER_OCTAVE` steps, the last one
takes all the rest. So `iterations` is a position along one path, and asking for more continues
from where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.layers import Layer
from xaiwidgets.engine.until import activation
from xaiwidgets.model import Model

ITERATIONS_PER_OCTAVE = 10
_SMALLEST = 32


@dataclass(frozen=True)
class DreamFrame:
    """One picture of a dream.

    Attributes:
        image: uint8 `(H, W, 3)` at full size.
        iteration: steps so far; 0 is the start image.
        octave: 0 is the coarsest.
        objective: mean of what is climbed, at the image before the step.
    """

    image: NDArray[np.uint8]
    iteration: int
    octave: int
    objective: float


class Dreamer:
    """A dream that stands somewhere and can go on.

    Args:
        model: the prepared model.
        start: pixels `(C, H, W)` in 0..1.
        layer: name of the layer; see `default_layer`.
        channel: one channel of it, or `None` for all.
        octaves: number of scales; those whose shorter side would fall under 32 pixels are left
            out.
        octave_scale: ratio of two scales.
        step: in pixel values of 0..255.
        jitter: largest shift in pixels.
        seed: of the shifts.

    Raises:
        ValueError: for a layer, channel or size that the network cannot do.
    """

    def __init__(
        self,
        model: Model,
        start: Tensor,
        *,
        layer: str,
        channel: int | None = None,
        octaves: int = 4,
        octave_scale: float = 1.4,
        step: float = 1.5,
        jitter: int = 32,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.layer = layer
        self.channel = channel
        self.step = step / 255
        self.jitter = jitter
        self.start = start.to(model.device, model.dtype)[None]
        self.sizes = octave_sizes(start.shape[-2], start.shape[-1], octaves, octave_scale)
        self.iteration = 0
        self._random = np.random.default_rng(seed)
        self._detail = torch.zeros_like(self._base(0))
        self.channels = self._check()

    @property
    def octave(self) -> int:
        """The scale at which the next step is taken, 0 the coarsest."""
        return min(self.iteration // ITERATIONS_PER_OCTAVE, len(self.sizes) - 1)

    def frame(self, objective: float = float("nan")) -> DreamFrame:
        """The picture as it stands."""
        detail = _resized(self._detail, self.sizes[-1])
        pixels = (self.start + detail).clamp(0, 1)[0]
        if len(pixels) == 1:
            pixels = pixels.expand(3, -1, -1)
        image = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
        return DreamFrame(image.copy(), self.iteration, max(self._last_octave, 0), objective)

    @property
    def _last_octave(self) -> int:
        return min((self.iteration - 1) // ITERATIONS_PER_OCTAVE, len(self.sizes) - 1)

    def advance(self) -> DreamFrame:
        """Take one step."""
        base = self._base(self.octave)
        if self._detail.shape != base.shape:
            self._detail = _resized(self._detail, self.sizes[self.octave])
        shift = [int(n) for n in self._random.integers(-self.jitter, self.jitter + 1, 2)]
        image = torch.roll(base + self._detail, shift, (-2, -1))
        gradient, objective = self._climb(image)
        image = image + gradient * (self.step / gradient.abs().mean().clamp_min(1e-12))
        image = torch.roll(image.clamp(0, 1), [-n for n in shift], (-2, -1))
        self._detail = image - base
        self.iteration += 1
        return self.frame(objective)

    def _base(self, octave: int) -> Tensor:
        return _resized(self.start, self.sizes[octave])

    def _climb(self, image: Tensor) -> tuple[Tensor, float]:
        image = image.detach().requires_grad_(True)
        with torch.enable_grad():
            seen = self._activation(image)
            climbed = seen.sum() if self.channel is not None else seen.square().sum() / 2
            (gradient,) = torch.autograd.grad(climbed, image)
        if not bool(torch.isfinite(gradient).all()):
            raise ValueError(
                f'Layer "{self.layer}" gives gradients that are not finite. Choose another layer.'
            )
        return gradient, float(climbed.detach()) / seen.numel()

    def _activation(self, image: Tensor) -> Tensor:
        seen = activation(self.model, self.model.pixels_to_input(image), self.layer)
        return seen if self.channel is None else _channel(seen, self.channel)

    def _check(self) -> int:
        """Run the smallest octave once, so that what cannot work is said before it starts."""
        height, width = self.sizes[0]
        try:
            with torch.no_grad():
                x = self.model.pixels_to_input(self._base(0))
                seen = activation(self.model, x, self.layer)
        except (RuntimeError, AssertionError) as error:
            side = "x".join(map(str, self.model.size))
            raise ValueError(
                f"The network does not take images of {height}x{width} pixels, an octave of this "
                f"dream ({error}). If it takes only {side}, use octaves=1 and "
                f"size={max(self.model.size)}."
            ) from error
        if seen.ndim < 2 or not seen.is_floating_point():
            raise ValueError(f'Layer "{self.layer}" gives no channels to climb: choose another.')
        channels = seen.shape[_channel_axis(seen)]
        if self.channel is not None and not 0 <= self.channel < channels:
            raise ValueError(
                f'channel must be from 0 to {channels - 1} for layer "{self.layer}", '
                f"not {self.channel}; None climbs all of them."
            )
        return channels


def octave_sizes(height: int, width: int, octaves: int, scale: float) -> list[tuple[int, int]]:
    """Sizes of the octaves, coarse to fine; the last is the full size."""
    sizes = [(height, width)]
    for number in range(1, octaves):
        size = (round(height / scale**number), round(width / scale**number))
        if min(size) < _SMALLEST or size == sizes[-1]:
            break
        sizes.append(size)
    return sizes[::-1]


def default_layer(model: Model) -> str:
    """The layer a dream starts with: halfway through the network's work, with spatial extent.

    Blocks are preferred to the single operations inside of them.
    """
    layers = [layer for layer in model.layers() if layer.name and _spatial(layer.output_shape)]
    if not layers:
        raise ValueError(
            "The network has no layer with spatial extent to dream at. Take a convolutional "
            "network."
        )
    chosen = _blocks(layers) or layers
    spent, best = 0.0, chosen[0]
    for layer in chosen:
        best = layer
        spent += layer.cost_share
        if spent >= sum(each.cost_share for each in chosen) * 0.6:
            break
    return best.name


def _blocks(layers: list[Layer]) -> list[Layer]:
    """The largest modules that do less than a fifth of the work, none inside of another."""
    small = [layer for layer in layers if layer.cost_share < 0.2]
    inner = {layer.name for layer in small}
    parents = {layer.parent for layer in layers}
    return [layer for layer in small if layer.name in parents and layer.parent not in inner]


def _spatial(shape: Any) -> bool:
    return shape is not None and len(shape) == 4 and min(shape[-2:]) > 1


def _channel_axis(seen: Tensor) -> int:
    # Tokens (batch, tokens, channels) carry their channels last, everything else second.
    return 2 if seen.ndim == 3 else 1


def _channel(seen: Tensor, channel: int) -> Tensor:
    return seen.select(_channel_axis(seen), channel)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[-2:] == size:
        return image
    shrinks = size[0] < image.shape[-2]
    return functional.interpolate(
        image, size, mode="bilinear", align_corners=False, antialias=shrinks
    )


def frames(dreamer: Dreamer, iterations: int) -> Iterator[DreamFrame]:
    """The start image and every step up to `iterations`."""
    if dreamer.iteration == 0:
        yield dreamer.frame()
    while dreamer.iteration < iterations:
        yield dreamer.advance()
