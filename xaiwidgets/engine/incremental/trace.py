"""A network as a list of operations, read from a run of it.

Every operation that reaches ATen is noted, with its arguments: modules, functional code, hooks and
in-place activations all look the same there. Two runs with batches of 2 and 3 images tell which
whole numbers among the arguments stand for the batch (`x.view(n, -1)` is noted as 2 and 3), so that
the list can be replayed with any batch.

Only this thread is watched, and nothing is patched. A network whose Python code decides by what it
sees is refused where the two runs differ, and is else found out by whoever compares a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_BATCHES = (2, 3)


class UntraceableError(Exception):
    """Why a network cannot be replayed."""


@dataclass(frozen=True)
class Ref:
    """What operation number `node` gave; `part` of it where it gave several."""

    node: int
    part: int = 0


@dataclass(frozen=True)
class Scaled:
    """A whole number that is `factor` times the batch."""

    factor: int


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        func: of ATen, never one in place.
        args: with `Ref` for what earlier operations gave and `Scaled` for multiples of the batch.
        kwargs: likewise.
        shapes: of what it gives, batch axis included (as it was with one image less than three);
            `None` for what is no tensor.
        parents: numbers of the operations that it reads.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[tuple[int, ...] | None, ...]
    parents: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A network as operations in the order in which they run. Number 0 is the input.

    Attributes:
        nodes: the operations.
        output: what the network gives.
        last_use: the last operation that reads each; those that nobody reads have their own number.
    """

    nodes: tuple[Node, ...]
    output: Ref
    last_use: tuple[int, ...]


def trace(run: Callable[[Tensor], Tensor], x: Tensor) -> Graph:
    """The operations of `run`, from a batch of images to logits.

    Args:
        run: the network.
        x: one image, `(1, C, H, W)`.

    Raises:
        UntraceableError: where it cannot be replayed.
    """
    first, second = (_record(run, x.repeat(count, 1, 1, 1)) for count in _BATCHES)
    if len(first.nodes) != len(second.nodes) or first.output != second.output:
        raise UntraceableError("its operations depend on the batch")
    nodes = tuple(_merged(a, b) for a, b in zip(first.nodes, second.nodes, strict=True))
    last_use = list(range(len(nodes)))
    for number, node in enumerate(nodes):
        for parent in node.parents:
            last_use[parent] = number
    last_use[first.output.node] = len(nodes)
    return Graph(nodes, first.output, tuple(last_use))


def fill_in(value: Any, read: Callable[[Ref], Any], batch: int) -> Any:
    """Arguments with what `read` gives for each `Ref`, for a batch of `batch` images."""
    if isinstance(value, Ref):
        return read(value)
    if isinstance(value, Scaled):
        return value.factor * batch
    if isinstance(value, tuple | list):
        return type(value)(fill_in(item, read, batch) for item in value)
    return value


@dataclass
class _Recording:
    nodes: list[Node]
    output: Ref


def _record(run: Callable[[Tensor], Tensor], x: Tensor) -> _Recording:
    # Not in inference mode, where operations are noted before they are taken apart.
    with torch.inference_mode(False), torch.no_grad():
        x = x.clone(memory_format=torch.preserve_format)
        recorder = _Recorder(x)
        with recorder:
            result = run(x)
    output = recorder.known.get(id(result))
    if output is None:
        raise UntraceableError("its scores do not come from its operations")
    return _Recording(recorder.nodes, output[0])


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes = [Node(None, (), {}, (tuple(x.shape),), ())]
        # Of each tensor: what gave it, and how often its memory had been written to then.
        self.known: dict[int, tuple[Ref, int]] = {}
        self._written: dict[int, int] = {}
        # Kept alive, so that no identity and no memory is used twice.
        self._alive: list[Tensor] = []
        self._know(x, Ref(0))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        parents: dict[int, None] = {}
        noted = tuple(self._noted(item, parents) for item in args)
        named = {key: self._noted(value, parents) for key, value in kwargs.items()}
        result = func(*args, **kwargs)
        results = result if isinstance(result, tuple | list) else (result,)
        if not parents:
            # Made of weights alone: a constant.
            self._alive += [item for item in results if isinstance(item, Tensor)]
            return result
        if func._schema.is_mutable:
            func = _out_of_place(func)
            self._write(args[0])
        elif func is torch.ops.aten.view.default:
            # Windows may lie otherwise in memory than whole planes, and then have no such view.
            func = torch.ops.aten.reshape.default
        number = len(self.nodes)
        shapes = tuple(tuple(r.shape) if isinstance(r, Tensor) else None for r in results)
        self.nodes.append(Node(func, noted, named, shapes, tuple(parents)))
        for part, item in enumerate(results):
            if isinstance(item, Tensor):
                self._know(item, Ref(number, part))
            elif item is not None:
                raise UntraceableError(f"it reads numbers off its activations ({func})")
        return result

    def _noted(self, value: Any, parents: dict[int, None]) -> Any:
        if isinstance(value, Tensor):
            found = self.known.get(id(value))
            if found is None:
                if value.untyped_storage().data_ptr() in self._written:
                    raise UntraceableError("it reads a constant that it writes to")
                return value
            if found[1] != self._version(value):
                raise UntraceableError("it reads a view of something that it has overwritten")
            parents[found[0].node] = None
            return found[0]
        if isinstance(value, tuple | list):
            return type(value)(self._noted(item, parents) for item in value)
        return value

    def _version(self, value: Tensor) -> int:
        return self._written.get(value.untyped_storage().data_ptr(), 0)

    def _write(self, value: Any) -> None:
        place = value.untyped_storage().data_ptr()
        self._written[place] = self._written.get(place, 0) + 1

    def _know(self, value: Tensor, ref: Ref) -> None:
        self._alive.append(value)
        self.known[id(value)] = (ref, self._version(value))


def _out_of_place(func: Any) -> Any:
    packet, overload = func._schema.name.split("::")[1], func._schema.overload_name or "default"
    writes = [a for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
    plain = getattr(torch.ops.aten, packet.removesuffix("_"), None)
    if not packet.endswith("_") or len(writes) != 1 or not hasattr(plain, overload):
        raise UntraceableError(f"it writes in place ({func})")
    return getattr(plain, overload)


def _merged(first: Node, second: Node) -> Node:
    if first.func is not second.func or first.parents != second.parents:
        raise UntraceableError("its operations depend on the batch")
    args = tuple(_same(a, b) for a, b in _pairs(first.args, second.args))
    if first.kwargs.keys() != second.kwargs.keys():
        raise UntraceableError("its operations depend on the batch")
    kwargs = {key: _same(value, second.kwargs[key]) for key, value in first.kwargs.items()}
    return Node(first.func, args, kwargs, first.shapes, first.parents)


def _pairs(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    if len(one) != len(other):
        raise UntraceableError("its operations depend on the batch")
    return zip(one, other, strict=True)


def _same(one: Any, other: Any) -> Any:
    """An argument of both runs as one."""
    if isinstance(one, Tensor):
        alike = isinstance(other, Tensor) and one.shape == other.shape
        if one is not other and not (alike and torch.equal(one, other)):
            raise UntraceableError("it makes something for each image of the batch")
        return one
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return type(one)(_same(a, b) for a, b in _pairs(one, other))
    if type(one) is int and type(other) is int and one != other:
        factor, rest = divmod(one, _BATCHES[0])
        if rest or other != factor * _BATCHES[1]:
            raise UntraceableError("its operations depend on the batch")
        return Scaled(factor)
    if one != other:
        raise UntraceableError("its operations depend on the batch")
    return one
