"""Multipliers of the difference between a photo and a baseline, operation by operation.

A network runs on both at once, the photo in the first half of the batch. What travels back in that
half are multipliers m: the sum of m times the difference of an operation's inputs is the sum of m
times the difference of its outputs, exactly. What is linear in the image keeps its gradient. The
others:

- elementwise f: m_in = m_out (f(x) - f(b)) / (x - b), the rescale rule;
- a maximum: where the photo's is the higher one its winner takes the difference, else the
  baseline's winner does;
- a product of two activations: the mean of the photo's and the baseline's other factor;
- softmax: as the exponential of x_i minus the log of the sum, see `_softening`;
- attention and normalization: products, softmax, square and root in turn, each by its rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaiwidgets.engine import attention
from xaiwidgets.engine.attention import attended, attended_with_heads
from xaiwidgets.engine.graph import MOVES, is_ruled, names, nodes, operation, sources, unserved
from xaiwidgets.engine.operators import Call
from xaiwidgets.engine.rules import Handler, Rules, ruled

_ELEMENTWISE = (
    *("relu", "relu6", "hardtanh", "threshold", "leaky_relu", "rrelu", "elu", "celu", "selu"),
    *("silu", "mish", "hardswish", "hardsigmoid", "softplus", "softsign", "prelu", "gelu"),
    *("sigmoid", "tanh", "clamp", "logsigmoid", "tanhshrink", "exp", "log", "sqrt", "rsqrt"),
    *("square", "erf", "abs", "log1p"),
)
_MAXIMA = (
    *("max_pool1d", "max_pool2d", "max_pool3d"),
    *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax"),
)
_LINEAR = names(
    """
    convolution addmm add sub rsub neg mean sum avg_pool2_d avg_pool3_d adaptive_avg_pool2_d
    adaptive_avg_pool3_d native_batch_norm cudnn_batch_norm miopen_batch_norm
    upsample_nearest1_d upsample_nearest2_d upsample_bilinear2_d upsample_bicubic2_d
    upsample_linear1_d upsample_bilinear2_daa upsample_bicubic2_daa
    """
)
_BILINEAR = names("mul div mm bmm mv dot")
"""Linear as long as one factor does not depend on the image."""


def handlers() -> dict[str, Handler]:
    """The rules of this page, by operation."""
    return {
        **dict.fromkeys(_ELEMENTWISE, _elementwise),
        **dict.fromkeys(_MAXIMA, _maximum),
        **dict.fromkeys(("layer_norm", "rms_norm", "group_norm"), _normalizing),
        "mul": _multiplying,
        "matmul": _multiplying,
        "einsum": _einsum,
        "div": _dividing,
        "pow": _power,
        "softmax": _softening,
        "attention": lambda rules, call: attended(call, _attention(rules)),
        "multi_head_attention": lambda rules, call: attended_with_heads(
            rules, call, _attention(rules)
        ),
    }


def check(logits: Tensor, _x: Tensor) -> None:
    """Refuse what no rule covers.

    Raises:
        ValueError: naming the operations.
    """
    missing = unserved(logits, MOVES | _LINEAR | _BILINEAR)
    for node in nodes(logits):
        if operation(node) in _BILINEAR and not is_ruled(node) and sources(node) > 1:
            missing[operation(node)] = missing.get(operation(node), 0) + 1
    if missing:
        named = ", ".join(f"{name} ({count})" for name, count in missing.items())
        raise ValueError(
            f"DeepLIFT has no rule for operations that this network uses: {named}. Use another "
            "method, such as integrated_gradients, which keeps the same sum, or write the network "
            "with torch's own layers."
        )


def rescaled(rules: Rules, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """An elementwise function by the rescale rule."""

    def forward(given: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
        kept = rules.keep(given)

        def pull(multipliers: Tensor) -> tuple[Tensor]:
            now = kept.get()
            photo, blank = now.chunk(2)
            out_photo, out_blank = function(now).chunk(2)
            slope = _slope(function, now)
            change = photo - blank
            size = torch.maximum(photo.abs(), blank.abs())
            # Below that a quotient of differences is rounding, and a slope is as good.
            near = change.abs() <= torch.finfo(now.dtype).eps ** 0.7 * size
            steep = (out_photo - out_blank) / torch.where(near, 1, change)
            return (_first_half(multipliers, torch.where(near, slope, steep)),)

        return function(given), pull

    return ruled(forward, x)


def _slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The derivative half-way between photo and baseline, `(N, ...)`."""
    # As a batch of its own size: a parameter of the function may have been made for that.
    middle = _mean_of_halves(x.detach()).clone()
    with torch.enable_grad():
        leaf = middle.requires_grad_(True)
        (found,) = torch.autograd.grad(function(leaf).sum(), leaf)
    first: Tensor = found.chunk(2)[0]
    return first


def _first_half(multipliers: Tensor, factor: Tensor) -> Tensor:
    """Those of the photo times `factor`; the baseline's are not asked for."""
    photo, blank = multipliers.chunk(2)
    return torch.cat([photo * factor, torch.zeros_like(blank)])


def bilinear(
    rules: Rules, function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor
) -> Tensor:
    """A function that is linear in either of two activations."""
    if not (a.requires_grad and b.requires_grad):
        return function(a, b)

    def forward(x: Tensor, y: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        kept = rules.keep(x), rules.keep(y)

        def pull(multipliers: Tensor) -> tuple[Tensor, ...]:
            now = [each.get().detach() for each in kept]
            means = [_mean_of_halves(each) for each in now]
            with torch.enable_grad():
                left, right = (each.requires_grad_(True) for each in now)
                (to_left,) = torch.autograd.grad(function(left, means[1]), left, multipliers)
                (to_right,) = torch.autograd.grad(function(means[0], right), right, multipliers)
            return to_left, to_right

        return function(x, y), pull

    return ruled(forward, a, b)


def _mean_of_halves(x: Tensor) -> Tensor:
    if x.shape[0] % 2:
        raise ValueError(
            "DeepLIFT met a product with an activation that does not belong to one image alone."
        )
    photo, blank = x.chunk(2)
    return ((photo + blank) / 2).repeat(2, *(1,) * (x.ndim - 1))


def _elementwise(rules: Rules, call: Call) -> Any:
    return rescaled(rules, call.apply, call.input)


def _power(rules: Rules, call: Call) -> Any:
    if isinstance(call.args.get("exponent"), Tensor):
        return NotImplemented
    return rescaled(rules, call.apply, call.input)


def _maximum(rules: Rules, call: Call) -> Any:
    if call.get("return_indices", False):
        return NotImplemented

    def forward(given: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
        kept = rules.keep(given)

        def pull(multipliers: Tensor) -> tuple[Tensor]:
            now = kept.get()
            with torch.enable_grad():
                leaf = now.detach().requires_grad_(True)
                output = call.apply(leaf)
            photo, blank = output.detach().chunk(2)
            shares = multipliers.chunk(2)[0] * (photo - blank)
            higher = photo > blank
            given_out = torch.cat([torch.where(higher, shares, 0), torch.where(higher, 0, shares)])
            won = torch.autograd.grad(output, leaf, given_out)[0].chunk(2)
            change = now.chunk(2)[0] - now.chunk(2)[1]
            # Whoever takes a difference differs by at least as much.
            factor = (won[0] + won[1]) / torch.where(change == 0, 1, change)
            return (torch.cat([factor, torch.zeros_like(factor)]),)

        return call.apply(given), pull

    return ruled(forward, call.input)


def _multiplying(rules: Rules, call: Call) -> Any:
    a, b = call.input, call.args["other"]
    varying = all(isinstance(each, Tensor) and each.requires_grad for each in (a, b))
    return bilinear(rules, call.function, a, b) if varying else NotImplemented


def _einsum(rules: Rules, call: Call) -> Any:
    equation, a, b = (call.args.get(name) for name in ("equation", "input", "other"))
    if not isinstance(equation, str) or not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return NotImplemented
    if not (a.requires_grad and b.requires_grad):
        return NotImplemented
    return bilinear(rules, lambda x, y: torch.einsum(equation, x, y), a, b)


def _dividing(rules: Rules, call: Call) -> Any:
    a, b = call.input, call.args["other"]
    if not (isinstance(b, Tensor) and b.requires_grad) or call.get("rounding_mode"):
        return NotImplemented
    one_over = rescaled(rules, torch.reciprocal, b)
    return bilinear(rules, torch.mul, a, one_over) if isinstance(a, Tensor) else a * one_over


def _softening(rules: Rules, call: Call) -> Any:
    """Softmax: with L the logarithmic mean of photo and baseline, the log of the sum differs by the
    mean of the inputs' differences weighted by L, and each output by L times what is left."""

    def forward(x: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
        soft: Tensor = call.apply(x)
        kept, dim = rules.keep(x), call.get("dim", -1)

        def pull(multipliers: Tensor) -> tuple[Tensor]:
            photo, blank = torch.log_softmax(kept.get(), dim).chunk(2)
            apart = (photo - blank).abs()
            rise = torch.where(apart == 0, 1, -torch.expm1(-apart) / apart)
            # What is masked has no share, in either image.
            mean = (torch.maximum(photo, blank).exp() * rise).nan_to_num(0, 0, 0)
            each = mean * multipliers.chunk(2)[0]
            found = each - mean / mean.sum(dim, keepdim=True) * each.sum(dim, keepdim=True)
            return (torch.cat([found, torch.zeros_like(found)]),)

        return soft, pull

    return ruled(forward, call.input)


def _attention(rules: Rules) -> attention.Steps:
    def softmax(x: Tensor) -> Tensor:
        found: Tensor = _softening(rules, Call("softmax", torch.softmax, {"input": x, "dim": -1}))
        return found

    return attention.Steps(
        "DeepLIFT",
        lambda function, a, b: bilinear(rules, function, a, b),
        softmax,
        torch.add,
    )


def _normalizing(rules: Rules, call: Call) -> Any:
    x, eps = call.input, call.get("eps")
    weight, bias = call.get("weight"), call.get("bias")
    if call.name == "group_norm":
        parts = x.reshape(len(x), call.args["num_groups"], -1)
        over: tuple[int, ...] = (-1,)
        shape = (1, -1, *[1] * (x.ndim - 2))
        weight, bias = (None if each is None else each.reshape(shape) for each in (weight, bias))
    else:
        parts, over = x, tuple(range(-len(tuple(call.args["normalized_shape"])), 0))
    if eps is None:
        eps = torch.finfo(x.dtype).eps if call.name == "rms_norm" else 1e-5
    centered = parts if call.name == "rms_norm" else parts - parts.mean(over, keepdim=True)
    variance = rescaled(rules, torch.square, centered).mean(over, keepdim=True)
    one_over = rescaled(rules, torch.rsqrt, variance + eps)
    normal = bilinear(rules, torch.mul, centered, one_over).reshape(x.shape)
    if weight is not None:
        normal = normal * weight
    return normal if bias is None else normal + bias
