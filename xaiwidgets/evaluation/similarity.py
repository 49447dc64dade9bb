"""How alike two attribution maps of one photo are.

- Spearman: the correlation of the ranks of their values, or of their magnitudes, -1..1. Ties share
  their mean rank. Used so by Adebayo et al., "Sanity Checks for Saliency Maps", 2018
  (arXiv 1810.03292), sec. 4, with and without magnitudes.
- SSIM: mean structural similarity, Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment",
  2004 (IEEE TIP 13), eq. 13, with a uniform window of 7 x 7. Each map is divided by its largest
  magnitude first, so that the range of values is 2. -1..1, 1 for equal maps.
- Top-k overlap: the share of one map's k highest values that are among the other's k highest too,
  0..1; Ghorbani, Abid, Zou, "Interpretation of Neural Networks is Fragile", 2019
  (arXiv 1710.10547), sec. 2, there called top-k intersection. Values that tie at the edge count in
  part, so that the zeros of two rectified maps do not agree because of where they lie. For two
  unrelated maps it is about k itself.

A measure is not defined for a map that is the same everywhere, but for the overlap: NaN.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Map = NDArray[np.float64]

TOP = 0.1
"""Share of the pixels that the overlap looks at."""

_WINDOW = 7


def _ranks(values: Map) -> Map:
    """Ranks from 0, ties at their mean, centered and of unit length; NaN for a constant."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean = np.cumsum(counts) - (counts + 1) / 2
    ranks = mean[place.reshape(-1)] - (values.size - 1) / 2
    length = float(np.sqrt((ranks**2).sum()))
    return ranks / length if length else np.full(values.size, np.nan)


def _magnitude_ranks(values: Map) -> Map:
    return _ranks(np.abs(values))


def _scaled(values: Map) -> Map:
    largest = float(np.abs(values).max())
    constant = values.max() == values.min()
    return np.full_like(values, np.nan) if constant else values / largest


def _top(values: Map) -> Map:
    """How far each value is among the highest, 0..1; adds up to their number."""
    flat = values.ravel()
    count = max(1, round(TOP * flat.size))
    edge = np.partition(flat, flat.size - count)[flat.size - count]
    above, tied = flat > edge, flat == edge
    weight: Map = above + tied * ((count - above.sum()) / tied.sum())
    return weight


def _correlation(one: Map, other: Map) -> float:
    return float((one * other).sum())


def _ssim(one: Map, other: Map) -> float:
    window = min(_WINDOW, (min(one.shape) - 1) // 2 * 2 + 1)
    if window < 3 or np.isnan(one).any() or np.isnan(other).any():
        return float("nan")
    from skimage.metrics import structural_similarity

    measure: Any = structural_similarity
    return float(measure(one, other, data_range=2, win_size=window))


def _overlap(one: Map, other: Map) -> float:
    return float(np.minimum(one, other).sum() / one.sum())


# What is made of each map once, and how two of these are compared.
_MEASURES: dict[str, tuple[str, Callable[[Map], Map], Callable[[Map, Map], float]]] = {
    "spearman": ("Spearman", _ranks, _correlation),
    "spearman_magnitude": ("Spearman of magnitudes", _magnitude_ranks, _correlation),
    "ssim": ("SSIM", _scaled, _ssim),
    "top_k": (f"Top {TOP:.0%} overlap".replace("%", " %"), _top, _overlap),
}


def measures() -> dict[str, str]:
    """The title of each measure."""
    return {name: title for name, (title, _, _) in _MEASURES.items()}


def check_measure(measure: Any) -> str:
    """Return the measure's name, or raise ValueError."""
    if not isinstance(measure, str) or measure not in _MEASURES:
        raise ValueError(f"The measure must be one of {', '.join(_MEASURES)}, not {measure!r}.")
    return measure


def similarity(maps: Sequence[Any], measure: str = "spearman") -> Map:
    """How alike maps are, each with each.

    Args:
        maps: `(H, W)` each. Where their sizes differ, all are brought to the smallest height and
            width by averaging; they should show the same frame.
        measure: "spearman", "spearman_magnitude", "ssim" or "top_k".

    Returns:
        `(n, n)`, symmetric. NaN where a measure is not defined.

    Raises:
        ValueError: for an unknown measure, or what is no map.
    """
    check_measure(measure)
    (found,) = deque(similarities(maps, [measure]), maxlen=1)
    return found[measure]


def similarities(
    maps: Sequence[Any], wanted: Sequence[str] | None = None
) -> Iterator[dict[str, Map]]:
    """All measures, row by row: the last dictionary yielded is complete.

    Args and errors are those of `similarity`.
    """
    aligned = _aligned(maps)
    count = len(aligned)
    names = list(_MEASURES) if wanted is None else list(wanted)
    found = {name: np.full((count, count), np.nan) for name in names}
    made = {name: [_MEASURES[name][1](each) for each in aligned] for name in names}
    yield found
    for row in range(count):
        for name in names:
            compare = _MEASURES[name][2]
            for column in range(row, count):
                value = compare(made[name][row], made[name][column])
                found[name][row, column] = found[name][column, row] = value
        yield found


def _aligned(maps: Sequence[Any]) -> list[Map]:
    arrays = [np.asarray(each, dtype=np.float64) for each in maps]
    for array in arrays:
        if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
            raise ValueError(
                f"A map must be a finite array (H, W), not one of the shape {array.shape}."
            )
    if len({array.shape for array in arrays}) <= 1:
        return arrays
    height, width = (min(array.shape[axis] for array in arrays) for axis in (0, 1))
    return [
        torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(a)[None], (height, width))[0]
        .numpy()
        .copy()
        for a in arrays
    ]
