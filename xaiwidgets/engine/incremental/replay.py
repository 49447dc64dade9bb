"""Compute what a plan says, for a batch of patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.incremental.plan import CLEAN, SLIDING, Change, Plan, aten, packet, sliding
from xaiwidgets.engine.incremental.trace import Graph, Node, Ref, fill_in
from xaiwidgets.engine.incremental.windows import Span, Starts, Windows, gather

Values = dict[int, Any]

# Those whose constants along one axis are one number for each channel, not for each column.
_BY_CHANNEL = frozenset(
    getattr(aten, name)
    for name in (
        "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "prelu",
    )
    if hasattr(aten, name)
)  # fmt: skip


def run_clean(graph: Graph, x: Tensor, kept: frozenset[int]) -> tuple[dict[int, Tensor], Tensor]:
    """Run the network on one image.

    Args:
        graph: the network.
        x: `(N, C, H, W)`.
        kept: operations whose outputs are wanted.

    Returns:
        The outputs of `kept`, and the logits.
    """
    values: Values = {0: x}
    for number, node in enumerate(graph.nodes):
        if number:
            values[number] = _plain(node, values, len(x))
        _forget(graph, number, values, kept)
    output = _part(values[graph.output.node], graph.output.part)
    return {number: _part(values[number], 0) for number in kept}, output


def run_windows(
    graph: Graph,
    plan: Plan,
    clean: Mapping[int, Tensor],
    patches: Tensor,
    places: Starts,
    last: int | None = None,
) -> Tensor:
    """The logits, `(P, K)`, of the photo with each of a batch of patches.

    Args:
        graph: the network.
        plan: for these patches and others like them.
        clean: outputs for the photo without a patch, of `plan.kept`.
        patches: what each shows, `(P, C, h, w)`.
        places: of these patches in the plan, `(P,)`.
        last: give this operation's output instead, and end there.
    """
    changes = {
        number: change.take(places) if isinstance(change, Windows) else change
        for number, change in enumerate(plan.changes[: None if last is None else last + 1])
    }
    return _run(graph, changes, clean, {0: patches}, 0, len(patches))


def run_tail(
    graph: Graph, plan: Plan, clean: Mapping[int, Tensor], value: Tensor, after: int
) -> Tensor:
    """The logits, from the output `value`, `(P, ...)`, of operation `after`.

    What comes later must depend on it alone, and change everywhere.
    """
    return _run(graph, dict(enumerate(plan.changes)), clean, {after: value}, after, len(value))


def _run(
    graph: Graph,
    changes: dict[int, Change],
    clean: Mapping[int, Tensor],
    values: Values,
    first: int,
    count: int,
) -> Tensor:
    """The output of the last operation that `changes` names; `first` is given in `values`."""
    last = len(changes) - 1
    for number in range(first + 1, last + 1):
        node, change = graph.nodes[number], changes[number]
        if isinstance(change, Windows):
            values[number] = _windowed(node, change, changes, values, clean)
        elif change != CLEAN:
            values[number] = _everywhere(node, changes, values, clean, count)
        _forget(graph, number, values, frozenset((last,)))
    found = graph.output if last == len(graph.nodes) - 1 else Ref(last)
    output: Tensor = _part(values[found.node], found.part)
    return output


def _forget(graph: Graph, number: int, values: Values, kept: frozenset[int]) -> None:
    """Drop what nothing later reads."""
    for each in (number, *graph.nodes[number].parents):
        if graph.last_use[each] <= number and each not in kept:
            values.pop(each, None)


def _part(value: Any, part: int) -> Any:
    return value[part] if isinstance(value, tuple | list) else value


def _plain(node: Node, values: Values, batch: int) -> Any:
    def read(ref: Ref) -> Any:
        return _part(values[ref.node], ref.part)

    args = fill_in(node.args, read, batch)
    kwargs = {key: fill_in(value, read, batch) for key, value in node.kwargs.items()}
    return node.func(*args, **kwargs)


def _everywhere(
    node: Node,
    changes: dict[int, Change],
    values: Values,
    clean: Mapping[int, Tensor],
    count: int,
) -> Any:
    """An operation on whole planes, windows pasted into them first."""

    def read(ref: Ref) -> Any:
        change = changes[ref.node]
        if change == CLEAN:
            return clean[ref.node].expand(count, *clean[ref.node].shape[1:])
        value = _part(values[ref.node], ref.part)
        return _whole(value, change, clean[ref.node]) if isinstance(change, Windows) else value

    args = fill_in(node.args, read, count)
    kwargs = {key: fill_in(value, read, count) for key, value in node.kwargs.items()}
    return node.func(*args, **kwargs)


def _whole(value: Tensor, change: Windows, clean: Tensor) -> Tensor:
    zeros = np.zeros_like(change.rows.starts)
    rows, cols = (
        Span.over(zeros, zeros + axis.side, axis.side) for axis in (change.rows, change.cols)
    )
    return gather(clean, Windows(rows, cols), changed=value, where=change)


def _windowed(
    node: Node,
    change: Windows,
    changes: dict[int, Change],
    values: Values,
    clean: Mapping[int, Tensor],
) -> Any:
    """An operation on windows alone."""
    if packet(node) in SLIDING:
        (ref,) = (arg for arg in node.args if isinstance(arg, Ref))
        given = changes[ref.node]
        assert isinstance(given, Windows)
        return _slide(node, change, given, _part(values[ref.node], ref.part), clean[ref.node])
    if packet(node) is aten.constant_pad_nd:
        return _part(values[node.args[0].node], node.args[0].part)
    if packet(node) is aten._adaptive_avg_pool2d:
        return _part(values[node.args[0].node], node.args[0].part)

    def read(ref: Ref) -> Tensor:
        given = changes[ref.node]
        if given == CLEAN:
            return gather(clean[ref.node], change)
        value: Tensor = _part(values[ref.node], ref.part)
        assert isinstance(given, Windows)
        if given.same_place(change):
            return value
        return gather(clean[ref.node], change, changed=value, where=given)

    count = len(change.rows.starts)
    args = fill_in(node.args, read, count)
    if packet(node) not in _BY_CHANNEL:
        args = tuple(_cut(item, change) for item in args)
    kwargs = {key: fill_in(value, read, count) for key, value in node.kwargs.items()}
    return node.func(*args, **kwargs)


def _cut(item: Any, change: Windows) -> Any:
    """Of a constant as large as the plane, along both axes or one, the windows."""
    if not isinstance(item, Tensor) or item.ndim == 0:
        return item
    plane = (change.rows.side, change.cols.side)
    shape = (1,) * (2 - item.ndim) + tuple(item.shape)
    if shape[-2:] == (1, 1) or any(a not in (1, b) for a, b in zip(shape[-2:], plane, strict=True)):
        return item
    spread = item.reshape(shape).expand(*shape[:-2], *plane)
    return gather(spread.reshape(1, -1, *plane), change)


def _slide(node: Node, change: Windows, given: Windows, value: Tensor, clean: Tensor) -> Any:
    looks = sliding(node, tuple(clean.shape))
    assert looks is not None
    seen = Windows(
        looks[0].backward(change.rows, given.rows.side),
        looks[1].backward(change.cols, given.cols.side),
    )
    pools_max = packet(node) is aten.max_pool2d_with_indices
    if not seen.same_place(given):
        fill = float("-inf") if pools_max else 0.0
        value = gather(clean, seen, fill, value, given)
    kernel, stride, dilation = (
        [getattr(axis, name) for axis in looks] for name in ("kernel", "stride", "dilation")
    )
    if packet(node) is aten.convolution:
        weight, bias, groups = node.args[1], node.args[2], node.args[8]
        return functional.conv2d(value, weight, bias, stride, 0, dilation, groups)
    if pools_max:
        return functional.max_pool2d(value, kernel, stride, 0, dilation)
    divisor = node.args[6] if len(node.args) > 6 else None
    return functional.avg_pool2d(value, kernel, stride, 0, divisor_override=divisor)
