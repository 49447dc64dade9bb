"""Random masks: coin flips on a coarse grid, enlarged bilinearly and shifted at random.

Petsiuk, Das, Saenko, "RISE", 2018 (arXiv 1806.07421), sec. 3.2: an h x h grid is enlarged to
(h + 1) C x (h + 1) C, where C is the side of a cell, and the frame is cut out at a random offset
below C. C is rounded up, so that the cut-out never leaves the grid.

Enlarging is separable, mask = rows grid columns^T, so a weighted sum of n masks is one matrix
product, and no mask need be kept: number k has a seed of its own and is made anew when it is asked
for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.upload import upload


class CellMasks:
    """Masks `(H, W)` with values 0..1, by their numbers.

    Args:
        frame: `(H, W)`.
        cells: of the grid, in each direction.
        p: probability that a cell keeps the photo, 0..1.
        random: what mask number k is drawn from.
        like: the network's input, on whose device masks are made.
    """

    def __init__(
        self,
        frame: tuple[int, int],
        cells: int,
        p: float,
        random: Callable[[int], torch.Generator],
        like: Tensor,
    ) -> None:
        self.frame = frame
        self.cells = cells
        self.p = p
        self._random = random
        self._device = like.device
        self._dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self._steps = [math.ceil(side / cells) for side in frame]
        self._tables = [_enlarging(cells, (cells + 1) * step) for step in self._steps]

    def masks(self, start: int, stop: int) -> Tensor:
        """Those from `start` to `stop`, `(n, H, W)`, on the input's device."""
        rows, grids, columns = (
            upload(factor, self._device, self._dtype) for factor in self._factors(start, stop)
        )
        return rows @ grids @ columns.mT

    def weighted(self, start: int, stop: int, weights: Tensor) -> Tensor:
        """Sums of those from `start` to `stop`, weighted by `weights`.

        Args:
            start: number of the first mask.
            stop: number after the last one.
            weights: `(n, m)`, on the CPU.

        Returns:
            `(m, H, W)`, float64, on the CPU.
        """
        rows, grids, columns = self._factors(start, stop)
        right = (grids @ columns.mT)[:, :, None] * weights.double()[:, None, :, None]
        count, height, _ = rows.shape
        left = rows.transpose(0, 1).reshape(height, count * self.cells)
        summed = left @ right.reshape(count * self.cells, -1)
        return summed.reshape(height, weights.shape[1], -1).transpose(0, 1)

    def _factors(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        grids, offsets = [], []
        for index in range(start, stop):
            generator = self._random(index)
            draws = torch.rand(self.cells, self.cells, generator=generator, dtype=torch.float64)
            grids.append(draws < self.p)
            offsets.append(torch.rand(2, generator=generator, dtype=torch.float64))
        shifts = (torch.stack(offsets) * torch.tensor(self._steps)).long()
        rows, columns = (
            table[shift[:, None] + torch.arange(side)]
            for table, shift, side in zip(self._tables, shifts.T, self.frame, strict=True)
        )
        return rows, torch.stack(grids).double(), columns


def _enlarging(cells: int, side: int) -> Tensor:
    """The matrix that enlarges `cells` values to `side` of them, `(side, cells)`."""
    unit = torch.eye(cells, dtype=torch.float64)[:, None]
    return functional.interpolate(unit, side, mode="linear", align_corners=False)[:, 0].T
