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
from torch.nn import functional

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
        query, key, value = (call.args[name] for name in ("query", "key", "value"))
        if call.get("enable_gqa", False):
            raise ValueError("LRP has no rule for grouped-query attention.")
        scale = call.get("scale", query.shape[-1] ** -0.5)
        scores = self.product(rules, lambda q, k: (q * scale) @ k.transpose(-2, -1), query, key)
        mask = call.get("attn_mask")
        if call.get("is_causal", False):
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            scores = self.contributions(rules, torch.add, scores, mask)
        soft = self.softening(rules, Call("softmax", torch.softmax, {"input": scores, "dim": -1}))
        return self.product(rules, torch.matmul, soft, value)

    def attending_with_heads(self, rules: Rules, call: Call) -> Any:
        """Multi-head attention as in ``nn.MultiheadAttention``."""
        unusual = ("bias_k", "bias_v", "static_k", "static_v", "key_padding_mask")
        if any(call.get(name) is not None for name in unusual) or call.get("add_zero_attn", False):
            raise ValueError(
                "LRP has no rule for multi-head attention with padding masks, extra keys or extra "
                "values."
            )
        heads = call.args["num_heads"]
        projected = []
        for tensor, weight, bias in _projections(call):
            whole = rules.do(
                Call("linear", functional.linear, {"input": tensor, "weight": weight, "bias": bias})
            )
            if whole is NotImplemented:
                whole = functional.linear(tensor, weight, bias)
            # (L, N, E) or (L, E) to (N, heads, L, E / heads)
            whole = whole if whole.ndim == 3 else whole.unsqueeze(1)
            split = whole.unflatten(-1, (heads, whole.shape[-1] // heads))
            projected.append(split.permute(1, 2, 0, 3))
        arguments = dict(zip(("query", "key", "value"), projected, strict=True))
        mask = call.get("attn_mask")
        if mask is not None and mask.ndim == 3:
            mask = mask.unflatten(0, (-1, heads))
        if mask is not None and mask.dtype == torch.bool:
            mask = ~mask
        arguments["attn_mask"] = mask
        together = self.attending(
            rules, Call("attention", functional.scaled_dot_product_attention, arguments)
        )
        together = together.permute(2, 0, 1, 3).flatten(2)
        if call.input.ndim == 2:
            together = together.squeeze(1)
        names = ("out_proj_weight", "out_proj_bias")
        given = {"input": together, "weight": call.args[names[0]], "bias": call.args[names[1]]}
        return rules.do(Call("linear", functional.linear, given)), None

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
        groups = x.unflatten(1, (call.args["num_groups"], -1)).flatten(2)
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


def _projections(call: Call) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Input, weight and bias of the query, the key and the value."""
    weights = call.get("in_proj_weight")
    if call.get("use_separate_proj_weight", False):
        weights = [call.args[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = weights.chunk(3)
    bias = call.get("in_proj_bias")
    biases = [None] * 3 if bias is None else bias.chunk(3)
    inputs = [call.args[name] for name in ("query", "key", "value")]
    return list(zip(inputs, weights, biases, strict=True))
