"""Segments: the parts of a photo that LIME and SHAP switch on and off.

- slic: superpixels of similar color and size (Achanta et al., "SLIC Superpixels", 2012).
- quickshift: modes of color and place (Vedaldi, Soatto, 2008); their number follows from the photo.
- grid: rectangles, whatever is in the photo.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xaiwidgets.methods.params import Choice, Range

_SHADES = 3
_MOST = 4000
"""A fit to more segments than that takes more memory than it is worth."""


def _given(value: Any) -> NDArray[np.int64]:
    labels = np.asarray(value)
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError("labels are an (H, W) array of whole numbers, one for each pixel")
    return labels.astype(np.int64)


Segmentation = Annotated[
    Any,
    Choice(
        ("slic", "quickshift", "grid"),
        "Segmentation",
        help="How the photo is cut into parts.",
        also=_given,
        also_text="an (H, W) array of labels",
    ),
]
"""The parameter `segmentation`."""

Segments = Annotated[
    int,
    Range(
        2,
        400,
        1,
        "Segments",
        help="Parts that the photo is cut into, about; quickshift finds its own number.",
    ),
]
"""The parameter `segments`."""


def segment(pixels: Tensor, segmentation: Any, count: int) -> Tensor:
    """Cut a photo into parts; the same photo is always cut in the same way.

    Args:
        pixels: `(C, H, W)` in 0..1.
        segmentation: "slic", "quickshift", "grid", or labels `(H, W)`.
        count: number of parts, about; quickshift and given labels have their own.

    Returns:
        Labels `(H, W)`, int64, from 0, none left out.

    Raises:
        ValueError: for given labels of another size than the photo, or for too many parts.
    """
    height, width = pixels.shape[-2:]
    if not isinstance(segmentation, str):
        labels = np.asarray(segmentation)
        if labels.shape != (height, width):
            raise ValueError(
                f"segmentation has labels of {labels.shape[0]} x {labels.shape[1]} pixels, but the "
                f"model sees {height} x {width}. Label the frame that the model sees: "
                "model.prepare(image).pixels."
            )
    elif segmentation == "grid":
        labels = _grid(height, width, count)
    else:
        labels = _superpixels(pixels, segmentation, count)
    values, numbers = np.unique(labels, return_inverse=True)
    if len(values) > _MOST:
        raise ValueError(
            f"segmentation cuts the photo into {len(values)} parts; at most {_MOST} are possible. "
            'Use "slic" or "grid", or labels with fewer parts.'
        )
    return torch.from_numpy(numbers.reshape(height, width).astype(np.int64))


def _superpixels(pixels: Tensor, segmentation: str, count: int) -> NDArray[Any]:
    from skimage import segmentation as methods

    shades = pixels if len(pixels) == _SHADES else pixels.mean(0, keepdim=True).expand(3, -1, -1)
    image = shades.permute(1, 2, 0).double().cpu().numpy()
    # At skimage's own compactness, 10, slic finds half as many parts as it is asked for in smooth
    # photos, down to one for four. quickshift's settings are those of LIME's authors.
    options: dict[str, dict[str, Any]] = {
        "slic": {"n_segments": count, "compactness": 30, "sigma": 1, "start_label": 0},
        "quickshift": {"kernel_size": 4, "max_dist": 200, "ratio": 0.2, "rng": 0},
    }
    return np.asarray(getattr(methods, segmentation)(image, **options[segmentation]))


def _grid(height: int, width: int, count: int) -> NDArray[Any]:
    """Rectangles that are as square as can be."""
    rows = min(max(round((count * height / width) ** 0.5), 1), height)
    columns = min(max(round(count / rows), 1), width)
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return np.asarray(row[:, None] * columns + column)
