"""Memory of a GPU: what does not fit is halved, and what was taken is given back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.oracle.nets import LITE0, photo, raw
from tests.unit.methods.test_invariance import Net, _photo
from xaiwidgets.engine.batching import Batcher
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import last_of
from xaiwidgets.model import Model

ROOM = 2 << 30


@pytest.fixture
def two_gibibytes() -> Iterator[None]:
    """This process may take that much of the GPU, and no more."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(ROOM / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("two_gibibytes")
def test_a_batch_that_does_not_fit_is_halved() -> None:
    # In float64 and without units on the edge between on and off, sums hardly go by the batch.
    model = Model(raw("efficientnet_lite0_smooth", torch.float64), LITE0, device="cuda")
    task = make_task(model, photo())
    model._batchers["gradient"] = Batcher(model.device, 2)
    small = last_of(estimates(task, "smoothgrad", {"samples": 64}))
    model._batchers["gradient"] = Batcher(model.device, 64)
    large = last_of(estimates(task, "smoothgrad", {"samples": 64}))
    size = model.batcher("gradient").size
    assert size is not None
    assert size < 64
    assert float((large.value - small.value).norm() / small.value.norm()) < 1e-9


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "rise", "lrp"])
def test_nothing_is_held_for_good(method: str) -> None:
    model = Model(Net(), {"size": 24}, device="cuda")
    task = make_task(model, _photo(), 2)
    for _ in range(4):
        last_of(estimates(task, method, {}))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        last_of(estimates(task, method, {}))
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before
