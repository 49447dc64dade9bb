"""Where to stand on a path, and how much each place counts.

Each rule turns an integral over alpha from 0 to 1 into a weighted sum; weights sum to 1.

- "uniform": the midpoints of equal cells.
- "gauss_legendre": the nodes that are exact for polynomials; Captum's default.
- "adaptive": the midpoints of cells that are narrow where the score moves. A forward-only probe
  gives the score at `PROBES + 1` equally spaced places. The error of a stretch with n cells falls
  as V / n, V being what happens there; the sum of these errors, for a given number of cells, is
  least for n proportional to sqrt(V). V is the change of the score, and a small constant, so that
  no stretch is left out. Bhat, Raychowdhury, "Non-uniform interpolation in integrated gradients for
  low-latency explainable-AI", 2023 (arXiv 2302.11107), allot steps by the same probe.
- "auto": adaptive from a baseline where that was measured to be better than uniform, else uniform.
  `benchmarks/RESULTS.md` has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

GRIDS = ("auto", "uniform", "gauss_legendre", "adaptive")
PROBES = 16
# Baselines from which the adaptive grid led to truer maps on every network.
_ADAPTIVE_FROM = ("black",)
# Of the mean change of the score: what counts as happening where the score stands still.
_LEAST = 0.1


@dataclass(frozen=True)
class Grid:
    """Places on a path.

    Attributes:
        alphas: from 0 (baseline) to 1 (photo), ascending.
        weights: of each, summing to 1.
    """

    alphas: list[float]
    weights: list[float]


def chosen(kind: str, baseline: Any) -> str:
    """What one of `GRIDS` means for a path from this baseline: itself, but for "auto"."""
    if kind != "auto":
        return kind
    better = isinstance(baseline, str) and baseline in _ADAPTIVE_FROM
    return "adaptive" if better else "uniform"


def uniform(steps: int) -> Grid:
    """The midpoints of `steps` equal cells."""
    return Grid([(index + 0.5) / steps for index in range(steps)], [1 / steps] * steps)


def gauss_legendre(steps: int) -> Grid:
    """The nodes and weights of Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return Grid(((nodes + 1) / 2).tolist(), (weights / 2).tolist())


def adaptive(steps: int, scores: Sequence[float]) -> Grid:
    """The midpoints of `steps` cells, narrow where the score moves.

    Args:
        steps: number of cells.
        scores: at equally spaced places from alpha 0 to 1, both included.
    """
    moved = np.abs(np.diff(np.asarray(scores, dtype=np.float64)))
    density = np.sqrt(moved + _LEAST * moved.mean() + 1e-12)
    reached = np.concatenate([[0.0], np.cumsum(density)])
    places = np.linspace(0, 1, len(reached))
    edges = np.interp(np.linspace(0, reached[-1], steps + 1), reached, places)
    edges[0], edges[-1] = 0.0, 1.0
    return Grid(((edges[1:] + edges[:-1]) / 2).tolist(), np.diff(edges).tolist())
