"""What happens in one pass of a network, in order: modules, the sizes of maps, joined tokens.

`Model.layers` shows a network as a tree; to choose a layer one must know more: what came last, how
often a module was used, how large the maps and how many the tokens were for this size of photo. One
pass tells; the answer holds no tensors and is kept for the network.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Shape = tuple[int, ...]


class Surveyed(Protocol):
    """A model that can be surveyed."""

    @property
    def net(self) -> nn.Module:
        """The prepared network as it is written."""

    @property
    def fast(self) -> nn.Module:
        """The same network with its normalizations folded."""

    def layer(self, name: str) -> nn.Module:
        """One module of `net`."""

    def logits(self, x: Tensor, *, exact: bool = False) -> Tensor:
        """The scores of all classes, `(N, K)`."""


@dataclass(frozen=True)
class Step:
    """A module gave something.

    Attributes:
        name: of the module, "" for the network itself.
        use: 1 for the first time that it ran.
        began: number of operators that had run before it.
        ended: and after it.
        shape: of what it gave, `None` when that is not one tensor.
        kind: of what it gave: "tensor", or the name of its class.
    """

    name: str
    use: int
    began: int
    ended: int
    shape: Shape | None
    kind: str


@dataclass
class Survey:
    """One pass of a network.

    Attributes:
        input: shape of what went in.
        steps: modules in the order in which they ended.
        uses: how often each module ran, by name.
        results: for each shape without its batch axis, the numbers of the operators that gave it.
        maps: `(number, height, width)` of what each convolution gave, numbered by operators.
        joins: `(number, axis, lengths)` of each concatenation of tokens `(N, T, D)`.
        names: of the operators, by number.
    """

    input: Shape
    steps: list[Step] = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)
    results: dict[Shape, list[int]] = field(default_factory=dict)
    maps: list[tuple[int, int, int]] = field(default_factory=list)
    joins: list[tuple[int, int, Shape]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def last(self, name: str) -> Step:
        """The last use of a module that ran."""
        return next(step for step in reversed(self.steps) if step.name == name)

    @property
    def token_counts(self) -> set[int]:
        """Second axes of all that looked like tokens, `(N, T, D)`."""
        return {shape[0] for shape in self.results if len(shape) == 2}


_kept: weakref.WeakKeyDictionary[nn.Module, dict[Shape, Survey]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def survey(model: Surveyed, x: Tensor, *, exact: bool = False) -> Survey:
    """What happens when the network runs on `x`; kept for each network and size of input."""
    net = model.net if exact else model.fast
    shape = tuple(x.shape)
    with _lock:
        found = _kept.setdefault(net, {}).get(shape)
    if found is None:
        found = _look(model, net, x, exact)
        with _lock:
            _kept[net][shape] = found
    return found


def _look(model: Surveyed, net: nn.Module, x: Tensor, exact: bool) -> Survey:
    seen = Survey(tuple(x.shape))
    thread = threading.get_ident()
    running: list[tuple[str, int]] = []

    def begin(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any) -> None:
            if threading.get_ident() == thread:
                running.append((name, len(seen.names)))

        return hook

    def end(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if threading.get_ident() != thread:
                return
            began = running.pop()
            # A module that raised and was caught by its network has no end.
            while began[0] != name:
                began = running.pop()
            seen.uses[name] += 1
            shape = tuple(output.shape) if isinstance(output, Tensor) else None
            kind = "tensor" if shape is not None else type(output).__name__
            count = len(seen.names)
            seen.steps.append(Step(name, seen.uses[name], began[1], count, shape, kind))

        return hook

    with ExitStack() as stack:
        for name, module in net.named_modules():
            for handle in (
                module.register_forward_pre_hook(begin(name)),
                module.register_forward_hook(end(name)),
            ):
                stack.callback(handle.remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_Operators(seen))
        model.logits(x, exact=exact)
    return seen


class _Operators(TorchFunctionMode):
    """Notes the shapes that operators give."""

    def __init__(self, seen: Survey) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # What is made of the output behind the network depends on the target.
        if isinstance(result, Tensor) and not self._seen.uses[""]:
            number = len(self._seen.names)
            self._seen.names.append(getattr(func, "__name__", "operator"))
            self._seen.results.setdefault(tuple(result.shape[1:]), []).append(number)
            if func is torch.conv2d and result.ndim == 4:
                self._seen.maps.append((number, result.shape[2], result.shape[3]))
            if func in (torch.cat, torch.concat, torch.concatenate) and result.ndim == 3:
                self._note_join(number, args, kwargs)
        return result

    def _note_join(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = dict(zip(("tensors", "dim"), args, strict=False)) | kwargs
        axis = int(call.get("dim", call.get("axis", 0))) % 3
        lengths = tuple(part.shape[axis] for part in call["tensors"])
        self._seen.joins.append((number, axis, lengths))


def spatial_steps(seen: Survey) -> Iterator[Step]:
    """Modules other than the network itself that gave one tensor of 3 or 4 axes, last first."""
    for step in reversed(seen.steps):
        if step.name and step.shape is not None and len(step.shape) in (3, 4):
            yield step
