"""Look through the graph that autograd recorded: what it holds, and what no rule has seen."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from xaiwidgets.engine.rules import Ruled


def names(text: str) -> frozenset[str]:
    """Names of operations, written in one text."""
    return frozenset(text.split())


def nodes(root: Tensor) -> Iterator[Node]:
    """Every node between `root` and the leaves, each once."""
    start = root.grad_fn
    waiting = [] if start is None else [start]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                waiting.append(below)


def operation(node: Node) -> str:
    """The name of the operation a node came from, such as "mul"."""
    plain = re.sub(r"Backward\d*$", "", node.name().split("::")[-1])
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()


def is_ruled(node: Node) -> bool:
    """Whether a rule made it."""
    return isinstance(node, Ruled._backward_cls)


def is_closed(node: Node) -> bool:
    """Whether it hides what it does: an ``autograd.Function`` of the network's own, a script."""
    own = isinstance(node, BackwardCFunction) and not is_ruled(node)
    return own or "jit" in node.name() or "Compiled" in node.name()


MOVES = names(
    """
    view unsafe_view reshape_alias alias as_strided clone copy_slices copy_backwards to_copy
    transpose permute t unsqueeze squeeze expand repeat select slice split split_with_sizes unbind
    cat stack index index_select gather masked_fill roll flip rot90 constant_pad_nd unfold im2_col
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
    replication_pad3d pixel_shuffle pixel_unshuffle diagonal channel_shuffle movedim narrow detach
    native_channel_shuffle repeat_interleave
    """
)
"""Operations that only move values about, so that whatever is sent back moves the same way."""
SELECTS = names(
    """
    max_pool2_dwith_indices max_pool3_dwith_indices adaptive_max_pool2_d adaptive_max_pool3_d amax
    max
    """
)
"""Operations that pick the largest value, which is all that something is sent back to."""


def unserved(root: Tensor, served: frozenset[str]) -> dict[str, int]:
    """Operations that neither a rule nor `served` covers, and how many there are of each."""
    found: dict[str, int] = {}
    for node in nodes(root):
        name = operation(node)
        if is_ruled(node) or name == "accumulate_grad" or (name in served and not is_closed(node)):
            continue
        found[name] = found.get(name, 0) + 1
    return found


def sources(node: Node) -> int:
    """How many of its inputs depend on the image."""
    return sum(below is not None for below, _ in node.next_functions)
