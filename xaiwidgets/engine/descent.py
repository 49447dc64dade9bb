"""Gradient descent on something small, such as a mask, that can be watched and left.

Kingma, Ba, "Adam: A Method for Stochastic Optimization", 2014 (arXiv 1412.6980), algorithm 1, with
its constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Network, gradient

T = TypeVar("T")

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8


def descend(
    start: Tensor,
    slope: Callable[[Tensor, int], tuple[Tensor, T]],
    *,
    iterations: int,
    rate: float,
    together: bool = False,
    low: Tensor | float = 0.0,
    high: Tensor | float = 1.0,
) -> Iterator[tuple[int, T]]:
    """Descend, and tell of each point before it is left; the last one told of is the result.

    Args:
        start: where to begin.
        slope: takes a point and the number of the iteration, from 0; gives the gradient there, and
            what is to be told of the point. It must not keep the point.
        iterations: points that are looked at.
        rate: how far an entry moves at a time.
        together: scale all entries by the root mean square of their gradients instead of each by
            its own, so that entries with small gradients move little.
        low: entries are kept from falling below.
        high: entries are kept from rising above.

    Yields:
        The number of points so far, and what `slope` told of the newest.
    """
    point = start.detach().clone()
    lowest, highest = torch.as_tensor(low).to(point), torch.as_tensor(high).to(point)
    first, second = torch.zeros_like(point), torch.zeros_like(point)
    for count in range(1, iterations + 1):
        found, told = slope(point, count - 1)
        yield count, told
        if count == iterations:
            return
        first.lerp_(found, 1 - _FIRST)
        squares = found.square()
        second.lerp_(squares.mean().expand_as(squares) if together else squares, 1 - _SECOND)
        size = (second / (1 - _SECOND**count)).sqrt_().add_(_EPSILON)
        point.addcdiv_(first, size, value=-rate / (1 - _FIRST**count))
        point = point.clamp(lowest, highest)


def chained(
    model: Network,
    point: Tensor,
    images: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, int, int], Tensor],
    penalty: Callable[[Tensor], Tensor],
    *,
    exact: bool = False,
) -> tuple[Tensor, float, Tensor]:
    """The gradient of a loss at the images that a mask makes, with respect to the mask.

    The network is differentiated with respect to the images, in batches that fit; the rest is the
    chain rule.

    Args:
        model: the network.
        point: the mask, or whatever the images are made of.
        images: makes inputs `(R, C, H, W)` of it.
        loss: takes logits of the images from `start` to `stop`, and gives a number for each.
        penalty: a number for the point itself.
        exact: run the network without conv-BN folding.

    Returns:
        The gradient of the sum of losses and penalty, shaped as `point`; that sum; the logits of
        all images `(R, K)`.
    """
    point = point.detach().requires_grad_(True)
    with torch.enable_grad():
        made = images(point)
        cost = penalty(point)
    inputs, slopes = made.detach(), torch.empty_like(made)
    total, seen = float(cost.detach()), []

    def evaluate(start: int, stop: int) -> tuple[Tensor, Tensor]:
        return gradient(
            model, inputs[start:stop], lambda logits: loss(logits, start, stop), exact=exact
        )

    rows = len(inputs)
    for start, stop, (found, logits) in model.batcher("gradient").run(rows, evaluate, rows):
        slopes[start:stop] = found
        total += float(loss(logits, start, stop).sum())
        seen.append(logits)
    (result,) = torch.autograd.grad((made, cost), point, (slopes, torch.ones_like(cost)))
    return result, total, torch.cat(seen)
