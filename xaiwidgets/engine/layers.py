"""The layers of a network as a tree: names, types, output shapes, shares of the cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Layer:
    """One module of a network.

    Attributes:
        name: dotted path, as in `named_modules()`; "" for the network itself.
        type: name of its class.
        depth: 0 for the network itself.
        parent: name of the module that holds it, `None` for the network itself.
        output_shape: of one image, batch axis included; `None` when a forward pass does not reach
            it or it gives no tensor. For a module that is used several times, of its first use.
        cost_share: part of the network's multiply-adds that it does, children included, 0..1.
        parameters: number of its weights, children included.
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


def list_layers(net: nn.Module, x: Tensor) -> list[Layer]:
    """Every module of `net`, itself first, parents before children, siblings as they run.

    Args:
        net: prepared, in evaluation mode. Hooks are put on it for one forward pass, and removed.
        x: one normalized image, `(1, C, H, W)`.

    Raises:
        Exception: whatever the network raises.
    """
    watch = _Watch(net)
    # With gradients, or attention takes a fused path that shows neither its parts nor its cost.
    # A clone, because a first operation in place may not write into a leaf.
    with torch.inference_mode(False), torch.enable_grad(), watch:
        net(x.detach().clone().requires_grad_(True).clone())
    return list(_tree(net, "", None, watch, set()))


def _tree(
    module: nn.Module, name: str, parent: str | None, watch: _Watch, seen: set[int]
) -> Iterator[Layer]:
    if id(module) in seen:
        return
    seen.add(id(module))
    yield Layer(
        name,
        type(module).__name__,
        name.count(".") + 1 if name else 0,
        parent,
        watch.shapes.get(id(module)),
        min(1.0, watch.cost(module) / (watch.total or 1)),
        sum(parameter.numel() for parameter in module.parameters()),
    )
    children = list(module.named_children())
    # Python's sort is stable: what never runs keeps its place behind what does.
    children.sort(key=lambda item: watch.place(item[1]))
    for part, child in children:
        yield from _tree(child, f"{name}.{part}" if name else part, name, watch, seen)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what each module gives and costs.

    torch's own `FlopCounterMode` hooks every module of the process, those of other threads too;
    this one takes its formulas and stays with one network and one thread.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.order: dict[int, int] = {}
        self.shapes: dict[int, tuple[int, ...] | None] = {}
        self.costs: dict[int, int] = {}
        self.total = 0
        self._net = net
        self._thread = 0
        self._running: list[tuple[int, int]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Watch:
        self._thread = threading.get_ident()
        for module in self._net.modules():
            self._handles.append(module.register_forward_pre_hook(self._before))
            self._handles.append(module.register_forward_hook(self._after))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def cost(self, module: nn.Module) -> int:
        """Multiply-adds; of a list of modules, which does not run itself, those of its parts."""
        if id(module) in self.order:
            return self.costs.get(id(module), 0)
        return sum(self.cost(child) for child in module.children())

    def place(self, module: nn.Module) -> int:
        """When it, or the first part of it, ran first."""
        last = len(self.order)
        return min(self.order.get(id(part), last) for part in module.modules())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(getattr(func, "_overloadpacket", None))
        if formula is not None:
            self.total += int(formula(*args, **kwargs, out_val=result))
        return result

    def _before(self, module: nn.Module, _inputs: Any) -> None:
        if threading.get_ident() == self._thread:
            self.order.setdefault(id(module), len(self.order))
            self._running.append((id(module), self.total))

    def _after(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        key, before = self._running.pop()
        # A module that raised and was caught by its network has no end.
        while key != id(module):
            key, before = self._running.pop()
        if all(other != key for other, _ in self._running):
            self.costs[key] = self.costs.get(key, 0) + self.total - before
        self.shapes.setdefault(key, _shape(output))


def _shape(output: Any) -> tuple[int, ...] | None:
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        output = next((item for item in output if isinstance(item, Tensor)), None)
    return tuple(output.shape) if isinstance(output, Tensor) else None
