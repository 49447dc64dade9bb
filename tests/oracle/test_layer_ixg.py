"""Layer-wise input x gradient against hooks on the blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.oracle import cut
from tests.oracle.black_box import small_task
from tests.oracle.nets import distance, raw
from xaiwidgets.methods.estimate import Task

BLOCKS = {
    "efficientnet_lite0": [f"_blocks.{k}" for k in range(16)],
    "resnet18": [f"layer{stage}.{k}" for stage in (1, 2, 3, 4) for k in (0, 1)],
    "googlenet": [f"inception{k}" for k in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")],
    "vit": [f"encoder.layers.encoder_layer_{k}" for k in range(3)],
}


def _given(name: str) -> tuple[Task, nn.Module]:
    if name == "vit":
        return cut.task_of(name), cut.net_of(name)
    return small_task(name), raw(name, cut.F64)


def _hooked(name: str) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """What each block gives, and the gradient towards it."""
    task, net = _given(name)
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        kept.append(output)
        # What follows may overwrite what it is given.
        return output.clone()

    handles = [net.get_submodule(block).register_forward_hook(keep) for block in BLOCKS[name]]
    try:
        score = net(task.x.clone().requires_grad_())[0, task.target]
    finally:
        for handle in handles:
            handle.remove()
    return [each.detach() for each in kept], torch.autograd.grad(score, kept)


def _maps(name: str) -> list[Tensor]:
    """Their product, summed over channels; a transformer's patches lie behind the class token."""
    shaped: Callable[[Tensor], Tensor] = lambda ixg: ixg.sum(0)  # noqa: E731
    if name == "vit":
        shaped = lambda ixg: ixg[1:].sum(1).reshape(7, 7)  # noqa: E731
    return [shaped((a * g)[0]) for a, g in zip(*_hooked(name), strict=True)]


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    task, _ = _given(name)
    found, expected = cut.last(task, "layer_ixg"), _maps(name)
    assert [each.layer for each in found.detail] == BLOCKS[name]
    size = max(float(each.abs().max()) for each in expected)
    total = torch.zeros(task.x.shape[2:], dtype=cut.F64)
    for each, small in zip(found.detail, expected, strict=True):
        # Of a transformer's last block only the class token counts: the map is 0.
        torch.testing.assert_close(each.map, small, rtol=0, atol=1e-9 * size)
        large = functional.interpolate(small[None, None], total.shape, mode="bilinear")[0, 0]
        total += large * small.numel() / total.numel() / len(expected)
    assert distance(found.value, total) < 1e-9


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_some_blocks(name: str) -> None:
    task, _ = _given(name)
    found = cut.last(task, "layer_ixg", skip_first=1, skip_last=1)
    expected = _maps(name)[1:-1]
    assert [each.layer for each in found.detail] == BLOCKS[name][1:-1]
    for each, small in zip(found.detail, expected, strict=True):
        assert distance(each.map, small) < 1e-9
