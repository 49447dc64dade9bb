"""A stack of masked images in, the scores of all classes out.

Occlusion, and every other method that asks "what if this part were gone", runs through here. The
scores of all classes are kept, so that asking about another class costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Network

Paint = Callable[[Tensor, int], None]
"""`paint(image, index)` writes mask number `index` into `image`, `(C, H, W)`, in place."""


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
    buffer = x.new_empty(0)

    def evaluate(start: int, stop: int) -> Tensor:
        nonlocal buffer
        count = stop - start
        with torch.inference_mode():
            if len(buffer) < count:
                # One buffer for all batches; rows are refilled, never re-allocated.
                buffer = x.new_empty(count, *x.shape[1:])
                buffer = buffer.contiguous(memory_format=model.memory_format)
            batch = buffer[:count].copy_(x.expand(count, -1, -1, -1))
            for row, index in enumerate(range(start, stop)):
                paint(batch[row], index)
            logits = model.logits(batch, exact=exact)
            kept = torch.float64 if logits.dtype == torch.float64 else torch.float32
            result = logits.to("cpu", kept)
        # A plain tensor: one from inference mode could not be used in autograd later.
        return result.clone()

    yield from model.batcher("forward").run(total, evaluate, first)
