"""Late features of a photo as maps over it, from convolutional networks and from transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xaiwidgets.engine.layers import Layer
from xaiwidgets.engine.until import activation
from xaiwidgets.methods.estimate import Task

_MOST_EXTRA_TOKENS = 16
"""Class, distillation and register tokens, which have no place in the photo."""


class FeatureMaps(NamedTuple):
    """Features: the layer's name, and `(D, h, w)`, float64, on the CPU."""

    layer: str
    maps: Tensor


def late_maps(task: Task) -> FeatureMaps:
    """The features before the last attention, else those of the last layer with spatial extent.

    The former are what a transformer block's normalization hands to its attention, signed. The
    latter are rectified, so that it does not matter whether the layer or its activation is last.

    Raises:
        ValueError: for a network that has neither, or where they do not lie on a grid.
    """
    layers = task.model.layers()
    attended, last = _before_last_attention(layers), _last_with_extent(layers)
    for name in filter(None, (attended, last)):
        with torch.no_grad():
            output = activation(task.model, task.x, name)[0].cpu().double()
        maps = _on_grid(task, output, layers, name == attended)
        if maps is not None:
            return FeatureMaps(name, maps if name == attended else maps.clamp_min(0))
    tried = " and ".join(f'"{name}"' for name in (attended, last) if name)
    raise ValueError(
        f"The network ({task.model.name}) has no maps of features over the photo that could be "
        f"recognized; looked at: {tried or 'nothing, as no layer has spatial extent'}. "
        "Use rise or lime, which look at no layer."
    )


def _before_last_attention(layers: Sequence[Layer]) -> str | None:
    norms: dict[str | None, str] = {}
    found: str | None = None
    for layer in layers:
        if "Norm" in layer.type and layer.output_shape is not None:
            norms[layer.parent] = layer.name
        elif "Attention" in layer.type:
            # Of the same block: where it is normalized afterwards, there is none before.
            found = norms.get(layer.parent, found)
    return found


def _last_with_extent(layers: Sequence[Layer]) -> str | None:
    named = {layer.name: layer for layer in layers}
    spatial = [layer for layer in layers if layer.name and _has_extent(layer)]
    if not spatial:
        return None
    last = spatial[-1]
    # The whole block, whose branches and residual have come together.
    while last.parent and _has_extent(named[last.parent]):
        last = named[last.parent]
    return last.name


def _has_extent(layer: Layer) -> bool:
    shape = layer.output_shape
    return shape is not None and len(shape) == 4 and shape[2] * shape[3] > 1


def _on_grid(task: Task, output: Tensor, layers: Sequence[Layer], attended: bool) -> Tensor | None:
    """`(D, h, w)` of the photo's features, or `None` where they are not recognized."""
    frame = (task.x.shape[-2], task.x.shape[-1])
    if output.ndim == 3:
        # Attention's features come last, a convolution's first, but for networks that mix both.
        for leading in (not attended, attended):
            grid = output if leading else output.permute(2, 0, 1)
            if _like(grid.shape[1:], frame):
                return grid
        return None
    if output.ndim != 2:
        return None
    tokens, width = output.shape
    # Patches are embedded by a convolution, whose output is the grid.
    grids = {
        layer.output_shape[2:]
        for layer in layers
        if "Conv" in layer.type and _has_extent(layer) and layer.output_shape is not None
        if layer.output_shape[1] == width
    }
    fitting = [g for g in grids if 0 <= tokens - g[0] * g[1] <= _MOST_EXTRA_TOKENS]
    if len(fitting) != 1:
        return None
    height, columns = fitting[0]
    first = _first_patch(task, layers, (tokens, width), (height, columns))
    if first is None:
        return None
    return output[first : first + height * columns].T.reshape(width, height, columns)


def _first_patch(
    task: Task, layers: Sequence[Layer], shape: tuple[int, int], grid: tuple[int, int]
) -> int | None:
    """The place of the first patch among the tokens, or `None` where it is not known.

    Before tokens are mixed, a change in the first corner of the photo is seen from the first patch
    on, and one in the opposite corner up to the last.
    """
    patches = grid[0] * grid[1]
    if patches == shape[0]:
        return 0
    parents = {layer.parent for layer in layers}
    leaves = (layer for layer in layers if layer.name not in parents)
    early = next((leaf.name for leaf in leaves if leaf.output_shape == (1, *shape)), None)
    if early is None:
        return None
    rows, columns = (-(-side // cells) for side, cells in zip(task.x.shape[-2:], grid, strict=True))
    start, end = task.x.clone(), task.x.clone()
    start[..., :rows, :columns] += 1
    end[..., -rows:, -columns:] += 1
    with torch.no_grad():
        clean, *changed = (activation(task.model, x, early)[0] for x in (task.x, start, end))
    first, last = (
        torch.isclose(one, clean).all(1).logical_not().nonzero().flatten().tolist()
        for one in changed
    )
    whole = bool(first) and bool(last) and last[-1] - first[0] + 1 == patches
    return int(first[0]) if whole else None


def _like(grid: Sequence[int], frame: tuple[int, int]) -> bool:
    """Whether a grid has the shape of the frame, but for the rounding of its sides."""
    (h, w), (height, width) = grid, frame
    return h <= height and w <= width and abs(h * width - w * height) < max(height, width)
