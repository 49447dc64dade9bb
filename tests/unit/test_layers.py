"""The tree of layers."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from tests import toys
from tests.toys import assert_untouched, snapshot
from xaiwidgets.engine.layers import Layer, list_layers


class Tree(nn.Module):
    """Defined in another order than it runs, with a list, a reused and an unused part."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.relu = nn.ReLU()
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1, bias=False) for _ in range(3)])
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        for block in self.blocks:
            x = self.relu(block(x[..., ::2, ::2]))
        return self.head(x.mean((2, 3)))


def _layers(net: nn.Module, *shape: int) -> dict[str, Layer]:
    return {layer.name: layer for layer in list_layers(net.eval(), torch.rand(1, *shape))}


def test_tree() -> None:
    found = _layers(Tree(), 1, 32, 32)
    assert list(found) == [
        "",
        "stem",
        "relu",
        "blocks",
        "blocks.0",
        "blocks.1",
        "blocks.2",
        "head",
        "unused",
    ]
    assert [layer.depth for layer in found.values()] == [0, 1, 1, 1, 2, 2, 2, 1, 1]
    assert found[""].parent is None
    assert found["stem"].parent == ""
    assert found["blocks.1"].parent == "blocks"
    assert found["blocks.1"].type == "Conv2d"
    assert found["stem"].parameters == 36
    assert found["blocks"].parameters == 48


def test_shapes() -> None:
    found = _layers(Tree(), 1, 32, 32)
    assert found["stem"].output_shape == (1, 4, 16, 16)
    assert found["relu"].output_shape == (1, 4, 16, 16)
    assert found["blocks.2"].output_shape == (1, 4, 2, 2)
    assert found[""].output_shape == (1, 2)
    assert found["unused"].output_shape is None
    assert found["blocks"].output_shape is None


def test_costs_by_hand() -> None:
    found = _layers(Tree(), 1, 32, 32)
    work = {"stem": 16 * 16 * 36, "blocks.0": 64 * 16, "blocks.1": 16 * 16, "blocks.2": 4 * 16}
    total = sum(work.values()) + 8
    for name, macs in work.items():
        assert found[name].cost_share == pytest.approx(macs / total)
    assert found["blocks"].cost_share == pytest.approx((1024 + 256 + 64) / total)
    assert found["head"].cost_share == pytest.approx(8 / total)
    assert found["relu"].cost_share == 0
    assert found[""].cost_share == 1


def test_a_reused_module_counts_every_use() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1, bias=False)
            self.again = self.conv

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.conv(x)[..., ::2])

    found = _layers(Twice(), 1, 4, 4)
    assert list(found) == ["", "conv"]
    assert found["conv"].cost_share == 1
    assert found["conv"].output_shape == (1, 1, 4, 4)


def test_attention_shows_its_parts() -> None:
    net = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    found = _layers(net, 4, 4, 4)
    assert found["1.linear1"].output_shape == (1, 4, 32)
    assert found["1.self_attn"].cost_share > 0.2
    assert found["1"].cost_share == pytest.approx(1)


@pytest.mark.parametrize("kind", [toys.InPlace, toys.WritesInput, toys.Residual, toys.Raising])
def test_nothing_stays_behind(kind: type[nn.Module]) -> None:
    net = kind().eval()
    before = snapshot(net)
    x = torch.rand(1, 3, 16, 16)
    kept = x.clone()
    if kind is toys.Raising:
        with pytest.raises(KeyError):
            list_layers(net, x)
    else:
        list_layers(net, x)
    assert torch.equal(x, kept)
    assert_untouched(net, before)


def test_another_thread_on_the_same_network_is_not_counted() -> None:
    net = Tree().eval()
    expected = list_layers(net, torch.rand(1, 1, 32, 32))
    inside, go_on = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        if threading.current_thread() is not other:
            inside.set()
            assert go_on.wait(30)

    def run() -> None:
        assert inside.wait(30)
        net(torch.rand(1, 1, 64, 64))
        go_on.set()

    other = threading.Thread(target=run)
    handle = net.stem.register_forward_hook(hold)
    other.start()
    found = list_layers(net, torch.rand(1, 1, 32, 32))
    other.join()
    handle.remove()
    assert found == expected
