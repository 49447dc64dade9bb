"""Rules for rectifiers: guided backprop and its relatives.

A rectifier is an activation that is positive exactly where its input is: ReLU and all that stand in
for it (ReLU6, LeakyReLU, ELU, GELU, SiLU, Hardswish, ...). Other non-linear operations, such as the
sigmoid of a gate or the softmax of an attention, keep their plain gradient and are counted, so that
a result says what it acted on and what it did not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Network, Score
from xaiwidgets.engine.graph import is_closed, names, nodes, operation
from xaiwidgets.engine.operators import Call
from xaiwidgets.engine.rules import Handler, Rules, ruled, ruled_pass, score_gradient

Gate = Callable[["Rectifier", Tensor], Tensor]
"""Takes a rectifier and what arrives at its output, gives what its input gets."""

_TITLES = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "hardtanh": "Hardtanh",
    "threshold": "Threshold",
    "clamp": "Clamp",
    "leaky_relu": "LeakyReLU",
    "prelu": "PReLU",
    "rrelu": "RReLU",
    "elu": "ELU",
    "celu": "CELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "hardswish": "Hardswish",
    "softplus": "Softplus",
}
# Their derivative is 1 or 0, and 1 wherever they are positive and not clipped.
_HARD = {"relu", "relu6", "hardtanh", "threshold", "clamp"}
# Non-linear operations as autograd names them; a rectifier among them was missed.
_LEFT = names(
    """
    sigmoid tanh softmax log_softmax hardsigmoid hardtanh softsign clamp clamp_min clamp_max exp
    log sqrt rsqrt pow abs maximum minimum where masked_fill erf sin cos atan glu threshold
    log_sigmoid_forward
    """
)
_MISSED = names(
    """
    relu leaky_relu prelu prelu_kernel rrelu_with_noise elu celu selu gelu silu mish hardswish
    softplus
    """
)


@dataclass(frozen=True)
class Rectifier:
    """One call of a rectifier, on its way back.

    Attributes:
        input: what it was given.
        hard: it is a ReLU, perhaps clipped, not one of its smooth or leaky relatives.
    """

    call: Call
    input: Tensor
    hard: bool

    @property
    def output(self) -> Tensor:
        """The activation."""
        with torch.no_grad():
            result: Tensor = self.call.apply(self.input)
        return result

    @property
    def slope(self) -> Tensor:
        """Its derivative; that of a clipped or switched-off ReLU is 0."""
        with torch.enable_grad():
            leaf = self.input.detach().requires_grad_(True)
            (found,) = torch.autograd.grad(self.call.apply(leaf).sum(), leaf)
        return found


@dataclass(frozen=True)
class Acted:
    """What a rule acted on.

    Attributes:
        rectifiers: how many of each kind.
        others: how many of each kind of non-linear operation kept their plain gradient.
    """

    rectifiers: dict[str, int]
    others: dict[str, int]

    def __str__(self) -> str:
        """Such as "17 ReLU6, 0 others"."""
        acted = [f"{count} {title}" for title, count in self.rectifiers.items()] or ["0 rectifiers"]
        named = ", ".join(f"{count} {title}" for title, count in self.others.items())
        others = f"{sum(self.others.values())} others" + (f" ({named})" if named else "")
        return ", ".join([*acted, others])

    def diagnostics(self) -> dict[str, float]:
        """The same as numbers: `acted_on`, `acted_on_relu6`, ..., `not_acted_on`."""
        kinds = {f"acted_on_{title.lower()}": float(n) for title, n in self.rectifiers.items()}
        return {
            "acted_on": float(sum(self.rectifiers.values())),
            **kinds,
            "not_acted_on": float(sum(self.others.values())),
        }


def rectified(
    model: Network,
    x: Tensor,
    score: Score,
    gate: Gate,
    title: str,
    *,
    exact: bool = False,
    more: dict[str, Handler] | None = None,
) -> tuple[Tensor, Acted]:
    """The gradient of `score` at `x` with every rectifier's way back replaced by `gate`.

    Args:
        model: the network.
        x: inputs, `(N, C, H, W)`.
        score: picks one number of each row of logits.
        gate: the rule.
        title: of the method, for errors.
        exact: run the network without conv-BN folding.
        more: rules for operations that are no rectifiers.

    Returns:
        What arrives at the input, `(N, C, H, W)`, and what the rule acted on.

    Raises:
        ValueError: when there is nothing to act on, or a rectifier that cannot be reached.
    """
    return RectifiedPass(model, x, exact=exact, more=more).back(score, gate, title)


class RectifiedPass:
    """One forward pass, and ways back through it with the rectifiers' replaced by any gate.

    Args:
        model: the network.
        x: inputs, `(N, C, H, W)`.
        exact: run the network without conv-BN folding.
        more: rules for operations that are no rectifiers.

    Raises:
        ValueError: when the logits do not depend on the input.
    """

    def __init__(
        self,
        model: Network,
        x: Tensor,
        *,
        exact: bool = False,
        more: dict[str, Handler] | None = None,
    ) -> None:
        self._model = model
        self._gate: Gate | None = None
        self._rules = Rules(dict.fromkeys(_TITLES, _handler(self._gated)) | (more or {}))
        self._leaf, self._logits = ruled_pass(model, self._rules, x, exact=exact)

    @property
    def logits(self) -> Tensor:
        """Of the inputs, `(N, K)`."""
        return self._logits.detach()

    def back(
        self, score: Score, gate: Gate, title: str, *, again: bool = False
    ) -> tuple[Tensor, Acted]:
        """As `rectified`; with `again` the graph stays for more."""
        acted = _acted(self._rules, self._logits, title)
        start = score_gradient(score)(self._logits.detach())
        self._gate = gate
        # The rules' own operations must not meet the rules.
        with torch.enable_grad(), self._model.running():
            (found,) = torch.autograd.grad(self._logits, self._leaf, start, retain_graph=again)
        return found, acted

    def _gated(self, unit: Rectifier, arriving: Tensor) -> Tensor:
        assert self._gate is not None
        return self._gate(unit, arriving)


def _handler(gate: Gate) -> Handler:
    def handle(rules: Rules, call: Call) -> Any:
        if not _rectifies(call) or not isinstance(call.input, Tensor):
            return NotImplemented
        rules.acted[_title(call)] += 1

        def forward(x: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
            kept = rules.keep(x)

            def pull(arriving: Tensor) -> tuple[Tensor]:
                return (gate(Rectifier(call, kept.get(), call.name in _HARD), arriving),)

            return call.apply(x), pull

        return ruled(forward, call.input)

    return handle


def _rectifies(call: Call) -> bool:
    """Positive exactly where the input is, as a call with such arguments."""
    if call.name == "hardtanh":
        return bool(call.get("min_val", -1.0) == 0)
    if call.name == "clamp":
        low = call.get("min")
        return isinstance(low, int | float) and low == 0
    if call.name == "threshold":
        return bool(call.get("threshold") == 0 and call.get("value") == 0)
    return True


def _title(call: Call) -> str:
    if call.name == "hardtanh" and call.get("max_val", 1.0) == 6:
        return "ReLU6"
    return _TITLES[call.name]


def _acted(rules: Rules, logits: Tensor, title: str) -> Acted:
    others: dict[str, int] = {}
    for node in nodes(logits):
        name = operation(node)
        if is_closed(node) or name in _MISSED:
            raise ValueError(
                f'{title} cannot reach into "{name}": the network does it inside of a script or an '
                "autograd.Function of its own, so its way back cannot be replaced. Write it with "
                "torch's own activations, or use integrated_gradients."
            )
        if name in _LEFT or name.startswith("scaled_dot_product"):
            kind = "attention" if name.startswith("scaled") else name
            others[kind] = others.get(kind, 0) + 1
    acted = Acted(dict(rules.acted), others)
    if not acted.rectifiers:
        raise ValueError(
            f"{title} found nothing to act on ({acted}): it changes how ReLU and its relatives "
            "send gradients back, and without one it would be the plain gradient. Use saliency or "
            "integrated_gradients for this network."
        )
    return acted
