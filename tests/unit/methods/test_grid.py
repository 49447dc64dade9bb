"""The order of places, and who stands for whom while some are not visited."""

from __future__ import annotations

import numpy as np
import pytest

from xaiwidgets.methods.grid import Nearest, scattered

GRIDS = [(1, 1), (1, 9), (5, 3), (13, 13), (27, 27), (40, 7)]


@pytest.mark.parametrize(("rows", "cols"), GRIDS)
def test_every_place_once(rows: int, cols: int) -> None:
    order = scattered(rows, cols)
    assert sorted(map(tuple, order.tolist())) == [(r, c) for r in range(rows) for c in range(cols)]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_scattered_from_the_first_on(share: float) -> None:
    """No place is far from a visited one: chance would leave gaps several times as wide."""
    order = scattered(40, 40)[: int(share * 1600)]
    places = np.stack(np.divmod(np.arange(1600), 40), axis=1)
    gaps = np.sqrt(((places[:, None] - order[None]) ** 2).sum(-1)).min(1)
    assert gaps.max() <= 1.6 / np.sqrt(share)


@pytest.mark.parametrize(("rows", "cols"), GRIDS)
def test_the_nearest_visited_place_stands_for_each(rows: int, cols: int) -> None:
    order = scattered(rows, cols)
    places = np.stack(np.divmod(np.arange(rows * cols), cols), axis=1)
    nearest = Nearest(rows, cols)
    for count, (row, col) in enumerate(order.tolist(), 1):
        nearest.visit(row, col)
        if count not in (1, 2, 5, 9, 30, 100, rows * cols):
            continue
        every = ((places[:, None] - order[None, :count]) ** 2).sum(-1).min(1)
        owners = np.stack(np.divmod(nearest.index().numpy().ravel(), cols), axis=1)
        assert (((places - owners) ** 2).sum(-1) == every).all()
    assert (nearest.index().numpy().ravel() == np.arange(rows * cols)).all()
