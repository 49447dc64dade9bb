"""Uploads: the numbers of a plain copy, from pinned memory where the device is a GPU."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from xaiwidgets.engine.upload import upload

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("given", [torch.bool, torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [torch.float16, torch.float32, torch.float64])
def test_same_as_a_plain_copy(device: str, given: torch.dtype, wanted: torch.dtype) -> None:
    values = (torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(given)
    found = upload(values, torch.device(device), wanted)
    assert (found.device.type, found.dtype) == (device, wanted)
    assert torch.equal(found, values.to(device, wanted))


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_there_already_stays_there(device: str) -> None:
    values = torch.rand(3, device=device)
    assert upload(values, values.device, values.dtype) is values


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_flow_back(device: str) -> None:
    values = torch.rand(3, requires_grad=True)
    upload(values, torch.device(device), torch.float64).sum().backward()
    assert torch.equal(values.grad, torch.ones(3))  # type: ignore[arg-type]


class OnPaper:
    """Stands for a tensor, and writes down what is done to it: no GPU need be there."""

    requires_grad = False

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.done: list[Any] = []

    def to(self, *what: Any, **how: Any) -> OnPaper:
        self.done.append((*what, *how.items()))
        return self

    def pin_memory(self) -> OnPaper:
        self.done.append("pinned")
        return self


def test_to_a_gpu_it_goes_from_pinned_memory_without_waiting() -> None:
    paper = OnPaper()
    upload(cast(Tensor, paper), CUDA, torch.float16)
    assert paper.done == [(torch.float16,), "pinned", (CUDA, ("non_blocking", True))]


def test_from_gpu_to_gpu_nothing_is_pinned() -> None:
    paper = OnPaper("cuda")
    upload(cast(Tensor, paper), CUDA, torch.float16)
    assert paper.done == [(CUDA, torch.float16)]
