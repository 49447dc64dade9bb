"""The logits of a network together with what some of its layers gave, all in one graph."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from torch import Tensor, nn

from xaiwidgets.engine.precision import widened


class Layered(Protocol):
    """A model whose layers have names."""

    def logits(self, x: Tensor, *, exact: bool = False) -> Tensor:
        """The scores of all classes, `(N, K)`."""

    def layer(self, name: str) -> nn.Module:
        """One module of the network as it is written."""


def logits_and_features(
    model: Layered, x: Tensor, names: list[str]
) -> tuple[Tensor, list[list[Tensor]]]:
    """Run the network as it is written (no folding), and keep what some layers give.

    Args:
        model: holds the prepared network.
        x: normalized inputs, `(N, C, H, W)`.
        names: of the layers.

    Returns:
        Logits `(N, K)`, and for each layer its outputs, one for each time that it is used. They are
        copies: an operation in place that follows cannot change them.

    Raises:
        ValueError: for an unknown layer, or one that a forward pass does not reach or that gives no
            tensor of numbers.
    """
    thread = threading.get_ident()
    kept: list[list[Tensor]] = [[] for _ in names]
    handles = []

    def keeper(place: list[Tensor]) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # Another thread may be running the same network.
            if threading.get_ident() != thread:
                return
            if isinstance(output, list | tuple) and output:
                output = output[0]
            if isinstance(output, Tensor) and output.is_floating_point():
                place.append(widened(output.clone()))

        return keep

    try:
        for name, place in zip(names, kept, strict=True):
            handles.append(model.layer(name).register_forward_hook(keeper(place)))
        logits = model.logits(x, exact=True)
    finally:
        for handle in handles:
            handle.remove()
    for name, place in zip(names, kept, strict=True):
        if not place:
            raise ValueError(
                f'Layer "{name}" is not reached by a forward pass, or gives no tensor. '
                "Choose others of model.layers()."
            )
    return logits, kept
