"""What has to be computed anew when patches of the photo change.

For each operation the plan says whether its output changes in windows only (`Windows`), changes
everywhere (`EVERYWHERE`), or not at all (`CLEAN`), for all patches at once and before anything is
computed; so the multiply-adds that a replay takes are known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from xaiwidgets.engine.incremental.trace import Graph, Node, Ref
from xaiwidgets.engine.incremental.windows import Sliding, Span, Windows, joined

aten = torch.ops.aten

EVERYWHERE = "everywhere"
CLEAN = "clean"
Change = Windows | str

# With windows that large, cutting them out costs more than it saves.
_NEARLY_ALL = 0.7

ELEMENTWISE = frozenset(
    getattr(aten, name)
    for name in (
        "relu", "hardtanh", "clamp", "clamp_min", "clamp_max", "leaky_relu", "elu", "celu",
        "gelu", "silu", "mish", "softplus", "hardswish", "hardsigmoid", "sigmoid", "tanh",
        "threshold", "neg", "abs", "exp", "sqrt", "pow", "square", "log", "add", "sub", "mul",
        "div", "maximum", "minimum", "clone", "_to_copy", "detach", "alias", "rsub", "prelu",
        "_prelu_kernel", "native_batch_norm", "_native_batch_norm_legit_no_training",
        "cudnn_batch_norm", "lift_fresh", "reciprocal", "rsqrt", "erf", "selu", "native_dropout",
    )
    if hasattr(aten, name)
)  # fmt: skip
SLIDING = frozenset((aten.convolution, aten.max_pool2d_with_indices, aten.avg_pool2d))
_IDENTITY_POOL = frozenset((aten._adaptive_avg_pool2d,))
_MATRIX = frozenset((aten.addmm, aten.mm, aten.bmm, aten.baddbmm))


def packet(node: Node) -> Any:
    """The operation, whichever overload of it."""
    return getattr(node.func, "overloadpacket", None)


@dataclass(frozen=True)
class Plan:
    """How the output of each operation changes.

    Attributes:
        changes: of each operation.
        kept: operations whose clean outputs a replay reads.
        multiply_adds: that a replay takes for one patch.
        multiply_adds_plain: that the network takes for one image.
        window_bytes: of the largest pair of neighboring outputs, for one patch.
    """

    changes: tuple[Change, ...]
    kept: frozenset[int]
    multiply_adds: float
    multiply_adds_plain: float
    window_bytes: int

    @property
    def ratio(self) -> float:
        """How many times fewer multiply-adds a replay takes."""
        return self.multiply_adds_plain / max(self.multiply_adds, 1.0)


def make_plan(graph: Graph, patches: Windows, itemsize: int) -> Plan:
    """Follow the windows `patches` of the input through the network.

    Args:
        graph: the network.
        patches: of all the patches there will be.
        itemsize: bytes of a number.
    """
    changes: list[Change] = [patches]
    kept: set[int] = set()
    total = plain = 0.0
    largest = 0
    for number, node in enumerate(graph.nodes):
        if number:
            changes.append(_change(graph, node, changes))
        change = changes[number]
        cost = multiply_adds(node, graph)
        plain += cost
        share = change.share if isinstance(change, Windows) else float(change == EVERYWHERE)
        total += cost * share
        kept |= _read(graph, node, change, changes)
        sizes = [_bytes(graph, n, changes[n], itemsize) for n in (number, *node.parents)]
        largest = max(largest, sum(sizes))
    return Plan(tuple(changes), frozenset(kept), total, plain, largest)


def _change(graph: Graph, node: Node, changes: list[Change]) -> Change:
    given = [changes[parent] for parent in node.parents]
    if all(change == CLEAN for change in given):
        return CLEAN
    if EVERYWHERE in given or node.shapes[0] is None or len(node.shapes[0]) != 4:
        return EVERYWHERE
    if any(len(_shape(graph, Ref(parent))) != 4 for parent in node.parents):
        return EVERYWHERE
    rule = _rule(node)
    found = rule(graph, node, changes) if rule else None
    return EVERYWHERE if found is None or found.share >= _NEARLY_ALL else found


_Rule = Callable[[Graph, Node, list[Change]], Windows | None]


def _rule(node: Node) -> _Rule | None:
    kind = packet(node)
    if kind in ELEMENTWISE:
        return _elementwise
    if kind in SLIDING:
        return _sliding
    if kind is aten.cat:
        return _cat
    if kind is aten.constant_pad_nd:
        return _pad
    if kind in _IDENTITY_POOL:
        return _same_size
    return None


def _windows(node: Node, changes: list[Change]) -> list[Windows]:
    found = (changes[parent] for parent in node.parents)
    return [change for change in found if isinstance(change, Windows)]


def _join(windows: list[Windows]) -> Windows:
    return Windows(joined([w.rows for w in windows]), joined([w.cols for w in windows]))


def _elementwise(graph: Graph, node: Node, changes: list[Change]) -> Windows | None:
    plane = node.shapes[0][-2:]  # type: ignore[index]
    if any(_shape(graph, Ref(parent))[-2:] != plane for parent in node.parents):
        return None  # one is spread over the plane of the other
    return _join(_windows(node, changes))


def _sliding(graph: Graph, node: Node, changes: list[Change]) -> Windows | None:
    looks = sliding(node, _shape(graph, node.args[0]))
    if looks is None or len(node.parents) != 1:
        return None
    (given,) = _windows(node, changes)
    height, width = node.shapes[0][-2:]  # type: ignore[index]
    return Windows(looks[0].forward(given.rows, height), looks[1].forward(given.cols, width))


def _cat(graph: Graph, node: Node, changes: list[Change]) -> Windows | None:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if axis not in (1, -3) or not all(isinstance(item, Ref) for item in node.args[0]):
        return None
    return _join(_windows(node, changes))


def _pad(graph: Graph, node: Node, changes: list[Change]) -> Windows | None:
    pads = node.args[1]
    if min(pads) < 0 or len(pads) > 4:
        return None
    (given,) = _windows(node, changes)
    height, width = node.shapes[0][-2:]  # type: ignore[index]
    left, top = pads[0], pads[2] if len(pads) == 4 else 0
    return Windows(_moved(given.rows, top, height), _moved(given.cols, left, width))


def _moved(span: Span, by: int, side: int) -> Span:
    return Span(span.starts + by, span.size, side, span.lows + by, span.highs + by)


def _same_size(graph: Graph, node: Node, changes: list[Change]) -> Windows | None:
    (given,) = _windows(node, changes)
    return given if node.shapes[0] == _shape(graph, node.args[0]) else None


def sliding(node: Node, shape: tuple[int, ...]) -> tuple[Sliding, Sliding] | None:
    """What a convolution or pooling looks at along rows and columns; `None` where not supported."""
    args = (*node.args, *(None,) * 9)
    if packet(node) is aten.convolution:
        weight, stride, padding, dilation, transposed = args[1], *args[3:7]
        if transposed or not isinstance(weight, Tensor):
            return None
        kernel: Any = tuple(weight.shape[-2:])
    elif packet(node) is aten.avg_pool2d:
        kernel, stride, padding, ceil, counted = args[1:6]
        padding, dilation = padding or 0, 1
        padded = max(_pair(padding)) > 0
        # Means over fewer pixels at the edge: their number would depend on the place.
        if (padded and counted is False) or (ceil and not _fits(kernel, stride, padding, shape)):
            return None
    else:
        kernel, stride, padding, dilation = args[1:5]
    stride = stride or kernel
    axes = (_pair(kernel), _pair(stride), _pair(padding or 0), _pair(dilation or 1))
    rows, cols = (Sliding(*(each[axis] for each in axes)) for axis in (0, 1))
    return rows, cols


def _fits(kernel: Any, stride: Any, padding: Any, shape: tuple[int, ...]) -> bool:
    sides = zip(shape[-2:], _pair(kernel), _pair(stride or kernel), _pair(padding), strict=True)
    return all((side + 2 * pad - size) % step == 0 for side, size, step, pad in sides)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def multiply_adds(node: Node, graph: Graph) -> float:
    """Of an operation, for one image."""
    kind = packet(node)
    if kind not in _MATRIX and kind is not aten.convolution:
        formula = flop_registry.get(kind)
        if formula is None:
            return 0.0
    shape = node.shapes[0]
    if shape is None:
        return 0.0
    batch = graph.nodes[0].shapes[0][0]  # type: ignore[index]
    if kind is aten.convolution:
        weight = node.args[1]
        if not isinstance(weight, Tensor):
            return 0.0
        per = weight.numel() // weight.shape[0]
        return math.prod(shape) * per / batch
    if kind in _MATRIX:
        inner = node.args[1] if kind in (aten.addmm, aten.baddbmm) else node.args[0]
        size = inner.shape if isinstance(inner, Tensor) else _shape(graph, inner)
        return math.prod(shape) * size[-1] / batch
    return 0.0


def _shape(graph: Graph, ref: Any) -> tuple[int, ...]:
    return graph.nodes[ref.node].shapes[ref.part] or ()


def _bytes(graph: Graph, number: int, change: Change, itemsize: int) -> int:
    shape = graph.nodes[number].shapes[0]
    if shape is None or change == CLEAN:
        return 0
    share = change.share if isinstance(change, Windows) else 1.0
    return int(math.prod(shape[1:]) * share * itemsize)


def _read(graph: Graph, node: Node, change: Change, changes: list[Change]) -> set[int]:
    """The operations whose clean outputs are read to compute this one."""
    if change == CLEAN:
        return set()
    clean = {parent for parent in node.parents if changes[parent] == CLEAN}
    windows = {p for p in node.parents if isinstance(changes[p], Windows)}
    if change == EVERYWHERE or packet(node) in SLIDING:
        return clean | windows
    moved = {p for p in windows if not _alike(changes[p], change)}
    return clean | (moved if packet(node) is not aten.constant_pad_nd else set())


def _alike(one: Change, other: Change) -> bool:
    return isinstance(one, Windows) and isinstance(other, Windows) and one.same_place(other)
