"""Deep Dream as one call; the algorithm is in `xaiwidgets.inside.dream`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xaiwidgets.inside.dream import Dreamer, DreamFrame, default_layer, frames
from xaiwidgets.methods.params import Range, check_all, read_parameters
from xaiwidgets.model import Model
from xaiwidgets.progress import bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Dream:
    """A finished dream.

    Attributes:
        image: uint8 `(H, W, 3)`.
        start: the photo it began with, uint8 `(H, W, 3)`.
        objective: mean of what was climbed, one number a step.
        layer: what was climbed.
        channel: of the layer, or `None` for all.
        params: every parameter.
        octaves: `(H, W)` of each scale, coarse to fine.
        seconds: that it took.
    """

    image: NDArray[np.uint8]
    start: NDArray[np.uint8]
    objective: NDArray[np.float32]
    layer: str
    channel: int | None
    params: dict[str, Any]
    octaves: list[tuple[int, int]]
    seconds: float

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        channel = "" if self.channel is None else f", channel {self.channel}"
        return (
            f"Dream({self.layer}{channel}, {len(self.objective)} iterations, "
            f"{width}x{height}, {self.seconds:.1f} s)"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image, as PNG or whatever the ending of `path` says."""
        from PIL import Image

        target = Path(path)
        Image.fromarray(self.image).save(target)
        return target

    def plot(self) -> Figure:
        """The photo, the dream and the objective side by side, as a matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 3.6), layout="constrained")
        before, after, curve = figure.subplots(1, 3)
        for axes, image, title in ((before, self.start, "photo"), (after, self.image, "dream")):
            axes.imshow(image)
            axes.set_title(title)
            axes.axis("off")
        curve.plot(range(1, len(self.objective) + 1), self.objective)
        curve.set_xlabel("iteration")
        curve.set_title(f"objective of {self.layer}")
        return figure


@torch.inference_mode(False)
def deep_dream(
    model: Model,
    image: Any,
    layer: str | None = None,
    channel: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    *,
    iterations: Annotated[
        int,
        Range(0, 200, 1, "Iterations", help="Steps in all; the coarser octaves take 10 each."),
    ] = 40,
    octaves: Annotated[
        int, Range(1, 8, 1, "Octaves", help="Scales, from coarse to the full size.")
    ] = 4,
    octave_scale: Annotated[
        float, Range(1.1, 2.0, 0.05, "Octave scale", help="Ratio of two scales.")
    ] = 1.4,
    step: Annotated[
        float, Range(0.1, 10, 0.1, "Step", help="Mean change of a pixel a step, of 255.")
    ] = 1.5,
    jitter: Annotated[
        int, Range(0, 64, 1, "Jitter", "px", "Largest random shift before a step.")
    ] = 32,
    size: Annotated[int, Range(64, 1024, 1, "Size", "px", "Longer side of the picture.")] = 384,
) -> Dream:
    """Let a photo dream.

    Args:
        model: an `xaiwidgets.Model`.
        image: a path, PIL image, array or tensor.
        layer: name of the layer to climb, see `model.layers()`; `None` takes one halfway through.
        channel: one channel of it; `None` climbs all of them.
        seed: of the jitter, at least 0.
        progress: show a bar; `None` shows one when it takes longer than a second.
        iterations: steps in all. The schedule is fixed: octave after octave takes 10 steps, the
            last one the rest, so 20 iterations are the first 20 of 40.
        octaves: number of scales; those with a side under 32 pixels are left out.
        octave_scale: ratio of two scales.
        step: mean change of a pixel in one step, of 255.
        jitter: largest random shift in pixels before a step, undone after it.
        size: longer side of the picture in pixels; a smaller photo is enlarged.

    Raises:
        ValueError: for a value out of range, or a layer or size that the network cannot do.
        TypeError: for a value of the wrong type.
    """
    given = {
        "iterations": iterations,
        "octaves": octaves,
        "octave_scale": octave_scale,
        "step": step,
        "jitter": jitter,
        "size": size,
    }
    params = check_all("deep_dream", parameters(), given)
    began = time.perf_counter()
    dreamer = make_dreamer(model, image, layer=layer, channel=channel, seed=seed, params=params)
    shown: Iterator[DreamFrame] = frames(dreamer, params["iterations"])
    first = last = next(shown)
    objective = []
    total = params["iterations"]
    for last in bar(shown, "deep_dream", progress, lambda frame: (frame.iteration, total)):
        objective.append(last.objective)
    return Dream(
        last.image,
        first.image,
        np.asarray(objective, dtype=np.float32),
        dreamer.layer,
        channel,
        params,
        dreamer.sizes,
        time.perf_counter() - began,
    )


def parameters() -> dict[str, Any]:
    """The parameters of `deep_dream` that have a range, from its signature."""
    return read_parameters(deep_dream)


def make_dreamer(
    model: Model,
    image: Any,
    *,
    layer: str | None,
    channel: int | None,
    seed: int,
    params: dict[str, Any],
) -> Dreamer:
    """A dream at its start image, with checked `params`."""
    check_seed(seed)
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, int)):
        raise TypeError(f"channel must be a whole number or None, not {channel!r}.")
    return Dreamer(
        model,
        start_pixels(model, image, params["size"], params["octaves"]),
        layer=default_layer(model) if layer is None else layer,
        channel=channel,
        octaves=params["octaves"],
        octave_scale=params["octave_scale"],
        step=params["step"],
        jitter=params["jitter"],
        seed=seed,
    )


def start_pixels(model: Model, image: Any, size: int, octaves: int) -> Tensor:
    """The photo at dream size, `(C, H, W)` in 0..1.

    With one octave at the very size of the model's frame it is that frame, for networks that take
    no other size.
    """
    if octaves == 1 and size == max(model.size):
        return model.prepare(image).pixels
    from PIL import Image

    from xaiwidgets.images import read_image

    photo = read_image(image).convert("RGB" if model.channels == 3 else "L")
    ratio = size / max(photo.size)
    width, height = (max(1, round(side * ratio)) for side in photo.size)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    array = np.array(photo, dtype=np.float32) / 255
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))


def check_seed(seed: Any) -> int:
    """Return a seed that is a whole number of at least 0, or raise."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be a whole number of at least 0, not {seed!r}.")
    if seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, not {seed}.")
    return int(seed)
