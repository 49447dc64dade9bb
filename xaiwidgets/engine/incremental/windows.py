"""Windows of planes: which part of a layer's output a patch can change.

A group of patches has one window of one size each, at places of their own. What changes may be
less, at the edges of the plane for one: its extent is followed beside the window, so that windows
grow by what changes and not by each other. Windows never leave their plane; one that would is
pushed back. They may hold more than what changes, never less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Starts = NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """Windows along one axis of a plane.

    Attributes:
        starts: their first pixels, `(P,)`.
        size: pixels of each.
        side: pixels of the plane.
        lows: first pixels that change, `(P,)`.
        highs: after the last pixels that change, `(P,)`.
    """

    starts: Starts
    size: int
    side: int
    lows: Starts
    highs: Starts

    @classmethod
    def of_patches(cls, starts: Starts, patch_size: int, side: int) -> Span:
        """What patches that begin at `starts` cover; outside of the plane they are cut off."""
        return cls.over(np.maximum(starts, 0), np.minimum(starts + patch_size, side), side)

    @classmethod
    def over(cls, lows: Starts, highs: Starts, side: int) -> Span:
        """The smallest windows of one size that hold what changes."""
        size = max(1, int((highs - lows).max()))
        return cls(np.clip(lows, 0, side - size), size, side, lows, highs)

    def take(self, places: Starts) -> Span:
        """Those of some of the patches."""
        lows, highs = self.lows[places], self.highs[places]
        return Span(self.starts[places], self.size, self.side, lows, highs)


@dataclass(frozen=True)
class Sliding:
    """What a convolution or a pooling looks at along one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def reach(self) -> int:
        """From the first to the last pixel that one output sees."""
        return (self.kernel - 1) * self.dilation + 1

    def forward(self, span: Span, side: int) -> Span:
        """The outputs, of `side` in all, that see any of `span`."""
        first = -(-(span.lows + self.padding - self.reach + 1) // self.stride)
        last = (span.highs - 1 + self.padding) // self.stride
        lows = np.clip(first, 0, side)
        # A stride can step over all that changes: then nothing does.
        return Span.over(lows, np.maximum(np.minimum(last + 1, side), lows), side)

    def backward(self, span: Span, side: int) -> Span:
        """The inputs that the outputs of `span` see; they may stand outside of the plane."""
        size = (span.size - 1) * self.stride + self.reach
        starts = span.starts * self.stride - self.padding
        return Span(starts, size, side, starts, starts + size)


def joined(spans: list[Span]) -> Span:
    """The smallest windows that hold those of all `spans`."""
    lows = np.min([span.lows for span in spans], axis=0)
    highs = np.max([span.highs for span in spans], axis=0)
    return Span.over(lows, highs, spans[0].side)


@dataclass(frozen=True)
class Windows:
    """Windows of a plane: rows and columns."""

    rows: Span
    cols: Span

    @property
    def area(self) -> int:
        """Pixels of one window."""
        return self.rows.size * self.cols.size

    @property
    def share(self) -> float:
        """Part of the plane that one window is."""
        return self.area / (self.rows.side * self.cols.side)

    def take(self, places: Starts) -> Windows:
        """Those of some of the patches."""
        return Windows(self.rows.take(places), self.cols.take(places))

    def only(self, places: Starts) -> Windows:
        """The smallest windows for some of the patches."""
        axes = (axis.take(places) for axis in (self.rows, self.cols))
        return Windows(*(Span.over(axis.lows, axis.highs, axis.side) for axis in axes))

    def at(self, row: int, col: int) -> Windows:
        """The one that number `row` of the rows and number `col` of the columns make."""
        axes = ((self.rows, row), (self.cols, col))
        return Windows(*(axis.take(np.array([number])) for axis, number in axes))

    def same_place(self, other: Windows) -> bool:
        """Whether these are the very windows of `other`."""
        pairs = ((self.rows, other.rows), (self.cols, other.cols))
        return all(a.size == b.size and np.array_equal(a.starts, b.starts) for a, b in pairs)


def gather(
    clean: Tensor,
    wanted: Windows,
    fill: float = 0.0,
    changed: Tensor | None = None,
    where: Windows | None = None,
) -> Tensor:
    """The `wanted` windows of a clean plane, with what has changed pasted in.

    Args:
        clean: `(1, C, H, W)`.
        wanted: may stand outside of the plane.
        fill: what lies outside.
        changed: `(P, C, h, w)`, new values at the windows `where`.
        where: windows of the same plane.

    Returns:
        `(P, C, wanted rows, wanted columns)`.
    """
    count = len(wanted.rows.starts)
    format_ = (
        torch.channels_last
        if clean.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    shape = (count, clean.shape[1], wanted.rows.size, wanted.cols.size)
    result = torch.empty(shape, dtype=clean.dtype, device=clean.device, memory_format=format_)
    plane = clean[0]
    tops, lefts = wanted.rows.starts.tolist(), wanted.cols.starts.tolist()
    for place, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        bottom, right = top + wanted.rows.size, left + wanted.cols.size
        into = result[place]
        if top < 0 or left < 0 or bottom > wanted.rows.side or right > wanted.cols.side:
            into.fill_(fill)
        a, b = max(top, 0), min(bottom, wanted.rows.side)
        c, d = max(left, 0), min(right, wanted.cols.side)
        into[:, a - top : b - top, c - left : d - left] = plane[:, a:b, c:d]
    if changed is not None and where is not None:
        paste(result, wanted, changed, where)
    return result


def paste(into: Tensor, at: Windows, changed: Tensor, where: Windows) -> None:
    """Write `changed`, at the windows `where`, into `into`, at the windows `at`, in place.

    What of `where` lies outside of `at` is dropped.
    """
    rows = _overlap(where.rows, at.rows)
    cols = _overlap(where.cols, at.cols)
    for place, ((a, b, c), (d, e, f)) in enumerate(zip(rows, cols, strict=True)):
        if b > 0 and e > 0:
            into[place, :, c : c + b, f : f + e] = changed[place, :, a : a + b, d : d + e]


def _overlap(one: Span, other: Span) -> list[tuple[int, int, int]]:
    """Where they overlap: start within `one`, length, start within `other`."""
    low = np.maximum(one.starts, other.starts)
    high = np.minimum(one.starts + one.size, other.starts + other.size)
    parts = (low - one.starts, high - low, low - other.starts)
    return list(zip(*(part.tolist() for part in parts), strict=True))
