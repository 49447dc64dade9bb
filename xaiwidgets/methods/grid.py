"""A grid of places of which only some were visited yet: in what order, and who stands for whom."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Roberts's plastic constants: consecutive places of the order lie far apart in both directions.
_ROW, _COL = 0.7548776662466927, 0.5698402909980532


def scattered(rows: int, cols: int) -> NDArray[np.int64]:
    """Every place of a grid once, as `(rows * cols, 2)`, evenly scattered from the first on."""
    row, col = np.divmod(np.arange(rows * cols), cols)
    order = np.argsort((row * _ROW + col * _COL + 0.5) % 1, kind="stable")
    return np.stack([row[order], col[order]], axis=1)


class Nearest:
    """For each place of a grid the nearest one that was visited.

    Args:
        rows: of the grid.
        cols: of the grid.
    """

    def __init__(self, rows: int, cols: int) -> None:
        self.shape = (rows, cols)
        self.count = 0
        self.owners = np.zeros((rows, cols), dtype=np.int64)
        self._distances = np.full((rows, cols), np.inf)

    def visit(self, row: int, col: int) -> None:
        """Let a place stand for itself and for all that are nearer to it than to another."""
        rows, cols = self.shape
        self.count += 1
        # The scattered order leaves no larger gap; the first few places reach everywhere.
        reach = math.ceil(3 * math.sqrt(rows * cols / self.count)) + 1
        if self.count <= 8:
            reach = max(rows, cols)
        box = (
            slice(max(0, row - reach), row + reach + 1),
            slice(max(0, col - reach), col + reach + 1),
        )
        down = np.arange(rows)[box[0], None] - row
        across = np.arange(cols)[None, box[1]] - col
        distances = down**2 + across**2
        nearer = distances < self._distances[box]
        self._distances[box][nearer] = distances[nearer]
        self.owners[box][nearer] = row * cols + col

    def index(self) -> Tensor:
        """Flat place of the one that stands for each, `(rows, cols)`."""
        return torch.from_numpy(self.owners.copy())
