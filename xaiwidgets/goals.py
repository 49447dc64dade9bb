"""The number that is explained, as a function of what the network gives.

- A class: its logit. Several: the sum of their logits. A difference: the one minus the other.
- Of probabilities likewise: the sum is the probability that it is any of the classes, a difference
  is one of probabilities (not the probability of a difference).
- A region of a segmentation network: see `Region`.
- Any callable on the network's own output: what it gives. There is no probability of that, so
  methods that show probabilities show the number itself.

For the last two a network's scores are not those of classes: `Model.aimed` makes a model of the
same network that gives the *readings* of the goal in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaiwidgets.engine.logits import find_scores
from xaiwidgets.region import Region
from xaiwidgets.targets import Difference, Target, kind_of, name_of, resolve

Pick = Callable[[Any], Any] | None


class Goal:
    """What is explained.

    Attributes:
        target: as it is resolved; equal ones ask for the same.
        name: for display.
    """

    target: Target
    name: str

    def __call__(self, logits: Tensor) -> Tensor:
        """The score of each row of `(..., K)`, `(...)`: of logits in logits."""
        raise NotImplementedError

    def probability(self, logits: Tensor) -> Tensor:
        """Its probability for each row of logits."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """See `kind_of`."""
        return kind_of(self.target)

    @property
    def key(self) -> Hashable:
        """Equal for equal goals; keeps a callable alive, so that its identity stays its own."""
        try:
            hash(self.target)
        except TypeError:
            return ById(self.target)
        return (self.kind, self.target)


@dataclass(frozen=True)
class ClassGoal(Goal):
    """Classes, some of which may count against it.

    Attributes:
        plus: indices of the classes whose scores are added.
        minus: of those whose scores are subtracted.
    """

    target: Target
    name: str
    plus: tuple[int, ...]
    minus: tuple[int, ...] = ()

    def __call__(self, logits: Tensor) -> Tensor:
        """Sum over `plus` minus sum over `minus`."""
        return self.combined(lambda index: logits[..., index])

    def combined(self, value: Callable[[int], Tensor]) -> Tensor:
        """The same of whatever `value` gives for a class."""
        total = value(self.plus[0])
        for index in self.plus[1:]:
            total = total + value(index)
        for index in self.minus:
            total = total - value(index)
        return total

    def probability(self, logits: Tensor) -> Tensor:
        """The same of the probabilities."""
        return self(logits.softmax(-1))


class OutputGoal(Goal):
    """A number that is read off the network's own output."""

    def readings(self, output: Any, rows: int) -> Tensor:
        """What is read, `(N, M)`: takes the place of the logits.

        Args:
            output: what the network returned.
            rows: number of images that went in, N.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class RegionGoal(OutputGoal):
    """The mean score of a class over a region; read beside it, its mean probability.

    Attributes:
        pick: finds the scores in what the network returns, where that is given.
        weights: share of each place of the maps, `(h, w)`, sum 1.
        shares: mean probability there of each class, `(K,)`, of the photo.
    """

    target: Region
    name: str
    pick: Pick
    weights: Tensor
    shares: Tensor

    @property
    def classes(self) -> int:
        """How many classes the network has."""
        return len(self.shares)

    def readings(self, output: Any, rows: int) -> Tensor:
        """Mean logit and mean probability, `(N, 2)`."""
        return self.read(maps_in(output, rows, self.pick))

    def read(self, maps: Tensor) -> Tensor:
        """The same of maps `(N, K, h, w)`."""
        if maps.shape[-2:] != self.weights.shape:
            raise ValueError(
                f"The network's maps are of size {tuple(maps.shape[-2:])} here, but were of size "
                f"{tuple(self.weights.shape)} for the photo."
            )
        index = self.target.category
        both = torch.stack([maps[:, index], _probabilities(maps, 1)[:, index]], 1)
        return (both * self.weights).sum((-2, -1))

    def __call__(self, logits: Tensor) -> Tensor:
        """The mean logit."""
        return logits[..., 0]

    def probability(self, logits: Tensor) -> Tensor:
        """The mean probability."""
        return logits[..., 1]


@dataclass(frozen=True)
class FunctionGoal(OutputGoal):
    """What a callable makes of the output."""

    target: Callable[[Any], Tensor]
    name: str

    def readings(self, output: Any, rows: int) -> Tensor:
        """What the callable gives, `(N, 1)`."""
        found: Any = self.target(output)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            given = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise TypeError(
                "A callable target takes what the network returns and gives a float tensor (N,), "
                f"one number for each image; it gave {given}."
            )
        if found.shape not in ((rows,), (rows, 1)):
            raise ValueError(
                "A callable target must give one number for each image, of shape "
                f"({rows},) here; it gave {tuple(found.shape)}."
            )
        return found.reshape(rows, 1)

    def __call__(self, logits: Tensor) -> Tensor:
        """What the callable gave."""
        return logits[..., 0]

    def probability(self, logits: Tensor) -> Tensor:
        """What the callable gave: there is no other."""
        return logits[..., 0]


@dataclass(frozen=True, eq=False)
class ById:
    """Equal for the same object alone, which it keeps alive so that its identity stays its own."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ById) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def class_goal(target: Target, category: Callable[[int], str]) -> ClassGoal:
    """The goal that a resolved target of classes stands for.

    Args:
        target: index, tuple of indices, or `Difference`.
        category: gives the name of a class.
    """
    if isinstance(target, Difference):
        plus, minus = _tuple(target.why), _tuple(target.why_not)
    else:
        plus, minus = _tuple(target), ()
    name = " + ".join(map(category, plus))
    if minus:
        name += f", not {' + '.join(map(category, minus))}"
    return ClassGoal(target, name, plus, minus)


def function_goal(target: Callable[[Any], Tensor]) -> FunctionGoal:
    """The goal that a callable stands for."""
    return FunctionGoal(target, name_of(target))


def region_goal(
    target: Region,
    maps: Tensor,
    frame: tuple[int, int],
    pick: Pick,
    categories: Sequence[str] | None,
) -> RegionGoal:
    """The goal that a `Region` stands for.

    Args:
        target: as the user gave it.
        maps: scores that the network gave for the photo, `(1, K, h, w)`.
        frame: height and width of the photo.
        pick: finds the scores in what the network returns, where that is given.
        categories: names of the classes, or `None`.
    """
    weights = target.weights(frame, (maps.shape[-2], maps.shape[-1])).to(maps)
    inside = weights > 0
    there, shares = maps[0][:, inside], weights[inside]
    if target.category is None:
        index = int((there @ shares).argmax())
    else:
        index = resolve(target.category, maps.shape[1], categories)
    name = categories[index] if categories else f"class {index}"
    found = (_probabilities(there, 0) @ shares).cpu()
    return RegionGoal(target.of(index), f"{name} in a region", pick, weights, found)


def maps_in(output: Any, rows: int, pick: Pick) -> Tensor:
    """The maps of scores `(N, K, h, w)` in what a segmentation network returns.

    Raises:
        ValueError, TypeError: when there are none.
    """
    maps = find_scores(output, pick)
    if maps.ndim != 4 or maps.shape[0] != rows:
        raise ValueError(
            "A Region needs a network that gives maps of scores (N, K, h, w), such as one for "
            f"segmentation; this one gives {tuple(maps.shape)} for {rows} image(s)."
        )
    return maps


def _probabilities(scores: Tensor, dim: int) -> Tensor:
    """Of classes along a dimension; one class alone is there or not."""
    return scores.sigmoid() if scores.shape[dim] == 1 else scores.softmax(dim)


def _tuple(target: Any) -> tuple[int, ...]:
    return target if isinstance(target, tuple) else (target,)
