"""Small networks of every awkward kind.

The three ways to write an activation have equal weights, so whatever is asked of them must give
equal answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xaiwidgets.model import Model

CLASSES = 5
SIDE = 16
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "size": SIDE, "resize": SIDE}


class Trunk(nn.Module):
    """Two convolutions with normalization, and a head; subclasses say how they activate."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, CLASSES)
        self.fill()

    def fill(self) -> None:
        """Give every variant the same weights."""
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for tensor in (*self.parameters(), self.norm.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
            self.norm.running_var.uniform_(0.5, 2, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activate(self.norm(self.first(x)))
        x = self.activate(self.second(x))
        return self.head(x.mean((2, 3)))

    def activate(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Functional(Trunk):
    def activate(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Reused(Trunk):
    def __init__(self, channels: int = 3) -> None:
        super().__init__(channels)
        self.relu = nn.ReLU()

    def activate(self, x: Tensor) -> Tensor:
        return self.relu(x)


class InPlace(Reused):
    def __init__(self, channels: int = 3) -> None:
        super().__init__(channels)
        self.relu = nn.ReLU(inplace=True)


class Dropped(Functional):
    """As trained: dropout that changes every answer while the network is in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def activate(self, x: Tensor) -> Tensor:
        return self.dropout(F.relu(x))


class WritesInput(Functional):
    """Begins with an operation in place, on the very tensor that it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


class Residual(Functional):
    """A residual connection around a squeeze-and-excitation gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid()
        )
        self.fill()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        x = x + self.gate(x) * self.second(x)
        return self.head(F.relu(x).mean((2, 3)))


class Flattening(Functional):
    """Takes images of one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8 * (SIDE // 2) ** 2, CLASSES)
        self.fill()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.norm(self.first(x)))))
        return self.head(x.view(len(x), -1))


@dataclass
class Output:
    logits: Tensor
    loss: float = 0.0


class Returning(Functional):
    """Wraps the scores in whatever `wrap` makes of them."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(super().forward(x))


class Raising(Functional):
    """Fails half-way."""

    def activate(self, x: Tensor) -> Tensor:
        raise KeyError("half-way")


def in_dict(scores: Tensor) -> dict[str, Tensor]:
    return {"aux": scores * 0, "out": scores}


def in_map(scores: Tensor) -> dict[str, Tensor]:
    """As segmentation does: scores for each position, of which the mean is `scores`."""
    return {"out": scores[:, :, None, None] + torch.tensor([[-1.0, 1.0], [2.0, -2.0]])}


def as_nan(scores: Tensor) -> Tensor:
    return scores * float("nan")


def wrong_shape(scores: Tensor) -> Tensor:
    return scores[:, :, None]


def toy_model(net: Any, **options: Any) -> Model:
    """A model on the CPU whose frame is as small as the toys."""
    return Model(net, **{"preprocess": PREPROCESS, "device": "cpu", **options})


def noise(side: int = 20) -> NDArray[np.uint8]:
    """A photo of noise, always the same."""
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def snapshot(net: nn.Module) -> dict[str, Any]:
    """All that must be the same afterwards."""
    tensors = dict([*net.named_parameters(), *net.named_buffers()])
    return {
        "values": {name: tensor.detach().clone() for name, tensor in tensors.items()},
        "places": {name: tensor.data_ptr() for name, tensor in tensors.items()},
        "strides": {name: tensor.stride() for name, tensor in tensors.items()},
        "grads": {n: None if t.grad is None else t.grad.clone() for n, t in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "modes": {name: module.training for name, module in net.named_modules()},
        "hooks": {
            name: [
                list(module._forward_hooks),
                list(module._forward_pre_hooks),
                list(module._backward_hooks),
                list(module._backward_pre_hooks),
            ]
            for name, module in net.named_modules()
        },
        "attributes": {name: sorted(vars(module)) for name, module in net.named_modules()},
    }


def assert_untouched(net: nn.Module, before: dict[str, Any]) -> None:
    after = snapshot(net)
    for kind in ("values", "grads"):
        for name, tensor in before.pop(kind).items():
            found = after[kind][name]
            assert (found is None) == (tensor is None), (kind, name)
            assert tensor is None or torch.equal(found, tensor), (kind, name)
        del after[kind]
    assert after == before
