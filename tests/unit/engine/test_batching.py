"""Batches that do not fit are halved; results come once each and in order."""

from __future__ import annotations

import pytest
import torch

from xaiwidgets.engine.batching import Batcher, is_out_of_memory

CPU = torch.device("cpu")
CPU_ERROR = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize("total", [1, 2, 7, 40])
@pytest.mark.parametrize("size", [None, 1, 3, 100])
def test_every_evaluation_once(total: int, size: int | None) -> None:
    done = [
        number
        for start, stop, _ in Batcher(CPU, size).run(total, lambda a, b: None)
        for number in range(start, stop)
    ]
    assert done == list(range(total))


def test_first_batch_is_small() -> None:
    sizes = [stop - start for start, stop, _ in Batcher(CPU).run(20, lambda a, b: None, first=2)]
    assert sizes[0] == 2
    assert max(sizes) == 8


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_ERROR)]
)
def test_halves_until_it_fits(error: Exception) -> None:
    tried = []

    def evaluate(start: int, stop: int) -> list[int]:
        tried.append(stop - start)
        if stop - start > 3:
            raise error
        return list(range(start, stop))

    batcher = Batcher(CPU, 16)
    done = [n for _, _, part in batcher.run(20, evaluate, first=16) for n in part]
    assert done == list(range(20))
    assert tried[:3] == [16, 8, 4]
    assert batcher.size == 2


def test_one_image_that_does_not_fit_says_so() -> None:
    def evaluate(start: int, stop: int) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(MemoryError, match="One image alone does not fit into the memory of cpu"):
        list(Batcher(CPU).run(4, evaluate))


def test_other_errors_are_not_swallowed() -> None:
    def evaluate(start: int, stop: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(Batcher(CPU).run(4, evaluate))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_batch_follows_what_autograd_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    from xaiwidgets.engine import batching

    x = torch.ones(1000, requires_grad=True)
    monkeypatch.setattr(batching, "_free_memory", lambda device: 4000 * 3 / 0.4 + 1)
    batcher = Batcher(CPU)

    def evaluate(start: int, stop: int) -> None:
        for _ in range(start, stop):
            (x * 1).exp().sum()

    list(batcher.run(8, evaluate, first=1))
    assert batcher.size == 3
