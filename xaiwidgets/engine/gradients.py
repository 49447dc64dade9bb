"""Gradients of a score with respect to the input, and to nothing else.

``torch.autograd.grad`` towards the input alone: no weight's gradient is computed and nobody's
``.grad`` is written.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from xaiwidgets.engine.batching import Batcher

T = TypeVar("T")
Score = Callable[[Tensor], Tensor]
"""Takes logits `(N, K)` and gives one number for each row, `(N,)`."""


class Network(Protocol):
    """What the engine asks of a model."""

    @property
    def precision(self) -> str:
        """How precisely it is run, see `engine.precision`."""

    @property
    def memory_format(self) -> torch.memory_format:
        """How the network's inputs lie in memory."""

    def logits(self, x: Tensor, *, exact: bool = False) -> Tensor:
        """The scores of all classes, `(N, K)`."""

    def running(self) -> AbstractContextManager[None]:
        """Around a run of the network and the way back through it."""

    def batcher(self, kind: str) -> Batcher:
        """What keeps the batch size of "gradient" or of "forward" work."""

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave at the first call with `key`."""


class Gradients(NamedTuple):
    """Gradients `(N, C, H, W)` at some inputs, and the logits `(N, K)` there."""

    start: int
    stop: int
    gradients: Tensor
    logits: Tensor


def gradient(
    model: Network, x: Tensor, score: Score, *, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """The gradient of `score` at each row of `x`, and the logits there.

    Args:
        model: the network.
        x: inputs, `(N, C, H, W)`.
        score: picks one number of each row of logits.
        exact: run the network without conv-BN folding.

    Raises:
        ValueError: when the score does not depend on the input.
    """
    x = x.detach().contiguous(memory_format=model.memory_format).requires_grad_(True)
    with torch.enable_grad(), model.running():
        logits = model.logits(x, exact=exact)
        chosen = score(logits).sum()
        if not chosen.requires_grad:
            raise ValueError(
                "The score does not depend on the image through differentiable operations, so it "
                "has no gradient. Use a method that needs none, such as occlusion, or remove "
                "torch.no_grad / detach from the network's forward."
            )
        (found,) = torch.autograd.grad(chosen, x)
    return found, logits.detach()


def gradients(
    model: Network,
    total: int,
    inputs: Callable[[int, int], Tensor],
    score: Score,
    *,
    exact: bool = False,
    first: int = 1,
) -> Iterator[Gradients]:
    """Gradients at `total` inputs, batch by batch.

    Args:
        model: the network.
        total: number of inputs.
        inputs: makes those from `start` to `stop`, `(stop - start, C, H, W)`.
        score: picks one number of each row of logits.
        exact: run the network without conv-BN folding.
        first: size of the first batch at most.
    """

    def evaluate(start: int, stop: int) -> tuple[Tensor, Tensor]:
        return gradient(model, inputs(start, stop), score, exact=exact)

    for start, stop, (found, logits) in model.batcher("gradient").run(total, evaluate, first):
        yield Gradients(start, stop, found, logits)
