"""Change how operations send gradients back, while what they compute stays the same.

`Rules` is a ``torch.overrides.TorchFunctionMode``: while the network runs inside of it, every
operation that has a rule is replaced by one ``autograd.Function`` whose backward pass is the
rule's. It acts on calls, not on modules, so that ``nn.ReLU``, ``F.relu``, ``x.relu_()``, reused
modules and residual adds are all the same to it. A mode belongs to the thread that enters it, so
another thread may run the same network meanwhile.
"""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.overrides import TorchFunctionMode

from xaiwidgets.engine.gradients import Network, Score
from xaiwidgets.engine.operators import Call, read_call, tensors, written

Pull = Callable[[Tensor], "tuple[Tensor | None, ...]"]
"""Takes what arrives from above and gives what each input gets."""
Forward = Callable[..., "tuple[Tensor, Pull]"]
"""Takes the inputs without their graph, gives the output and the way back."""
Handler = Callable[["Rules", Call], Any]
"""Does a call by its rule, or gives `NotImplemented` to leave it as it is."""


class Kept:
    """A tensor that the way back needs, safe from later in-place operations."""

    def __init__(self, tensor: Tensor) -> None:
        # Without its graph: an output that hangs on its own node would never be freed.
        self._tensor = tensor.detach()
        self._version = self._tensor._version

    def copy(self) -> None:
        """Part from a storage that is about to be written to."""
        self._tensor = self._tensor.clone()
        self._version = self._tensor._version

    def get(self) -> Tensor:
        """The tensor as it was kept.

        Raises:
            ValueError: when it was overwritten by an operation that did not show.
        """
        if self._tensor._version != self._version:
            raise ValueError(
                "The network overwrites an activation in a way that cannot be followed. Use "
                "operations that are not in place, or a method that needs gradients only, such as "
                "integrated_gradients."
            )
        return self._tensor


class Rules(TorchFunctionMode):
    """Runs a network with the operations in `handlers` done by their rules.

    Args:
        handlers: by the name of the operation.

    Attributes:
        acted: how many operations of each title were acted on.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        super().__init__()
        self.handlers = handlers
        self.acted: Counter[str] = Counter()
        self._kept: defaultdict[int, weakref.WeakSet[Kept]] = defaultdict(weakref.WeakSet)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in written(func, args, kwargs):
            self._part(tensor)
        call = read_call(func, args, kwargs)
        result = NotImplemented if call is None else self.do(call)
        if result is NotImplemented:
            return func(*args, **kwargs)
        if call is not None and call.writes:
            # Every later reader, views included, must see the new values.
            target: Tensor = call.input
            # Its old values may have been kept just now.
            self._part(target)
            return target.copy_(result)
        return result

    def do(self, call: Call) -> Any:
        """Do a call by its rule; `NotImplemented` where it has none or needs none."""
        handler = self.handlers.get(call.name)
        if handler is None or not torch.is_grad_enabled():
            return NotImplemented
        if not any(tensor.requires_grad for tensor in tensors([call.args])):
            return NotImplemented
        return handler(self, call)

    def keep(self, tensor: Tensor) -> Kept:
        """Keep a tensor for the way back."""
        kept = Kept(tensor)
        if tensor.numel():
            self._kept[tensor.untyped_storage().data_ptr()].add(kept)
        return kept

    def _part(self, tensor: Tensor) -> None:
        """Copy what was kept of a storage that is about to be overwritten."""
        if self._kept and tensor.numel() and tensor.layout is torch.strided:
            for kept in self._kept.pop(tensor.untyped_storage().data_ptr(), ()):
                kept.copy()


class Ruled(torch.autograd.Function):
    """An operation whose backward pass is the rule's."""

    @staticmethod
    def forward(ctx: FunctionCtx, forward: Forward, *inputs: Tensor) -> Tensor:
        """Do the operation."""
        output, ctx.pull = forward(*inputs)  # type: ignore[attr-defined]
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Send back what the rule says."""
        return (None, *ctx.pull(*grads))  # type: ignore[attr-defined]


def ruled(forward: Forward, *inputs: Tensor) -> Tensor:
    """Do an operation with a way back of its own.

    Args:
        forward: takes the inputs without their graph; gives the output, a new tensor, and the
            function that turns what arrives from above into what each input gets.
        inputs: of the operation.
    """
    result: Tensor = Ruled.apply(forward, *inputs)
    return result


def pulled_back(
    model: Network,
    rules: Rules,
    x: Tensor,
    start: Callable[[Tensor], Tensor],
    check: Callable[[Tensor, Tensor], None],
    *,
    exact: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the network under rules, and send something back from its logits to the input.

    Args:
        model: the network.
        rules: made for this one run.
        x: inputs, `(N, C, H, W)`.
        start: what is sent back, from the logits `(N, K)`.
        check: sees the logits and the input with the graph between them, and raises where the
            rules do not suffice.
        exact: run the network without conv-BN folding.

    Returns:
        What arrives at the input, `(N, C, H, W)`, and the logits.

    Raises:
        ValueError: when the score does not depend on the input, or the network runs in bfloat16.
    """
    if model.precision == "bf16":
        raise ValueError(
            "These rules compute shares that must add up, which they do not in bfloat16. "
            'Use precision="fast"; one pass takes no long time.'
        )
    leaf, logits = ruled_pass(model, rules, x, exact=exact)
    with torch.enable_grad(), model.running():
        check(logits, leaf)
        # The rules' own operations must not meet the rules.
        (found,) = torch.autograd.grad(logits, leaf, start(logits.detach()))
    return found, logits.detach()


def ruled_pass(
    model: Network, rules: Rules, x: Tensor, *, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """Run the network under rules: the input and the logits, with the graph between them.

    Raises:
        ValueError: when the logits do not depend on the input.
    """
    x = x.detach().contiguous(memory_format=model.memory_format).requires_grad_(True)
    with torch.enable_grad(), rules:
        logits = model.logits(x, exact=exact)
    if not logits.requires_grad:
        raise ValueError(
            "The score does not depend on the image through differentiable operations, so "
            "nothing can be sent back to it. Use a method that needs no gradients, such as "
            "occlusion, or remove torch.no_grad / detach from the network's forward."
        )
    return x, logits


def score_gradient(score: Score) -> Callable[[Tensor], Tensor]:
    """What a plain gradient starts from: the derivative of the score by each logit."""

    def start(logits: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_(True)
            (found,) = torch.autograd.grad(score(leaf).sum(), leaf)
        return found

    return start
