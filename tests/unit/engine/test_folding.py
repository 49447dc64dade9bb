"""Folding batch normalization changes nothing but the arithmetic."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.norms import draw_statistics
from xaiwidgets.engine.folding import fold


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias, -1, 1)
    draw_statistics(norm, 1, 2)
    return norm


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), _norm(4)
        self.second, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, groups=2), _norm(4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.first(x)), inplace=True)
        x = x + self.norm2(self.second(x))
        return x.mean((2, 3))


class Peeked(Residual):
    """What lies between convolution and normalization is also used elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        between = self.first(x)
        return (self.norm1(between) + between).mean((2, 3))


class Reused(Residual):
    """The convolution runs twice, with and without normalization."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm1(self.first(x)) + self.first(x * 2)).mean((2, 3))


def _norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def test_folds_and_gives_the_same(x: Tensor) -> None:
    net = Residual().double().eval()
    before = copy.deepcopy(net.state_dict())
    folded = fold(net, x)
    assert folded is not None
    assert _norms(folded) == 0
    torch.testing.assert_close(folded(x), net(x), rtol=1e-12, atol=1e-12)
    assert _norms(net) == 2
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("kind", [Peeked, Reused])
def test_leaves_what_is_not_surely_a_pair(kind: type[nn.Module], x: Tensor) -> None:
    assert fold(kind().double().eval(), x) is None


def test_leaves_a_network_in_train_mode(x: Tensor) -> None:
    assert fold(Residual().double().train(), x) is None


def test_leaves_a_module_with_hooks(x: Tensor) -> None:
    net = Residual().double().eval()
    net.first.register_forward_hook(lambda module, inputs, output: output * 2)
    folded = fold(net, x)
    assert folded is not None
    assert _norms(folded) == 1
    torch.testing.assert_close(folded(x), net(x))


def test_nothing_to_fold(x: Tensor) -> None:
    assert fold(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).double(), x) is None
