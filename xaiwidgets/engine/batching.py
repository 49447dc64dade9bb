"""How many images go through a network at once.

Memory is measured on the first batch, and a batch that does not fit is halved and tried again, so
that nothing runs out of memory by default and no one has to choose a batch size.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import torch
from torch import Tensor

T = TypeVar("T")

# Measured on CPUs: throughput saturates at 4 to 8 images, and more only delays the next picture.
_MOST = {"cpu": 8, "cuda": 64, "mps": 32}
_SHARE_OF_FREE_MEMORY = 0.4
# A larger working set gains nothing on a CPU; it only leaves the caches.
_MOST_BYTES_ON_CPU = 320 << 20
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


class Batcher:
    """Runs many evaluations in batches that fit.

    Args:
        device: where the network runs.
        size: a fixed batch size; `None` measures and chooses one.
    """

    def __init__(self, device: torch.device, size: int | None = None) -> None:
        self.device = device
        self.size = size
        self._lock = threading.Lock()

    def run(
        self, total: int, evaluate: Callable[[int, int], T], first: int = 2
    ) -> Iterator[tuple[int, int, T]]:
        """Yield `(start, stop, evaluate(start, stop))` until `total` is reached.

        Args:
            total: number of evaluations.
            evaluate: does those from `start` to `stop`, and is asked again for fewer when they do
                not fit into memory.
            first: size of the first batch at most, small so that a first picture comes soon.

        Raises:
            MemoryError: when not even one evaluation fits.
        """
        start = 0
        ceiling = _MOST.get(self.device.type, 8)
        size = min(first, self.size or ceiling)
        while start < total:
            stop = min(start + size, total)
            try:
                if self.size is None:
                    result, each = _measured(self.device, evaluate, start, stop)
                    self._choose(each, ceiling)
                else:
                    result = evaluate(start, stop)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if stop - start == 1:
                    raise MemoryError(
                        f"One image alone does not fit into the memory of {self.device}. "
                        "Use a smaller input size or network, or free memory."
                    ) from error
                size = self._halve(stop - start)
            else:
                yield start, stop, result
                # Dropped here: kept, it would stand beside the next batch's.
                del result
                start, size = stop, self.size or size
                continue
            # Outside of the handler: the error's traceback keeps the batch alive.
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _choose(self, each: int, ceiling: int) -> None:
        room = _free_memory(self.device) * _SHARE_OF_FREE_MEMORY
        if self.device.type == "cpu":
            room = min(room, _MOST_BYTES_ON_CPU)
        fits = int(room / each) if each else ceiling
        with self._lock:
            if self.size is None:
                self.size = max(1, min(ceiling, fits))

    def _halve(self, size: int) -> int:
        with self._lock:
            self.size = max(1, size // 2)
            return self.size


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _measured(
    device: torch.device, evaluate: Callable[[int, int], T], start: int, stop: int
) -> tuple[T, int]:
    """Evaluate, and say how many bytes one evaluation took at its peak."""
    count = stop - start
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = evaluate(start, stop)
        return result, (torch.cuda.max_memory_allocated(device) - before) // count
    # The CPU's allocator keeps no peak; what autograd saves is nearly all of it.
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        # Frozen weights are there anyway; activations hang on the graph.
        if tensor.requires_grad:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = evaluate(start, stop)
    return result, sum(saved.values()) // count
