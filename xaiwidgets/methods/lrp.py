"""Layer-wise relevance propagation: the class score handed down, layer by layer, to the pixels.

Every unit hands its relevance down to its inputs in shares of what they contributed to it, so that
the sum stays the same; which shares, is the layer's rule (see `lrp_layers` and `lrp_operations`).
Bach, Binder, Montavon, Klauschen, Mueller, Samek, "On Pixel-Wise Explanations for Non-Linear
Classifier Decisions by Layer-Wise Relevance Propagation", 2015
(https://doi.org/10.1371/journal.pone.0130140).

A composite says which layer gets which rule:

    name                    first       convolutions    linear
    epsilon                 -           epsilon         epsilon
    epsilon_plus            -           z_plus          epsilon
    epsilon_plus_flat       flat        z_plus          epsilon
    epsilon_gamma_box       z_box       gamma           epsilon
    epsilon_alpha2_beta1    -           alpha2_beta1    epsilon

"First" are the layers that read the image. The rules are defined for convolutions that have their
batch normalization folded in, so that is how the network is run here, whatever the precision asked
for; a normalization that cannot be folded is a layer of its own, with the epsilon rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.graph import MOVES, SELECTS, is_ruled, nodes, unserved
from xaiwidgets.engine.operators import Call
from xaiwidgets.engine.rules import Rules, pulled_back, ruled, score_gradient
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.lrp_layers import RULES, Layer, Settings
from xaiwidgets.methods.lrp_operations import Steps, weightless
from xaiwidgets.methods.params import Choice, Flag, Range
from xaiwidgets.methods.registry import method
from xaiwidgets.targets import nearest

COMPOSITES: dict[str, dict[str, str]] = {
    "epsilon": {},
    "epsilon_plus": {"conv": "z_plus"},
    "epsilon_plus_flat": {"conv": "z_plus", "first": "flat"},
    "epsilon_gamma_box": {"conv": "gamma", "first": "z_box"},
    "epsilon_alpha2_beta1": {"conv": "alpha2_beta1"},
}
_CONVOLUTIONS = (
    *("conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
)


def _any_mapping(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError("a composite of your own is a mapping from layers to rules")
    for layer, rule in value.items():
        if not isinstance(layer, str) or not isinstance(rule, str):
            raise TypeError("layers and rules are given by their names")
        if rule not in RULES:
            close = nearest(rule, list(RULES))
            raise ValueError(f'there is no rule "{rule}"; rules: {", ".join(close or RULES)}')
    return dict(value)


@method(
    title="LRP",
    family="backward rule",
    paper="Bach et al.: On Pixel-Wise Explanations by Layer-Wise Relevance Propagation (2015)",
    url="https://doi.org/10.1371/journal.pone.0130140",
    needs="gradients, operations that have a rule",
)
def lrp(
    task: Task,
    *,
    composite: Annotated[
        Any,
        Choice(
            tuple(COMPOSITES),
            "Composite",
            help="Which layer hands its relevance down by which rule.",
            also=_any_mapping,
            also_text='a mapping from "first", "conv", "linear" or the name of a layer to a rule',
        ),
    ] = "epsilon_plus",
    epsilon: Annotated[
        float,
        Range(0, 1, 0.001, "Epsilon", help="Damps units whose contributions nearly cancel."),
    ] = 1e-6,
    gamma: Annotated[
        float,
        Range(0, 10, 0.05, "Gamma", help="How much the gamma rule favors positive weights."),
    ] = 0.25,
    biases: Annotated[
        bool,
        Flag(
            "Biases take a share",
            help="As in the paper; without, only units that are on by their bias alone keep any.",
        ),
    ] = True,
) -> Iterator[Estimate]:
    """Relevance, `(C, H, W)`, in logits; it sums to the target's logit up to the leak.

    A mapping as `composite` takes the rules epsilon, gamma, z_plus, alpha1_beta0, alpha2_beta1,
    flat and z_box; the name of a layer also stands for all layers inside of it, and the longest
    name that fits decides. What is not mentioned gets epsilon.

    Diagnostics: `leak` (the logit minus the sum of the relevance: what biases and epsilon kept),
    `leak_relative` (its size relative to the logit), `acted_on` (operations with a rule) and
    `layers_epsilon`, `layers_z_plus`, ... (layers with weights by rule).

    Raises:
        ValueError: when the network uses an operation that has no rule, or does not fit the
            composite.
    """
    chosen = COMPOSITES[composite] if isinstance(composite, str) else composite
    size = task.x.shape[-2:]
    black = torch.zeros(task.x.shape[1], *size)
    low = task.model.pixels_to_input(black).reshape(task.x.shape)
    high = task.model.pixels_to_input(black + 1).reshape(task.x.shape)
    layers = _Layers(task, chosen, Settings(epsilon, gamma, low, high), biases)
    named = dict.fromkeys((*_CONVOLUTIONS, "linear", "matmul", "einsum"), layers.handle)
    rules = Rules(weightless(epsilon) | named)

    def start(logits: Tensor) -> Tensor:
        return logits * score_gradient(task.score)(logits)

    found, logits = pulled_back(task.model, rules, task.x, start, layers.check)
    value = found[0].contiguous().cpu()
    score = float(start(logits).sum(dtype=torch.float64))
    leak = score - float(value.sum(dtype=torch.float64))
    diagnostics = {
        "leak": leak,
        "leak_relative": abs(leak) / max(abs(score), 1e-12),
        "acted_on": float(layers.operations),
        **{f"layers_{rule}": float(count) for rule, count in rules.acted.items()},
    }
    yield Estimate(value, 1, 1, diagnostics)


class _Layers:
    """Gives each layer with weights its rule."""

    def __init__(
        self, task: Task, chosen: Mapping[str, str], settings: Settings, biases: bool
    ) -> None:
        self.task = task
        self.biases = biases
        self.chosen = chosen
        self.settings = settings
        self.steps = Steps(settings.epsilon)
        self.operations = 0
        self._nodes: set[int] = set()
        self._paths = {
            id(parameter): path.rpartition(".")[0]
            for path, parameter in task.model.fast.named_parameters()
        }
        known = {path for path, _ in task.model.fast.named_modules()}
        for name in chosen:
            if name not in ("first", "conv", "linear") and name not in known:
                close = ", ".join(nearest(name, sorted(known))) or "see model.layers()"
                raise ValueError(
                    f'composite names a layer "{name}", which the network does not have. '
                    f'Allowed: "first", "conv", "linear", or a layer ({close}).'
                )

    def handle(self, rules: Rules, call: Call) -> Any:
        """A convolution, a linear layer, or a product of two activations."""
        if call.name == "einsum":
            return self._einsum(rules, call)
        if call.name == "matmul":
            a, b = call.input, call.args["other"]
            if a.requires_grad and b.requires_grad:
                return self.steps.product(rules, torch.matmul, a, b)
            if a.requires_grad:
                layer = Layer(lambda x, w, bias: x @ w, b, None)
            else:
                a, layer = b, Layer(lambda x, w, bias: w @ x, a, None)
            return self._ruled(rules, "linear", layer, a)
        rest = {k: v for k, v in call.args.items() if k not in ("input", "weight", "bias")}
        weight = call.args["weight"]
        if weight.requires_grad:
            return NotImplemented
        layer = Layer(
            lambda x, w, bias: call.function(x, w, bias, **rest), weight, call.get("bias")
        )
        kind = "conv" if call.name in _CONVOLUTIONS else "linear"
        return self._ruled(rules, kind, layer, call.input)

    def _einsum(self, rules: Rules, call: Call) -> Any:
        equation, a, b = (call.args.get(n) for n in ("equation", "input", "other"))
        if not isinstance(equation, str) or not isinstance(a, Tensor) or not isinstance(b, Tensor):
            return NotImplemented
        return self.steps.product(rules, lambda x, y: torch.einsum(equation, x, y), a, b)

    def _ruled(self, rules: Rules, kind: str, layer: Layer, x: Tensor) -> Tensor:
        name = self._choose(kind, layer, x)
        rule, settings = RULES[name], self.settings
        if name == "z_box" and not (
            x.shape == self.task.x.shape and torch.equal(x.detach(), self.task.x)
        ):
            raise ValueError(
                "The z_box rule is for a layer that reads the image as it is, but this network "
                "changes it first, or the rule was given to a later layer. Choose "
                'composite="epsilon_plus_flat", or another rule for that layer.'
            )
        rules.acted[name] += 1
        shared = layer if self.biases else replace(layer, bias=None)

        def forward(given: Tensor) -> tuple[Tensor, Any]:
            kept = rules.keep(given)
            pull = lambda relevance: (rule(shared, kept.get(), relevance, settings),)  # noqa: E731
            return layer.apply(given, layer.weight, layer.bias), pull

        result = ruled(forward, x)
        self._nodes.add(id(result.grad_fn))
        return result

    def _choose(self, kind: str, layer: Layer, x: Tensor) -> str:
        # A part of a packed weight counts as the whole.
        whole = layer.weight if layer.weight._base is None else layer.weight._base
        path = self._paths.get(id(whole), "")
        while path:
            if path in self.chosen:
                return self.chosen[path]
            path = path.rpartition(".")[0]
        if "first" in self.chosen and not any(id(node) in self._nodes for node in nodes(x)):
            return self.chosen["first"]
        return self.chosen.get(kind, "epsilon")

    def check(self, logits: Tensor, _x: Tensor) -> None:
        """Refuse what no rule covers.

        Raises:
            ValueError: naming the operations.
        """
        missing = unserved(logits, MOVES | SELECTS)
        if missing:
            named = ", ".join(f"{name} ({count})" for name, count in missing.items())
            raise ValueError(
                f"LRP has no rule for operations that this network uses: {named}. Use another "
                "method, such as integrated_gradients, or write the network with torch's own "
                "layers."
            )
        self.operations = sum(map(is_ruled, nodes(logits)))
        if not self._nodes:
            raise ValueError("LRP found no layer with weights to act on in this network.")
