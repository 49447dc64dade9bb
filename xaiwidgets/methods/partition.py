"""Owen values: Shapley values when segments come in groups, and groups in larger groups.

The photo is halved again and again, always across its longer side, until single segments are left.
A value V that a group adds is shared between its halves A and B,

    V_A = V / 2 + D / 2,    V_B = V / 2 - D / 2,    D = mean over T of  v(T + A) - v(T + B)

where T runs over the choices of which siblings, of the group and of all groups around it, are there
too. For two halves this is the Shapley value, level by level: Owen, "Values of games with a priori
unions", 1977. For d segments about d^2 answers give it exactly, where Shapley values take 2^d; with
fewer, T runs over a random part of the choices. The sum over all segments is v(all) - v({}) always.
shap calls its own walk through such a tree PartitionExplainer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """A group of segments.

    Attributes:
        members: `(d,)`, bool.
        halves: places of its two halves in the list of groups; empty for a single segment.
        siblings: members of its sibling, and of those of the groups around it, `(depth, d)`.
    """

    members: Tensor
    halves: tuple[int, ...]
    siblings: Tensor


@dataclass(frozen=True)
class Tree:
    """Groups, and what is asked to share values between their halves.

    Attributes:
        groups: the whole photo first, groups before their halves.
        kept: which segments each question keeps, `(N, d)`, bool: the first one none, then pairs of
            T + A and T + B.
        asked: the group of each pair, `(pairs,)`.
        exact: whether every T is there.
    """

    groups: list[Group]
    kept: Tensor
    asked: Tensor
    exact: bool


def partition(labels: Tensor, samples: int, random: Callable[[int], torch.Generator]) -> Tree:
    """Halve the photo, and choose at most `samples` questions.

    Args:
        labels: the segment of each pixel, `(H, W)`.
        samples: number of questions at most; the first ones are about the largest groups.
        random: what the choices about group number k are drawn from.
    """
    groups = _halved(labels)
    inner = [(place, group) for place, group in enumerate(groups) if group.halves]
    choices = [2 ** len(group.siblings) for _, group in inner]
    most = max(choices, default=1)
    # The same number for each group, as far as it has that many.
    each = next(
        (k for k in _downward(most) if 1 + 2 * sum(min(n, k) for n in choices) <= samples), 1
    )
    rows, asked = [torch.zeros(1, labels_count(labels), dtype=torch.bool)], []
    for (place, group), count in zip(inner, choices, strict=True):
        left, right = (groups[half].members for half in group.halves)
        for bits in _chosen(len(group.siblings), min(count, each), random(place)):
            there = (group.siblings & bits[:, None]).any(0)
            rows.append(torch.stack([there | left, there | right]))
            asked.append(place)
    # With too few samples for one question about each group, the smallest groups are left out.
    pairs = min(len(asked), (samples - 1) // 2)
    kept = torch.cat(rows[: pairs + 1])
    return Tree(groups, kept, torch.tensor(asked[:pairs]), each >= most and pairs == len(asked))


class Owen:
    """Shares values out by a tree; answers are gathered in place."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._sums = torch.zeros(2, len(tree.groups), dtype=torch.float64)
        self._counts = torch.zeros_like(self._sums)
        self._choices = torch.tensor(
            [2.0 ** len(group.siblings) if group.halves else 0.0 for group in tree.groups]
        )
        self._pending = 0.0

    def add(self, start: int, change: Tensor) -> None:
        """Take the answers to questions `start` and on, as differences from that to nothing."""
        for number, answer in enumerate(change.tolist(), start):
            pair, second = divmod(number - 1, 2)
            if number == 0:
                continue
            if not second:
                self._pending = answer
                continue
            group = int(self._tree.asked[pair])
            # A choice and its opposite, which follow each other, go to the same half.
            half = int(self._counts[:, group].sum()) // 2 % 2
            self._sums[half, group] += self._pending - answer
            self._counts[half, group] += 1

    def solved(self, total: float) -> list[Tensor]:
        """Values of the segments, `(d,)`: from all answers, and from two halves of them once each
        group has either all answers that there are, which both share, or some in each half.
        """
        sums, counts = self._sums.sum(0), self._counts.sum(0)
        whole = self._shared(total, sums, counts)
        known = counts == self._choices
        if not bool((known | (self._counts > 0).all(0)).all()):
            return [whole]
        parts = (
            (torch.where(known, sums, half), torch.where(known, counts, count))
            for half, count in zip(self._sums, self._counts, strict=True)
        )
        return [whole, *(self._shared(total, *part) for part in parts)]

    def _shared(self, total: float, sums: Tensor, counts: Tensor) -> Tensor:
        groups = self._tree.groups
        values = torch.zeros(len(groups[0].members), dtype=torch.float64)
        added = {0: total}
        for place, group in enumerate(groups):
            if place not in added:
                continue
            value = added[place]
            if not group.halves or not counts[place]:
                # Not told apart yet: each member has the same share.
                values[group.members] = value / int(group.members.sum())
                continue
            difference = float(sums[place] / counts[place])
            left, right = group.halves
            added[left], added[right] = (value + difference) / 2, (value - difference) / 2
        return values


def labels_count(labels: Tensor) -> int:
    """The number of segments, d."""
    return int(labels.max()) + 1


def _halved(labels: Tensor) -> list[Group]:
    """All groups, larger ones before the smaller ones that they consist of."""
    count = labels_count(labels)
    sizes = labels.flatten().bincount(minlength=count)
    height, width = labels.shape
    axes = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centers = torch.stack(
        [labels.flatten().bincount(axis.flatten(), count) / sizes for axis in axes], 1
    )
    waiting = [(torch.arange(count), torch.zeros(0, count, dtype=torch.bool))]
    groups: list[Group] = []
    while len(groups) < len(waiting):
        places, siblings = waiting[len(groups)]
        halves: tuple[int, ...] = ()
        if len(places) > 1:
            spread = centers[places].amax(0) - centers[places].amin(0)
            order = centers[places, int(spread.argmax())].argsort(stable=True)
            parts = places[order].tensor_split(2)
            halves = (len(waiting), len(waiting) + 1)
            for part, other in (parts, parts[::-1]):
                waiting.append((part, torch.cat([siblings, _members(other, count)[None]])))
        groups.append(Group(_members(places, count), halves, siblings))
    return groups


def _members(places: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.bool).index_fill_(0, places, True)


def _chosen(siblings: int, count: int, generator: torch.Generator) -> list[Tensor]:
    """Different choices of siblings, `(siblings,)` bool each; every second the opposite one."""
    if siblings == 0:
        return [torch.zeros(0, dtype=torch.bool)]
    numbers = torch.randperm(2 ** (siblings - 1), generator=generator)[: (count + 1) // 2]
    found = []
    for number in numbers.tolist():
        bits = torch.tensor([number >> place & 1 for place in range(siblings)]).bool()
        found += [bits, ~bits]
    return found[:count]


def _downward(most: int) -> list[int]:
    counts = []
    while most >= 1:
        counts.append(most)
        most = most // 2 if most > 64 else most - 1
    return counts
