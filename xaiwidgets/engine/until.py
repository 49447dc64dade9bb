"""Run a network up to a layer, and no further."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from torch import Tensor, nn


class Layered(Protocol):
    """A model whose layers have names."""

    @property
    def net(self) -> nn.Module:
        """The prepared network as it is written."""

    def layer(self, name: str) -> nn.Module:
        """One of its modules."""

    def laid(self, x: Tensor) -> Tensor:
        """The input as the network takes it: a copy where it would write into it."""


class _Reached(BaseException):
    """Leaves the forward pass; no network's own ``except Exception`` catches it."""


def activation(model: Layered, x: Tensor, name: str) -> Tensor:
    """What layer `name` gives for `x`, as the network is written (no folding).

    Nothing after the layer is computed, so that an in-place activation that follows it cannot
    overwrite what it gave.

    Args:
        model: holds the prepared network.
        x: normalized input, `(N, C, H, W)`.
        name: of the layer, as in `Model.layers`.

    Raises:
        ValueError: for an unknown layer, or one that a forward pass does not reach or that gives
            no tensor.
    """
    module = model.layer(name)
    thread = threading.get_ident()
    reached: list[Any] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        # Another thread may be running the same network.
        if threading.get_ident() == thread:
            reached.append(output)
            raise _Reached

    handle = module.register_forward_hook(keep)
    try:
        model.net(model.laid(x))
    except _Reached:
        pass
    finally:
        handle.remove()
    output = reached[0] if reached else None
    if isinstance(output, list | tuple) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        said = "is not reached by a forward pass" if not reached else "gives no tensor"
        raise ValueError(f'Layer "{name}" {said}. Choose another one of model.layers().')
    return output
