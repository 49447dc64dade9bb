"""Masks that are smooth without being blurred: the maximum of soft disks, and what they reveal.

Fong, Patrick, Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
2019 (arXiv 1910.08485).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.gaussian import blur

_REACH = 4
"""A pixel hears of so many cells in each direction; farther ones count less than 11 % for it."""
_FINE = 2
"""Places for each cell and axis where the maximum is computed; pixels in between are bilinear."""


class SoftDisks:
    """Turns cells `(N, 1, h, w)` into pixels `(N, 1, H, W)` by a smooth maximum of soft disks.

    m(u) = smax over v of k(|u - v|) m(v),   k(z) = exp(-max(0, z - 1)^2 / 4),
    smax f = sum of f exp(f / T) / sum of exp(f / T), distances in cells.

    Args:
        coarse: rows and columns.
        frame: height and width in pixels.
        temperature: T.
        like: gives dtype and device.
    """

    def __init__(
        self, coarse: tuple[int, int], frame: tuple[int, int], temperature: float, like: Tensor
    ) -> None:
        self.frame, self.temperature = frame, temperature
        self._fine = tuple(min(_FINE * few, many) for few, many in zip(coarse, frame, strict=True))
        (down, rows), (right, columns) = (
            self._window(fine, few) for fine, few in zip(self._fine, coarse, strict=True)
        )
        far = (down[:, None, :, None] ** 2 + right[None, :, None, :] ** 2).sqrt()
        kernel = torch.exp(-((far - 1).clamp_min(0) ** 2) / 4)
        index = rows[:, None, :, None] * coarse[1] + columns[None, :, None, :]
        self._weights = kernel.flatten(2).flatten(0, 1).to(like)
        self._cells = index.flatten(2).flatten(0, 1).to(like.device)

    @staticmethod
    def _window(many: int, few: int) -> tuple[Tensor, Tensor]:
        """Distances to the cells around each place, and their numbers, along one axis."""
        centers = (torch.arange(many, dtype=torch.float64) + 0.5) * few / many - 0.5
        around = centers.round()[:, None] + torch.arange(-_REACH, _REACH + 1)
        # Cells at the edge go on beyond it, or a plain mask would not stay plain there.
        return around - centers[:, None], around.clamp(0, few - 1).long()

    def __call__(self, mask: Tensor) -> Tensor:
        """The mask in pixels."""
        heard = mask.flatten(1)[:, self._cells] * self._weights
        # The softmax is the quotient of the definition, without overflow.
        found = (heard * (heard / self.temperature).softmax(-1)).sum(-1)
        fine = found.reshape(len(mask), 1, *self._fine)
        return functional.interpolate(fine, size=self.frame, mode="bilinear", align_corners=False)


class Blurs:
    """The photo at several blurs, and mixtures of them: sharp where a mask is 1.

    (m x)(u) is the photo blurred by sigma (1 - m(u)) at u, linear between `levels` + 1 blurs.

    Args:
        x: the photo, `(1, C, H, W)`.
        sigma: of the widest blur, in pixels.
        levels: number of blurs.
    """

    def __init__(self, x: Tensor, sigma: float, levels: int = 8) -> None:
        self._stack = torch.cat([blur(x, sigma * level / levels) for level in range(levels + 1)])

    def __call__(self, mask: Tensor) -> Tensor:
        """Images `(N, C, H, W)` for masks `(N, 1, H, W)`."""
        levels = len(self._stack) - 1
        places = torch.arange(levels + 1, dtype=mask.dtype, device=mask.device)
        # A level counts where the blur asked for lies less than one level away.
        shares = (1 - ((1 - mask) * levels - places.reshape(1, -1, 1, 1)).abs()).clamp_min(0)
        return torch.einsum("nlhw,lchw->nchw", shares, self._stack)


def area_penalty(masks: Tensor, areas: Tensor) -> Tensor:
    """How far each mask is from being 1 on its area and 0 elsewhere, `(N,)`, 0 to 1.

    R(m) = mean of (sorted m - r)^2, where r has zeros and then ones in the wanted proportion.

    Args:
        masks: `(N, 1, H, W)`.
        areas: `(N,)`, 0 to 1.
    """
    ranked = masks.flatten(1).sort(dim=1).values
    count = ranked.shape[1]
    ones = (areas * count).round().clamp(1, count)
    wanted = torch.arange(count, device=masks.device)[None] >= (count - ones)[:, None]
    return (ranked - wanted.to(ranked)).square().mean(1)


def widest(frame: tuple[int, int]) -> float:
    """Sigma of a blur that leaves nothing to recognize: 20 pixels of 224."""
    return max(1.0, 20 / 224 * math.sqrt(frame[0] * frame[1]))
