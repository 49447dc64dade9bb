"""Patches whose windows are alike are computed together.

The edges of the photo cut windows off, those of the late layers most of all: one size of window for
all patches would compute much that cannot change. So the patches are sorted by how far they reach,
along rows and along columns, and each group has a plan of its own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xaiwidgets.engine.incremental.plan import CLEAN, EVERYWHERE, Plan, make_plan, multiply_adds
from xaiwidgets.engine.incremental.trace import Graph
from xaiwidgets.engine.incremental.windows import Starts, Windows

# Along each axis; more groups are smaller ones, and small batches are slow.
_MOST_CLASSES = 3
_LEAST_OF_A_GROUP = 8
# Places to divide that are tried; more change little.
_TRIED = 24
# Groups must save that share of the work to be worth it.
_WORTH = 0.95


@dataclass(frozen=True)
class Plans:
    """One plan for each group of patches.

    Attributes:
        plans: by the number of the group.
        group: of each patch, `(P,)`.
        place: of each patch in its group's plan, `(P,)`.
        tail: from the output of this operation on, which changes everywhere in all groups, they
            can be computed together; `None` where there is no such operation.
    """

    plans: tuple[Plan, ...]
    group: Starts
    place: Starts
    tail: int | None

    @property
    def kept(self) -> frozenset[int]:
        """Operations whose clean outputs a replay reads."""
        return frozenset[int]().union(*(plan.kept for plan in self.plans))

    @property
    def multiply_adds(self) -> float:
        """That a replay takes for one patch, on average."""
        sizes = np.bincount(self.group, minlength=len(self.plans))
        each = [plan.multiply_adds for plan in self.plans]
        return float(np.average(each, weights=sizes))

    @property
    def ratio(self) -> float:
        """How many times fewer multiply-adds a replay takes, on average."""
        return self.plans[0].multiply_adds_plain / max(self.multiply_adds, 1.0)

    @property
    def window_bytes(self) -> int:
        """Of the largest pair of neighboring outputs, for one patch."""
        return max(plan.window_bytes for plan in self.plans)


def make_plans(graph: Graph, patches: Windows, itemsize: int) -> Plans:
    """Follow the windows `patches` of the input through the network, group by group."""
    count = len(patches.rows.starts)
    together = make_plan(graph, patches, itemsize)
    everyone = np.arange(count)
    one = Plans((together,), np.zeros(count, np.int64), everyone, _tail(graph, [together]))
    most = min(_MOST_CLASSES, math.isqrt(count // _LEAST_OF_A_GROUP))
    if most < 2:
        return one
    rows, cols = (classes(reach, most) for reach in _reaches(graph, together, count))
    found, group = np.unique(rows * most + cols, return_inverse=True)
    place = np.empty(count, np.int64)
    plans = []
    for number in range(len(found)):
        members = everyone[group == number]
        place[members] = np.arange(len(members))
        plans.append(make_plan(graph, patches.only(members), itemsize))
    several = Plans(tuple(plans), group, place, _tail(graph, plans))
    return several if several.multiply_adds < _WORTH * one.multiply_adds else one


def _tail(graph: Graph, plans: list[Plan]) -> int | None:
    """The first operation that all later ones depend on alone, and that changes everywhere."""
    images = graph.nodes[0].shapes[0][0]  # type: ignore[index]
    used = 0
    for number, node in enumerate(graph.nodes[:-1]):
        alone = used <= number and len(node.shapes) == 1 and number < graph.output.node
        rows = node.shapes[0][0] if node.shapes[0] else None
        if alone and rows == images and all(plan.changes[number] == EVERYWHERE for plan in plans):
            return number
        if any(plan.changes[number] != CLEAN for plan in plans):
            used = max(used, graph.last_use[number])
    return None


def _reaches(graph: Graph, plan: Plan, count: int) -> tuple[NDArray[np.float64], ...]:
    """How much of the rows, and of the columns, each patch changes, weighted by what it costs."""
    rows, cols = np.zeros(count), np.zeros(count)
    for node, change in zip(graph.nodes, plan.changes, strict=True):
        if isinstance(change, Windows):
            cost = multiply_adds(node, graph)
            rows += cost * (change.rows.highs - change.rows.lows) / change.rows.side
            cols += cost * (change.cols.highs - change.cols.lows) / change.cols.side
    return rows, cols


def classes(reach: NDArray[np.float64], most: int) -> Starts:
    """Divide by size into `most` classes, so that least is lost by the largest of each.

    Returns:
        The class of each, `(P,)`, from 0.
    """
    reach = np.round(reach / max(reach.max(), 1e-300), 6)
    sizes, counts = np.unique(reach, return_counts=True)
    if len(sizes) == 1:
        return np.zeros(len(reach), np.int64)
    before = np.concatenate(([0], np.cumsum(counts)))
    # Where a class may begin: at any size but the first.
    inner = sorted({int(cut) for cut in np.linspace(1, len(sizes) - 1, _TRIED)})
    best = min(
        itertools.combinations(inner, min(most - 1, len(inner))),
        key=lambda cuts: sum(
            sizes[stop - 1] * (before[stop] - before[start])
            for start, stop in itertools.pairwise((0, *cuts, len(sizes)))
        ),
    )
    found: Starts = np.digitize(reach, [sizes[cut] for cut in best]).astype(np.int64)
    return found
