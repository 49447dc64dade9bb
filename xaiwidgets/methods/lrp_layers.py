"""The rules of layer-wise relevance propagation for layers with weights.

A layer z = x W + b hands its relevance R down in shares of what each input contributed. Every rule
here is of one form: parts (x_p, W_p, b_p) are made of the layer's own input and weights, and

    R_i = sum over p of  x_p,i * sum over j of  W_p,ij * R_j / stab(sum over p of (x_p W_p + b_p)_j)

With v+ = max(v, 0) and v- = min(v, 0):

- epsilon: (x, W, b), with stab(z) = z + epsilon sign(z)
- z_plus: (x+, W+, b+), (x-, W-, 0)
- alpha-beta: alpha times the shares of (x+, W+, b+), (x-, W-, 0), minus beta times those of
  (x+, W-, b-), (x-, W+, 0)
- gamma: where z > 0, (x+, W + gamma W+, b + gamma b+), (x-, W + gamma W-, 0); where z < 0,
  (x+, W + gamma W-, b + gamma b-), (x-, W + gamma W+, 0)
- flat: (1, 1, 0)
- z_box: (x, W, 0), (-l, W+, 0), (-h, W-, 0), with l and h the lowest and highest image

Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
Propagation", 2015 (epsilon, alpha-beta); Montavon et al., "Explaining nonlinear classification
decisions with deep Taylor decomposition", 2017 (z+, z-box); Montavon et al., "Layer-Wise Relevance
Propagation: An Overview", 2019 (gamma; here for inputs and outputs of either sign); Lapuschkin et
al., "Unmasking Clever Hans predictors", 2019 (flat).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Apply = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]
"""A layer as a function of its input, its weight and its bias."""


@dataclass(frozen=True)
class Layer:
    """One layer with weights, as it was called.

    Attributes:
        apply: what it computes, linear in its input and weight together with its bias.
        weight: of the layer.
        bias: of the layer, or `None`.
    """

    apply: Apply
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Settings:
    """What the rules' names leave open.

    Attributes:
        epsilon: of the epsilon rule, and the stabilizer of all others, at least 0.
        gamma: of the gamma rule, at least 0.
        low: the lowest image `(1, C, H, W)`, normalized: black.
        high: the highest: white.
    """

    epsilon: float
    gamma: float
    low: Tensor
    high: Tensor


class Part(NamedTuple):
    """One (x, W, b) of a rule."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None


Rule = Callable[[Layer, Tensor, Tensor, Settings], Tensor]
"""Takes a layer, its input and the relevance of its output, gives the relevance of its input."""


def stable(z: Tensor, epsilon: float) -> Tensor:
    """z moved away from zero by epsilon; a zero goes up."""
    return z + torch.where(z < 0, -epsilon, epsilon)


def divided(relevance: Tensor, z: Tensor, epsilon: float) -> Tensor:
    """R / stab(z), nothing where that would be a division by zero."""
    below = stable(z, epsilon)
    return torch.where(below == 0, 0, relevance / torch.where(below == 0, 1, below))


def shares(apply: Apply, parts: list[Part], relevance: Tensor, epsilon: float) -> Tensor:
    """The relevance of the input by the one form of all rules."""
    with torch.enable_grad():
        leaves = [part.x.detach().requires_grad_(True) for part in parts]
        outputs = [
            apply(leaf, part.weight, part.bias) for leaf, part in zip(leaves, parts, strict=True)
        ]
    z = torch.stack([output.detach() for output in outputs]).sum(0)
    each = divided(relevance, z, epsilon)
    pulled = torch.autograd.grad(outputs, leaves, [each] * len(outputs))
    result = parts[0].x * pulled[0]
    for part, back in zip(parts[1:], pulled[1:], strict=True):
        result = result + part.x * back
    return result


def _epsilon(layer: Layer, x: Tensor, relevance: Tensor, settings: Settings) -> Tensor:
    return shares(layer.apply, [Part(x, layer.weight, layer.bias)], relevance, settings.epsilon)


def _signed(x: Tensor, up: Part, down: Part) -> list[Part]:
    """x+ with what `up` holds and x- with what `down` holds, where there is any x-."""
    parts = [Part(x.clamp(min=0), up.weight, up.bias)]
    if bool((x < 0).any()):
        parts.append(Part(x.clamp(max=0), down.weight, down.bias))
    return parts


def _positive(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clamp(min=0)


def _negative(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clamp(max=0)


def _alpha_beta(alpha: float, beta: float) -> Rule:
    def rule(layer: Layer, x: Tensor, relevance: Tensor, settings: Settings) -> Tensor:
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        for_it = _signed(x, Part(x, up, _positive(layer.bias)), Part(x, down, None))
        result = alpha * shares(layer.apply, for_it, relevance, settings.epsilon)
        if beta:
            against = _signed(x, Part(x, down, _negative(layer.bias)), Part(x, up, None))
            result = result - beta * shares(layer.apply, against, relevance, settings.epsilon)
        return result

    return rule


def _gamma(layer: Layer, x: Tensor, relevance: Tensor, settings: Settings) -> Tensor:
    weight, bias, gamma = layer.weight, layer.bias, settings.gamma
    up = weight + gamma * weight.clamp(min=0)
    down = weight + gamma * weight.clamp(max=0)
    bias_up = None if bias is None else bias + gamma * bias.clamp(min=0)
    bias_down = None if bias is None else bias + gamma * bias.clamp(max=0)
    z = layer.apply(x, weight, bias)
    above = _signed(x, Part(x, up, bias_up), Part(x, down, None))
    below = _signed(x, Part(x, down, bias_down), Part(x, up, None))
    return shares(layer.apply, above, relevance * (z > 0), settings.epsilon) + shares(
        layer.apply, below, relevance * (z < 0), settings.epsilon
    )


def _flat(layer: Layer, x: Tensor, relevance: Tensor, settings: Settings) -> Tensor:
    part = Part(torch.ones_like(x), torch.ones_like(layer.weight), None)
    return shares(layer.apply, [part], relevance, settings.epsilon)


def _z_box(layer: Layer, x: Tensor, relevance: Tensor, settings: Settings) -> Tensor:
    low, high = settings.low.expand_as(x), settings.high.expand_as(x)
    if bool(((x < low - 1e-3) | (x > high + 1e-3)).any()):
        raise ValueError("The z-box rule needs an input between black and white.")
    parts = [
        Part(x, layer.weight, None),
        Part(-low, layer.weight.clamp(min=0), None),
        Part(-high, layer.weight.clamp(max=0), None),
    ]
    return shares(layer.apply, parts, relevance, settings.epsilon)


RULES: dict[str, Rule] = {
    "epsilon": _epsilon,
    "gamma": _gamma,
    "z_plus": _alpha_beta(1, 0),
    "alpha1_beta0": _alpha_beta(1, 0),
    "alpha2_beta1": _alpha_beta(2, 1),
    "flat": _flat,
    "z_box": _z_box,
}
