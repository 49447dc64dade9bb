"""Attention as the steps that it is made of, each of which a rule can act on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.operators import Call
from xaiwidgets.engine.rules import Rules


@dataclass(frozen=True)
class Steps:
    """How a rule does the steps.

    Attributes:
        name: of the method, for its errors.
        product: of two activations, by a function that is linear in either.
        softmax: over the last axis.
        shifted: scores plus a mask that is added.
    """

    name: str
    product: Callable[[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor], Tensor]
    softmax: Callable[[Tensor], Tensor]
    shifted: Callable[[Tensor, Tensor], Tensor]


def attended(call: Call, steps: Steps) -> Tensor:
    """Scaled dot-product attention.

    Raises:
        ValueError: for grouped queries.
    """
    query, key, value = (call.args[name] for name in ("query", "key", "value"))
    if call.get("enable_gqa", False):
        raise ValueError(f"{steps.name} has no rule for grouped-query attention.")
    scale = call.get("scale", query.shape[-1] ** -0.5)
    scores = steps.product(lambda q, k: (q * scale) @ k.transpose(-2, -1), query, key)
    mask = call.get("attn_mask")
    if call.get("is_causal", False):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = steps.shifted(scores, mask)
    return steps.product(torch.matmul, steps.softmax(scores), value)


def attended_with_heads(rules: Rules, call: Call, steps: Steps) -> tuple[Tensor, None]:
    """Multi-head attention as in ``nn.MultiheadAttention``; its weights are not given out.

    Raises:
        ValueError: for padding masks, extra keys or extra values.
    """
    unusual = ("bias_k", "bias_v", "static_k", "static_v", "key_padding_mask")
    if any(call.get(name) is not None for name in unusual) or call.get("add_zero_attn", False):
        raise ValueError(
            f"{steps.name} has no rule for multi-head attention with padding masks, extra keys or "
            "extra values."
        )
    heads = call.args["num_heads"]
    projected = []
    for tensor, weight, bias in _projections(call):
        whole = _linear(rules, tensor, weight, bias)
        # (L, N, E) or (L, E) to (N, heads, L, E / heads)
        whole = whole if whole.ndim == 3 else whole.unsqueeze(1)
        split = whole.reshape(*whole.shape[:-1], heads, -1)
        projected.append(split.permute(1, 2, 0, 3))
    arguments = dict(zip(("query", "key", "value"), projected, strict=True))
    mask = call.get("attn_mask")
    if mask is not None and mask.ndim == 3:
        mask = mask.unflatten(0, (-1, heads))
    if mask is not None and mask.dtype == torch.bool:
        mask = ~mask
    arguments["attn_mask"] = mask
    together = attended(
        Call("attention", functional.scaled_dot_product_attention, arguments), steps
    )
    together = together.permute(2, 0, 1, 3).flatten(2)
    if call.input.ndim == 2:
        together = together.squeeze(1)
    return _linear(rules, together, call.args["out_proj_weight"], call.args["out_proj_bias"]), None


def _linear(rules: Rules, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    given = {"input": x, "weight": weight, "bias": bias}
    found = rules.do(Call("linear", functional.linear, given))
    if found is NotImplemented:
        found = functional.linear(x, weight, bias)
    result: Tensor = found
    return result


def _projections(call: Call) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Input, weight and bias of the query, the key and the value."""
    weights: Any = call.get("in_proj_weight")
    if call.get("use_separate_proj_weight", False):
        weights = [call.args[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = weights.chunk(3)
    bias = call.get("in_proj_bias")
    biases = [None] * 3 if bias is None else bias.chunk(3)
    inputs = [call.args[name] for name in ("query", "key", "value")]
    return list(zip(inputs, weights, biases, strict=True))
