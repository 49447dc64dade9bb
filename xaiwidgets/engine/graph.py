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


def sources(node: Node) -> int:
    """How many of its inputs depend on the image."""
    return sum(below is not None for below, _ in node.next_functions)
