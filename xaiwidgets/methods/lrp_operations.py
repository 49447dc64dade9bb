"""Relevance through everything that has no weights: adds, pooling, normalization, attention.

What travels back is the relevance itself. Operations that only move values need no rule; of a
maximum, the winner takes all. The others:

- activations, and products with constants: the relevance passes unchanged;
- sums, means, average pooling, normalization: the epsilon rule, each input by its contribution,
  with constants (biases) keeping their own share. A layer normalization counts as linear, its
  standard deviation as a constant;
- products of two activations (gates, attention): each factor gets half;
- softmax s of x: R_i = x_i (R_i - s_i sum_j R_j).

The last two and the normalization are those of Achtibat et al., "AttnLRP: Attention-Aware
Layer-Wise Relevance Propagation for Transformers", 2024 (arXiv 2402.05602), sec. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaiwidgets.engine import attention
from xaiwidgets.engine.attention import attended, attended_with_heads
from xaiwidgets.engine.operators import Call
from xaiwidgets.engine.rules import Handler, Rules, ruled
from xaiwidgets.methods.lrp_layers import divided

PASSING = (
    *("relu", "relu6", "hardtanh", "threshold", "leaky_relu", "rrelu", "elu", "celu", "selu"),
    *("silu", "mish", "hardswish", "hardsigmoid", "softplus", "softsign", "prelu", "gelu"),
    *("sigmoid", "tanh", "clamp", "neg", "normalize"),
)
"""Activations and their like."""
LINEAR = ("mean", "sum", "avg_pool", "adaptive_avg_pool", "interpolate", "batch_norm")
_NORMED_OVER: dict[str, Callable[[Call], tuple[int, ...]]] = {
    "layer_norm": lambda call: tuple(range(-len(tuple(call.args["normalized_shape"])), 0)),
    "rms_norm": lambda call: tuple(range(-len(tuple(call.args["normalized_shape"])), 0)),
}


def weightless(epsilon: float) -> dict[str, Handler]:
    """The rules of this page, by operation."""
    steps = Steps(epsilon)
    return {
        **dict.fromkeys(PASSING, steps.passing),
        **dict.fromkeys(LINEAR, steps.linear),
        **dict.fromkeys(("add", "sub", "rsub"), steps.adding),
        **dict.fromkeys(("layer_norm", "rms_norm", "group_norm"), steps.normalizing),
        "mul": steps.multiplying,
        "div": steps.dividing,
        "softmax": steps.softening,
        "attention": steps.attending,
        "multi_head_attention": steps.attending_with_heads,
    }


class Steps:
    """Handlers that share one epsilon."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def passing(self, rules: Rules, call: Call) -> Tensor:
        """An activation: all relevance passes."""
        return ruled(lambda x: (call.apply(x), lambda relevance: (relevance,)), call.input)

    def linear(self, rules: Rules, call: Call) -> Any:
        """A linear operation on one tensor."""
        return self.contributions(rules, call.apply, call.input)

    def adding(self, rules: Rules, call: Call) -> Any:
        """A residual add: each side by its contribution."""
        return self.contributions(
            rules,
            lambda a, b: call.function(a, b, alpha=call.get("alpha", 1)),
            call.input,
            call.args["other"],
        )

    def multiplying(self, rules: Rules, call: Call) -> Any:
        """A product: a constant takes nothing, two activations half each."""
        a, b = call.input, call.args["other"]
        varying = [t for t in (a, b) if isinstance(t, Tensor) and t.requires_grad]

        def forward(*_given: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
            shapes = [t.shape for t in varying]

            def pull(relevance: Tensor) -> tuple[Tensor, ...]:
                part = relevance / len(shapes)
                return tuple(part.sum_to_size(shape) for shape in shapes)

            return call.function(_plain(a), _plain(b)), pull

        return ruled(forward, *varying)

    def dividing(self, rules: Rules, call: Call) -> Any:
        """A quotient by a constant passes all; by an activation it has no rule."""
        other = call.args["other"]
        if (isinstance(other, Tensor) and other.requires_grad) or call.get("rounding_mode"):
            return NotImplemented
        return self.multiplying(rules, call)

    def normalizing(self, rules: Rules, call: Call) -> Any:
        """Normalization as a linear map, with its standard deviation held."""

        def held(x: Tensor) -> Tensor:
            normal: Tensor = call.apply(x.detach())
            return normal + (_linearized(call, x) - _linearized(call, x).detach())

        return self.contributions(rules, held, call.input)

    def softening(self, rules: Rules, call: Call) -> Tensor:
        """Softmax, by its Taylor expansion at its input."""

        def forward(x: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
            s: Tensor = call.apply(x)
            kept, soft = rules.keep(x), rules.keep(s)
            dim = call.get("dim", -1)

            def pull(relevance: Tensor) -> tuple[Tensor]:
                given = kept.get()
                back = relevance - soft.get() * relevance.sum(dim, keepdim=True)
                # A masked position is minus infinity and takes nothing.
                return (torch.where(torch.isfinite(given), given, 0) * back,)

            return s, pull

        return ruled(forward, call.input)

    def attending(self, rules: Rules, call: Call) -> Tensor:
        """Scaled dot-product attention, step by step."""
        return attended(call, self._attention(rules))

    def attending_with_heads(self, rules: Rules, call: Call) -> Any:
        """Multi-head attention as in ``nn.MultiheadAttention``."""
        return attended_with_heads(rules, call, self._attention(rules))

    def _attention(self, rules: Rules) -> attention.Steps:
        def softmax(x: Tensor) -> Tensor:
            return self.softening(rules, Call("softmax", torch.softmax, {"input": x, "dim": -1}))

        return attention.Steps(
            "LRP",
            lambda function, a, b: self.product(rules, function, a, b),
            softmax,
            lambda scores, mask: self.contributions(rules, torch.add, scores, mask),
        )

    def contributions(self, rules: Rules, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """The epsilon rule for what is linear in its inputs; constants keep their own share."""
        return _by_contribution(rules, function, inputs, self.epsilon, 1)

    def product(
        self, rules: Rules, function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor
    ) -> Tensor:
        """The epsilon rule for what is linear in either of its inputs: half for each."""
        varying = int(a.requires_grad) + int(b.requires_grad)
        return _by_contribution(rules, function, (a, b), self.epsilon, max(varying, 1))


def _by_contribution(
    rules: Rules,
    function: Callable[..., Tensor],
    inputs: tuple[Any, ...],
    epsilon: float,
    parts: int,
) -> Tensor:
    varying = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]

    def forward(*_given: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        kept = {i: rules.keep(t) for i, t in enumerate(inputs) if isinstance(t, Tensor)}

        def pull(relevance: Tensor) -> tuple[Tensor, ...]:
            now = [kept[i].get() if i in kept else value for i, value in enumerate(inputs)]
            with torch.enable_grad():
                leaves = [now[i].detach().requires_grad_(True) for i in varying]
                for i, leaf in zip(varying, leaves, strict=True):
                    now[i] = leaf
                z = function(*now)
            each = divided(relevance, z.detach() * parts, epsilon)
            back = torch.autograd.grad(z, leaves, each)
            return tuple(leaf.detach() * g for leaf, g in zip(leaves, back, strict=True))

        return function(*map(_plain, inputs)), pull

    return ruled(forward, *(inputs[i] for i in varying))


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _linearized(call: Call, x: Tensor) -> Tensor:
    """A normalization of x whose standard deviation is a constant."""
    weight, bias = call.get("weight"), call.get("bias")
    eps = call.get("eps")
    if call.name == "group_norm":
        groups = x.reshape(len(x), call.args["num_groups"], -1)
        centered = groups - groups.mean(-1, keepdim=True)
        spread = centered.detach().square().mean(-1, keepdim=True)
        normal = (centered / (spread + (1e-5 if eps is None else eps)).sqrt()).reshape(x.shape)
        shape = (1, -1, *[1] * (x.ndim - 2))
        weight, bias = (None if v is None else v.reshape(shape) for v in (weight, bias))
    else:
        over = _NORMED_OVER[call.name](call)
        centered = x - x.mean(over, keepdim=True) if call.name == "layer_norm" else x
        if eps is None:
            eps = 1e-5 if call.name == "layer_norm" else torch.finfo(x.dtype).eps
        normal = centered / (centered.detach().square().mean(over, keepdim=True) + eps).sqrt()
    if weight is not None:
        normal = normal * weight
    return normal if bias is None else normal + bias
