"""Which coalitions of segments KernelSHAP asks about.

A coalition of size s counts with the Shapley kernel (d - 1) / (C(d, s) s (d - s)). Sizes 1 and
d - 1 count most and have the fewest members, so sizes are taken whole, from the outside in, as long
as the samples suffice to visit each member about once; the rest of the samples is drawn from the
other sizes. Each coalition comes with its complement (paired sampling; Covert, Lee, "Improving
KernelSHAP", 2021, arXiv 2012.01536).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xaiwidgets.methods.least_squares import constrained, moments


@dataclass(frozen=True)
class Plan:
    """Coalitions in the order in which they are asked about; the first one is empty.

    Attributes:
        kept: which segments each coalition keeps, `(N, d)`, bool.
        weights: `(N,)`, float64: of a coalition whose size is taken whole, its share of the kernel;
            1 for a drawn one; 0 for the empty one.
        drawn: number of those at the end that are drawn.
        left: share of the kernel that the drawn ones stand for.
    """

    kept: Tensor
    weights: Tensor
    drawn: int
    left: float

    @property
    def exact(self) -> bool:
        """Whether every coalition is there."""
        return self.drawn == 0 and self.left == 0


def plan(count: int, samples: int, random: Callable[[int], torch.Generator]) -> Plan:
    """Choose at most `samples` coalitions, the empty one included.

    Args:
        count: number of segments, d.
        samples: all coalitions are taken where they fit, 2^d - 1 without the full one.
        random: what drawn pair number k comes from.
    """
    sizes = range(1, count)
    kernel = {size: 1 / (size * (count - size)) for size in sizes}
    whole = sum(kernel.values()) or 1.0
    shares = {size: value / whole for size, value in kernel.items()}
    rows, weights = [torch.zeros(1, count, dtype=torch.bool)], [torch.zeros(1).double()]
    room, left = samples - 1, 1.0
    everything = count <= 60 and 2**count - 1 <= samples
    for size in range(1, count // 2 + 1):
        both = {size, count - size}
        members = math.comb(count, size) * len(both)
        share = sum(shares[one] for one in both)
        # Written so that rounding in `left` cannot keep the last size out.
        if not everything and room * share < members * left * (1 - 1e-9):
            break
        rows.append(_all_of(count, size))
        weights.append(torch.full((members,), share / members, dtype=torch.float64))
        room, left = room - members, left - share
        for one in both:
            del shares[one]
    if not shares:
        return Plan(torch.cat(rows), torch.cat(weights), 0, 0.0)
    drawn = list(_drawn(count, room // 2, shares, random))
    weights.append(torch.ones(2 * len(drawn), dtype=torch.float64))
    kept = torch.cat([*rows, *drawn])
    return Plan(kept, torch.cat(weights), 2 * len(drawn), left)


class Regression:
    """Shapley values by weighted least squares; answers are gathered in place."""

    def __init__(self, chosen: Plan) -> None:
        self._plan = chosen
        side = chosen.kept.shape[1] + 2
        self._whole = torch.zeros(side, side, dtype=torch.float64)
        self._drawn = torch.zeros(2, side, side, dtype=torch.float64)

    def add(self, start: int, change: Tensor) -> None:
        """Take the scores of coalitions `start` and on, as differences from the empty one's."""
        rows = torch.arange(start, start + len(change))
        since = rows - (len(self._plan.kept) - self._plan.drawn)
        kept, weights = self._plan.kept[rows], self._plan.weights[rows]
        self._whole += moments(kept, change, weights * (since < 0))
        # Pairs stay together: half of a pair says little.
        odd = since // 2 % 2
        for half in (0, 1):
            self._drawn[half] += moments(kept, change, weights * (since >= 0) * (odd == half))

    def solved(self, total: float) -> list[Tensor]:
        """Values of the segments, `(d,)`, which add up to `total`: from all answers, and from
        either half of the drawn ones once there are two.
        """
        full = bool((self._drawn[:, 0, 0] > 0).all())
        parts = [self._drawn.sum(0), *(self._drawn if full else ())]
        return [self._solved(drawn, total) for drawn in parts]

    def _solved(self, drawn: Tensor, total: float) -> Tensor:
        count = float(drawn[0, 0])
        share = self._plan.left / count if count else 0.0
        return constrained(self._whole + share * drawn, total)


def _all_of(count: int, size: int) -> Tensor:
    """Every coalition of that size, each followed by its complement."""
    members = torch.tensor(list(itertools.combinations(range(count), size)))
    if 2 * size == count:
        # The complements are of the same size: half of them, those with segment 0, are enough.
        members = members[(members == 0).any(1)]
    rows = torch.zeros(len(members), count, dtype=torch.bool).scatter_(1, members, True)
    return torch.stack([rows, ~rows], 1).flatten(0, 1)


def _drawn(
    count: int, pairs: int, shares: dict[int, float], random: Callable[[int], torch.Generator]
) -> Iterator[Tensor]:
    sizes, edges = list(shares), list(itertools.accumulate(shares.values()))
    for index in range(pairs):
        generator = random(index)
        place = float(torch.rand((), generator=generator, dtype=torch.float64)) * edges[-1]
        size = sizes[next(k for k, edge in enumerate(edges) if place < edge or k == len(edges) - 1)]
        row = torch.zeros(count, dtype=torch.bool)
        row[torch.randperm(count, generator=generator)[:size]] = True
        yield torch.stack([row, ~row])
