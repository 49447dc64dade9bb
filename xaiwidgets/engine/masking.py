"""A stack of masked images in, the scores of all classes out.

Occlusion, and every other method that asks "what if this part were gone", runs through here. The
scores of all classes are kept, so that asking about another class costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Network
from xaiwidgets.engine.upload import upload

Paint = Callable[[Tensor, int], None]
"""`paint(image, index)` writes mask number `index` into `image`, `(C, H, W)`, in place."""
Masks = Callable[[int, int], Tensor]
"""`masks(start, stop)` gives masks `(stop - start, H, W)`: 1 keeps the photo, 0 the filling."""
_Write = Callable[[Tensor, int, int], None]


def masked_logits(
    model: Network, x: Tensor, total: int, paint: Paint, *, exact: bool = False, first: int = 4
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield `(start, stop, logits)` of the masked images, batch by batch.

    Args:
        model: the network.
        x: the clean input, `(1, C, H, W)`.
        total: number of masks.
        paint: writes one mask into a copy of the image.
        exact: run the network without conv-BN folding.
        first: size of the first batch at most.

    Yields:
        logits `(stop - start, K)`, float32 (float64 for a float64 network), on the CPU.
    """

    def write(batch: Tensor, start: int, stop: int) -> None:
        batch.copy_(x.expand(len(batch), -1, -1, -1))
        for row, index in enumerate(range(start, stop)):
            paint(batch[row], index)

    yield from _written_logits(model, x, total, write, exact, first)


def blended_logits(
    model: Network,
    x: Tensor,
    filling: Tensor,
    total: int,
    masks: Masks,
    *,
    exact: bool = False,
    first: int = 4,
) -> Iterator[tuple[int, int, Tensor]]:
    """The same for soft masks: each image is `mask * x + (1 - mask) * filling`.

    Args:
        model: the network.
        x: the clean input, `(1, C, H, W)`.
        filling: what stands where the mask is 0, an input `(1, C, H, W)`.
        total: number of masks.
        masks: makes those of a batch; asked again when a batch did not fit into memory.
        exact: run the network without conv-BN folding.
        first: size of the first batch at most.
    """

    def write(batch: Tensor, start: int, stop: int) -> None:
        torch.lerp(filling, x, upload(masks(start, stop)[:, None], x.device, x.dtype), out=batch)

    yield from _written_logits(model, x, total, write, exact, first)


def _written_logits(
    model: Network, x: Tensor, total: int, write: _Write, exact: bool, first: int
) -> Iterator[tuple[int, int, Tensor]]:
    buffer = x.new_empty(0)

    def evaluate(start: int, stop: int) -> Tensor:
        nonlocal buffer
        count = stop - start
        with torch.inference_mode():
            if len(buffer) < count:
                # One buffer for all batches; rows are refilled, never re-allocated.
                buffer = x.new_empty(count, *x.shape[1:])
                buffer = buffer.contiguous(memory_format=model.memory_format)
            batch = buffer[:count]
            write(batch, start, stop)
            logits = model.logits(batch, exact=exact)
            kept = torch.float64 if logits.dtype == torch.float64 else torch.float32
            result = logits.to("cpu", kept)
        # A plain tensor: one from inference mode could not be used in autograd later.
        return result.clone()

    yield from model.batcher("forward").run(total, evaluate, first)
