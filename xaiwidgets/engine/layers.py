"""The layers of a network: names, types, output shapes, and their share of the work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Layer:
    """One module of a network.

    Attributes:
        name: dotted path, "" for the network itself.
        type: class name.
        depth: 0 for the network itself.
        parent: name of the module that holds it, `None` for the network itself.
        output_shape: `(1, ...)` for one image, `None` when it gives no tensor or does not run.
        cost_share: of the network's multiply-adds, 0 to 1, everything inside included.
        parameters: number of weights, everything inside included.
    """

    name: str
    type: str
    depth: int
    parent: str | None
    output_shape: tuple[int, ...] | None
    cost_share: float
    parameters: int

    def __repr__(self) -> str:
        shape = "" if self.output_shape is None else "x".join(map(str, self.output_shape[1:]))
        name = self.name or "(network)"
        return f"{'  ' * self.depth}{name}: {self.type} {shape} {self.cost_share:.1%}"


def list_layers(net: nn.Module, run: Callable[[], object]) -> list[Layer]:
    """The modules of `net` in the order of its tree, the network itself first.

    Args:
        net: the network.
        run: runs it once on one image.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    thread = threading.get_ident()

    def note(module: nn.Module, _inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, list | tuple) and output else output
        if threading.get_ident() == thread and isinstance(first, Tensor):
            shapes.setdefault(module, tuple(first.shape))

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            run()
    finally:
        for hook in hooks:
            hook.remove()
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    total = max(counts.get("Global", 0), 1)
    root = type(net).__name__
    layers = []
    for name, module in net.named_modules():
        flops = counts.get(f"{root}.{name}" if name else root, 0)
        layers.append(
            Layer(
                name,
                type(module).__name__,
                name.count(".") + 1 if name else 0,
                None if not name else name.rpartition(".")[0],
                shapes.get(module),
                flops / total,
                sum(parameter.numel() for parameter in module.parameters()),
            )
        )
    return layers
