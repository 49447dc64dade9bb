"""Color maps as tables: the browser colors, so a change of color costs no message."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

SEQUENTIAL = ("viridis", "magma", "cividis", "inferno", "gray")
DIVERGING = ("RdBu_r", "coolwarm", "PuOr_r")


@functools.cache
def table(name: str) -> NDArray[np.uint8]:
    """A color map, `(256, 3)`."""
    from matplotlib import colormaps

    found: NDArray[np.uint8] = colormaps[name](np.arange(256), bytes=True)[:, :3].copy()
    found.flags.writeable = False
    return found


@functools.cache
def _tables() -> tuple[tuple[str, bytes], ...]:
    return tuple((name, table(name).tobytes()) for name in (*SEQUENTIAL, *DIVERGING))


def tables() -> dict[str, bytes]:
    """Every color map by its name, 768 bytes each: sequential ones first, then diverging."""
    return dict(_tables())
