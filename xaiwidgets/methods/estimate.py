"""What a method is given, and what it yields."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiwidgets.engine.upload import upload

if TYPE_CHECKING:
    from xaiwidgets.engine.passes import Shared
    from xaiwidgets.goals import Goal
    from xaiwidgets.model import Model, Prepared
    from xaiwidgets.targets import Target


@dataclass(frozen=True)
class Estimate:
    """An explanation so far; a method yields ever better ones.

    Attributes:
        value: attribution, float tensor on the CPU, signed, `(C, H, W)` or `(H, W)`, in the frame
            that the model saw. Never written to again.
        done: evaluations of the model that went into it.
        total: evaluations that the finished explanation takes.
        diagnostics: numbers that say how far the value can be trusted.
        detail: what is new since the last estimate beyond the value, of a type that the method
            documents; a live view draws it.
    """

    value: Tensor
    done: int
    total: int
    diagnostics: dict[str, float] = field(default_factory=dict)
    detail: Any = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done >= self.total


@dataclass(frozen=True)
class Task:
    """What every method is given: one photo, one question, one model.

    Attributes:
        model: the prepared model.
        prepared: the photo as the model sees it.
        target: what is explained: the index of a class, or another resolved target.
        logits: clean logits of the photo, `(K,)`, on the CPU; of a target that is read off the
            network's own output its readings, see `xaiwidgets.goals`.
        seed: seeds everything random in a method, at least 0.
        exact: run the network as it is written, without conv-BN folding.
        shared: passes of this photo that other methods and classes use too, where there are any;
            see `xaiwidgets.methods.passes`.
    """

    model: Model
    prepared: Prepared
    target: Target
    logits: Tensor
    seed: int = 0
    exact: bool = False
    shared: Shared | None = field(default=None, repr=False, compare=False)

    @property
    def x(self) -> Tensor:
        """The model's input, `(1, C, H, W)`, on the model's device."""
        return self.prepared.input

    @property
    def score(self) -> Goal:
        """The target's logit of each row, `(N, K) -> (N,)`, and more: see `Goal`."""
        return self.model.goal(self.target)

    def noise(self, index: int) -> Tensor:
        """Unit normal noise number `index`, shaped as `x`.

        Each has a seed of its own, so it is the same whatever the batch size or the device, and
        whatever sigma it is scaled by.
        """
        noise = torch.randn(self.x.shape, generator=self.random(index), dtype=torch.float32)
        return upload(noise, self.x.device, self.x.dtype)

    def random(self, index: int) -> torch.Generator:
        """Where random sample number `index` is drawn from, on the CPU."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + index) % 2**63)


def last_of(estimates: Iterable[Estimate]) -> Estimate:
    """Run a method to its end and keep the last estimate."""
    (last,) = deque(estimates, maxlen=1)
    return last
