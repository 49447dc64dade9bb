"""How many images go through a network at once.

The size is measured on the work itself: it doubles until an image gets dearer by that twice in a
row, once being the clock's noise at times, or until the memory of the first batch says that twice
as many do not fit; then the smallest is taken that is nearly as fast as the fastest. A batch that
does not fit after all is halved and tried again, so that nothing runs out of memory by default and
no one has to choose a batch size.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import torch
from torch import Tensor

T = TypeVar("T")

# Measured on CPUs: throughput saturates at 2 to 8 images, and more only delays the next picture.
_MOST = {"cpu": 8, "cuda": 64, "mps": 32}
_SHARE_OF_FREE_MEMORY = 0.4
# A larger working set gains nothing on a CPU; it only leaves the caches.
_MOST_BYTES_ON_CPU = 200 << 20
# A smaller batch shows the next picture sooner, and is worth as much of the throughput.
_NEARLY = 0.97
# An image that takes that much longer in a doubled batch is dearer, not the clock's noise.
_DEARER = 1.02
# So many readings of a size, and so many dearer sizes in a row, are believed.
_TIMES = 2
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
        size: a fixed batch size; `None` measures and chooses one, over as many runs as it takes.
        most: the largest that is tried; `None` for what the device profits from.
        clock: gives seconds.
    """

    def __init__(
        self,
        device: torch.device,
        size: int | None = None,
        *,
        most: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.device = device
        self.size = size
        self.most = most or _MOST.get(device.type, 8)
        self._clock = clock
        self._fits: int | None = None
        self._trying = 0
        self._seconds: dict[int, list[float]] = {}
        self._dearer = 0
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
        while start < total:
            wanted = self._wanted(first)
            stop = min(start + (min(first, wanted) if start == 0 else wanted), total)
            try:
                result = self._evaluate(evaluate, start, stop)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if stop - start == 1:
                    raise MemoryError(
                        f"One image alone does not fit into the memory of {self.device}. "
                        "Use a smaller input size or network, or free memory."
                    ) from error
                with self._lock:
                    self.size = max(1, (stop - start) // 2)
            else:
                yield start, stop, result
                # Dropped here: kept, it would stand beside the next batch's.
                del result
                start = stop
                continue
            # Outside of the handler: the error's traceback keeps the batch alive.
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @property
    def seconds(self) -> float | None:
        """The least that one evaluation was seen to take, warm; `None` while not known."""
        with self._lock:
            return min((min(taken) for taken in self._seconds.values()), default=None)

    def _wanted(self, first: int) -> int:
        """The size of the next batch: the one settled on, else the one being tried."""
        with self._lock:
            if self.size is None and not self._trying:
                self._trying = min(first, self.most)
            return self.size or self._trying

    def _evaluate(self, evaluate: Callable[[int, int], T], start: int, stop: int) -> T:
        if self.size is not None:
            return evaluate(start, stop)
        if self._fits is None:
            # Also warms the network up, so this one is not timed.
            result, each = _measured(self.device, evaluate, start, stop)
            self._fits = self._room(each)
            return result
        _wait_for(self.device)
        began = self._clock()
        result = evaluate(start, stop)
        _wait_for(self.device)
        self._note(stop - start, (self._clock() - began) / (stop - start))
        return result

    def _room(self, each: int) -> int:
        """How many evaluations fit that take `each` bytes."""
        room = _free_memory(self.device) * _SHARE_OF_FREE_MEMORY
        if self.device.type == "cpu":
            room = min(room, _MOST_BYTES_ON_CPU)
        return max(1, min(self.most, int(room / each))) if each else self.most

    def _note(self, count: int, seconds: float) -> None:
        """Note what an image took in a batch of `count`, and stay, double or settle."""
        with self._lock:
            fits = self._fits or 1
            if self.size is not None or count != self._trying:
                return
            if count > fits:
                self.size = fits
                return
            taken = self._seconds.setdefault(count, [])
            taken.append(seconds)
            if len(taken) < _TIMES:
                return
            fastest = min(min(each) for each in self._seconds.values())
            self._dearer = self._dearer + 1 if min(taken) > _DEARER * fastest else 0
            if count < fits and self._dearer < _TIMES:
                self._trying = min(2 * count, fits)
                return
            self.size = min(n for n, t in self._seconds.items() if _NEARLY * min(t) <= fastest)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


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
