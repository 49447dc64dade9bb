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


class Timed:
    """A clock that the work moves: `each[n]` seconds an image in a batch of n."""

    def __init__(self, each: dict[int, float]) -> None:
        self.now = 0.0
        self.each = each
        self.sizes: list[int] = []

    def __call__(self) -> float:
        return self.now

    def evaluate(self, start: int, stop: int) -> None:
        self.sizes.append(stop - start)
        self.now += self.each[stop - start] * (stop - start)


@pytest.mark.parametrize(
    ("each", "best"),
    [
        ({1: 9, 2: 8, 4: 6, 8: 5}, 8),
        ({1: 9, 2: 8, 4: 6, 8: 5.9}, 4),  # hardly cheaper: not worth the memory
        ({1: 9, 2: 8, 4: 7.8, 8: 7.5}, 8),  # little by little is worth it
        ({1: 9, 2: 5, 4: 6, 8: 1}, 8),  # dearer once: the clock, perhaps
        ({1: 9, 2: 5, 4: 6, 8: 7}, 2),
    ],
)
def test_size_grows_while_an_image_gets_cheaper(each: dict[int, float], best: int) -> None:
    timed = Timed(each)
    batcher = Batcher(CPU, clock=timed)
    list(batcher.run(128, timed.evaluate))
    assert timed.sizes[:3] == [2, 2, 2]
    assert batcher.size == best
    assert timed.sizes[-2] == best


def test_size_stays_where_an_image_gets_dearer_twice_in_a_row() -> None:
    timed = Timed({2: 5, 4: 6, 8: 7, 16: 1})
    batcher = Batcher(CPU, most=32, clock=timed)
    list(batcher.run(128, timed.evaluate))
    assert batcher.size == 2
    assert max(timed.sizes) == 8


def test_measuring_goes_on_in_the_next_run() -> None:
    timed = Timed({1: 9, 2: 8, 4: 6, 8: 5})
    batcher = Batcher(CPU, clock=timed)
    for _ in range(6):
        list(batcher.run(10, timed.evaluate))
    assert batcher.size == 8
    timed.sizes.clear()
    list(batcher.run(18, timed.evaluate))
    assert timed.sizes == [2, 8, 8]


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

    timed = Timed({1: 8, 2: 4, 3: 2})
    batcher._clock = timed
    sizes = []

    def both(start: int, stop: int) -> None:
        evaluate(start, stop)
        timed.evaluate(start, stop)
        sizes.append(stop - start)

    list(batcher.run(40, both, first=1))
    assert batcher.size == 3
    assert max(sizes) == 3
