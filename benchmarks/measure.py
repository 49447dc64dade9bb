"""Time and peak memory of a call, and the shape of the machine."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import psutil
import torch

T = TypeVar("T")
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Measured(Generic[T]):
    """The result of a call, its best time in seconds and its peak memory in MiB."""

    value: T
    seconds: float
    mebibytes: float


def interleaved(
    calls: list[Callable[[], T]], device: torch.device, repeats: int
) -> list[Measured[T]]:
    """Measure the calls in turn, `repeats` times over; the best time of each counts.

    In turn, so that a slow minute of the machine hits all of them.
    """
    best: list[Measured[T]] = []
    for repeat in range(repeats):
        for index, call in enumerate(calls):
            found = measured(call, device)
            if repeat == 0:
                best.append(found)
            elif found.seconds < best[index].seconds:
                best[index] = Measured(found.value, found.seconds, best[index].mebibytes)
    return best


def medians(calls: list[Callable[[], T]], device: torch.device, repeats: int) -> list[Measured[T]]:
    """Measure the calls in turn, `repeats` times over; the median time, the highest memory."""
    rounds = [[measured(call, device) for call in calls] for _ in range(repeats)]
    return [
        Measured(
            found[0].value,
            statistics.median(each.seconds for each in found),
            max(each.mebibytes for each in found),
        )
        for found in zip(*rounds, strict=True)
    ]


def seconds(call: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """That so many calls take, to the end of the device's work."""
    _wait_for(device)
    began = time.perf_counter()
    for _ in range(times):
        call()
    _wait_for(device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(call: Callable[[], T], device: torch.device) -> Measured[T]:
    """One call: its time, and how far memory rose above where it stood."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        value = call()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
        return Measured(value, seconds, (torch.cuda.max_memory_allocated(device) - before) / _MIB)
    _give_back_memory()
    with _PeakMemory() as peak:
        began = time.perf_counter()
        value = call()
        seconds = time.perf_counter() - began
    return Measured(value, seconds, peak.mebibytes)


class _PeakMemory:
    """How far the process's resident memory rises, sampled every few milliseconds."""

    def __enter__(self) -> _PeakMemory:
        self._process = psutil.Process()
        self._before = self._highest = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._highest = max(self._highest, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mebibytes(self) -> float:
        return float(self._highest - self._before) / _MIB


def _give_back_memory() -> None:
    """Return freed memory to the system, so that the next call's peak is its own."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    cores = f"{os.cpu_count()} cores, torch {torch.__version__} with {torch.get_num_threads()} "
    cores += "threads"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}; {cores}"
    return f"CPU, {cores}, {psutil.virtual_memory().total / 1024**3:.0f} GiB"
