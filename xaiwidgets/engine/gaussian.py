"""Gaussian blur as one matrix for each axis, and its derivative with respect to sigma.

The kernel is exp(-t^2 / (2 sigma^2)) at whole pixels, divided by its sum, and reaches so far that
nothing is cut off in float64; edges are mirrored. Rows and columns of the matrices sum to one: a
blur keeps the mean color, and a very wide one is the mean color.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xaiwidgets.engine.upload import upload

_REACH = 9
"""In sigmas: beyond, the kernel is less than 1e-17 of its peak."""


def gaussian_matrix(side: int, sigma: float) -> tuple[Tensor, Tensor]:
    """The blur of `side` pixels and its derivative with respect to sigma, float64.

    Args:
        side: pixels.
        sigma: in pixels, at least 0; 0 leaves the pixels as they are.

    Returns:
        Two matrices `(side, side)`; a column of pixels is multiplied from the left.
    """
    reach = math.ceil(_REACH * sigma)
    t = torch.arange(-reach, reach + 1, dtype=torch.float64)
    width = max(sigma, 1e-12)
    kernel = torch.exp(-((t / width) ** 2) / 2)
    slope = kernel * t**2 / width**3
    total = kernel.sum()
    slope = slope / total - kernel * slope.sum() / total**2
    return _mirrored(t, kernel / total, side), _mirrored(t, slope, side)


def _mirrored(t: Tensor, kernel: Tensor, side: int) -> Tensor:
    # A row with mirrored edges has period 2 * side, so the kernel is wound onto that circle; each
    # pixel is there twice, as itself and as its mirror image.
    period = 2 * side
    wound = kernel.new_zeros(period).index_add_(0, t.long() % period, kernel)
    place = torch.arange(side)
    apart = place[:, None] - place
    return wound[apart % period] + wound[(place[:, None] + place + 1) % period]


def blur(x: Tensor, sigma: float) -> Tensor:
    """Images `(..., H, W)` blurred by `sigma` pixels, edges mirrored."""
    rows, columns = (
        upload(gaussian_matrix(side, sigma)[0], x.device, x.dtype) for side in x.shape[-2:]
    )
    return rows @ x @ columns.T


def blur_and_rate(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The blurred images `(..., H, W)`, and their derivative with respect to sigma."""
    (rows, row_rate), (columns, column_rate) = (
        [upload(matrix, x.device, x.dtype) for matrix in gaussian_matrix(side, sigma)]
        for side in x.shape[-2:]
    )
    half = x @ columns.T
    return rows @ half, row_rate @ half + rows @ (x @ column_rate.T)
