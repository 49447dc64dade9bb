"""Overlapping regions of a photo at several scales, and which of them matter most.

Segments by Felzenszwalb, Huttenlocher, "Efficient Graph-Based Image Segmentation", 2004.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Masks = NDArray[np.bool_]

SCALES = (50, 100, 150, 250, 500, 1200)
SIGMA = 0.8
DILATION = 5
SIDE = 224
"""The parameters above are meant for a photo of this many pixels a side."""


@dataclass(frozen=True)
class Region:
    """Pixels that no region before it has.

    Attributes:
        mask: bool `(H, W)`.
        density: mean attribution of its pixels.
    """

    mask: Masks
    density: float


def segments(pixels: Tensor, min_size: int) -> Masks:
    """Dilated segments of all scales, those that several scales share once, `(M, H, W)`.

    Args:
        pixels: `(C, H, W)`; only differences count, not range.
        min_size: pixels of the smallest segment, when the photo is 224 a side.
    """
    return _segments(pixels.numpy().tobytes(), tuple(pixels.shape), pixels.dtype, min_size)


# Another class, or another number of steps, asks for those of the same photo.
@functools.lru_cache(maxsize=4)
def _segments(data: bytes, shape: tuple[int, ...], dtype: torch.dtype, min_size: int) -> Masks:
    from skimage.morphology import disk
    from skimage.segmentation import felzenszwalb

    height, width = shape[-2:]
    image = torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape).double()
    if (height, width) != (SIDE, SIDE):
        image = functional.interpolate(
            image[None], size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True
        )[0]
    low, high = image.amin(), image.amax()
    image = (image - low) / (high - low).clamp_min(1e-12) * 2 - 1
    array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    rows, columns = (
        np.minimum((np.arange(side) + 0.5) * SIDE // side, SIDE - 1).astype(int)
        for side in (height, width)
    )
    footprint: NDArray[np.uint8] = disk(DILATION)  # type: ignore[no-untyped-call]
    found: dict[bytes, Masks] = {}
    for scale in SCALES:
        labels = felzenszwalb(array, scale=scale, sigma=SIGMA, min_size=min_size, channel_axis=-1)
        for label in range(labels.max() + 1):
            mask = _dilated(labels == label, footprint)[np.ix_(rows, columns)]
            if mask.any():
                found.setdefault(mask.tobytes(), mask)
    masks: Masks = np.stack(list(found.values()))
    masks.flags.writeable = False
    return masks


def _dilated(mask: NDArray[Any], footprint: NDArray[np.uint8]) -> Masks:
    from skimage.morphology import dilation

    # Only where it is: a hundred small segments would otherwise cost a hundred whole photos.
    reach = footprint.shape[0] // 2
    window = tuple(
        slice(max(int(places.min()) - reach, 0), int(places.max()) + reach + 1)
        for places in np.nonzero(mask)
    )
    grown: Masks = np.zeros_like(mask)
    grown[window] = dilation(mask[window], footprint)
    return grown


def ranked(attribution: Tensor, masks: Masks, least: int) -> list[Region]:
    """Regions in the order in which they are added, the densest addition first at each step.

    Args:
        attribution: `(H, W)`.
        masks: bool `(M, H, W)`; they may overlap.
        least: pixels that a region must add; one that adds fewer is left out.

    Returns:
        Disjoint regions that cover the photo; pixels of none are a last one.
    """
    values = attribution.double().numpy().ravel()
    # One row for each pixel: a pixel that is taken is taken out of all masks at once.
    columns = np.ascontiguousarray(masks.reshape(len(masks), -1).T)
    sums = values @ columns
    sizes = columns.sum(0)
    free = np.ones(len(values), bool)
    regions = []
    while (wide := sizes >= max(least, 1)).any():
        density = np.divide(sums, sizes, out=np.full(len(sums), -np.inf), where=wide)
        added = columns[:, int(density.argmax())] & free
        regions.append(_region(added, values, masks.shape[1:]))
        free &= ~added
        gone = columns[added]
        sums = sums - values[added] @ gone
        sizes = sizes - gone.sum(0)
    if free.any():
        regions.append(_region(free, values, masks.shape[1:]))
    return regions


def _region(flat: Masks, values: NDArray[np.float64], shape: tuple[int, ...]) -> Region:
    return Region(flat.reshape(shape), float(values[flat].mean()))


def painted(regions: list[Region]) -> Tensor:
    """Each pixel's region's density, `(H, W)`, float64."""
    canvas = np.zeros(regions[0].mask.shape)
    for region in regions:
        canvas[region.mask] = region.density
    return torch.from_numpy(canvas)
