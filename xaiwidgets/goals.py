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
from xaiwidgets.targets import Difference, Target, kind_of, name_of, read_plain, resolve

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
            return _ById(self.target)
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
    """The mean score of a class over a region; read beside it, its mean probability."""

    target: Region
    name: str
    pick: Pick
    weights: Tensor
    classes: int

    def readings(self, output: Any, rows: int) -> Tensor:
        """Mean logit and mean probability, `(N, 2)`."""
        maps = maps_in(output, rows, self.pick)
        if maps.shape[-2:] != self.weights.shape:
            raise ValueError(
                f"The network's maps are of size {tuple(maps.shape[-2:])} here, but were of size "
                f"{tuple(self.weights.shape)} for the photo."
            )
        index = self.target.category
        share = maps.sigmoid() if maps.shape[1] == 1 else maps.softmax(1)
        both = torch.stack([maps[:, index], share[:, index]], 1)
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
class _ById:
    """Equal to itself alone: of a callable that cannot be hashed."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.value is other.value

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


def output_goal(
    target: Any,
    output: Any,
    frame: tuple[int, int],
    pick: Pick,
    categories: Sequence[str] | None,
) -> OutputGoal:
    """The goal that a `Region` or a callable stands for.

    Args:
        target: as the user gave it.
        output: what the network returned for the photo.
        frame: height and width of the photo.
        pick: finds the scores in it, where that is given.
        categories: names of the classes, or `None`.
    """
    target = read_plain(target)
    if not isinstance(target, Region):
        return FunctionGoal(target, name_of(target))
    maps = maps_in(output, 1, pick)
    weights = target.weights(frame, (maps.shape[-2], maps.shape[-1])).to(maps)
    if target.category is None:
        index = int((maps[0] * weights).sum((-2, -1)).argmax())
    else:
        index = resolve(target.category, maps.shape[1], categories)
    name = categories[index] if categories else f"class {index}"
    return RegionGoal(target.of(index), f"{name} in a region", pick, weights, maps.shape[1])


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


def _tuple(target: Any) -> tuple[int, ...]:
    return target if isinstance(target, tuple) else (target,)
