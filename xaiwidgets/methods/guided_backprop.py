"""Guided backprop: the gradient of what speaks for the class, through what is switched on.

On its way back through a ReLU with input z, what arrives is let through only where it is positive
and the unit is on:

    R_in = 1[z > 0] * max(R_out, 0)

Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for Simplicity: The All Convolutional Net",
2015 (arXiv 1412.6806), sec. 3.4. A unit at exactly 0 is off.

The paper knows ReLUs only. For other rectifiers f (ReLU6, LeakyReLU, ELU, GELU, SiLU, Hardswish)
the rule is R_in = 1[z > 0] * f'(z) * max(R_out, 0), which is the paper's for f = ReLU. Gates and
attention (sigmoid, softmax) keep their plain gradient; the diagnostics count both.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaiwidgets.engine.rectifiers import Rectifier
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.passes import rectified
from xaiwidgets.methods.registry import method


def guided(unit: Rectifier, arriving: Tensor) -> Tensor:
    """The rule of one rectifier."""
    return torch.where(unit.input > 0, unit.slope * arriving.clamp(min=0), 0)


@method(
    title="Guided backprop",
    family="backward rule",
    paper="Springenberg et al.: Striving for Simplicity: The All Convolutional Net (2015)",
    url="https://arxiv.org/abs/1412.6806",
    needs="gradients, ReLU or a relative",
    shares=("rectifiers",),
)
def guided_backprop(task: Task) -> Iterator[Estimate]:
    """Guided backprop, `(C, H, W)`, in units of logit per input unit.

    Diagnostics: `acted_on` and `acted_on_relu`, ... (rectifiers that the rule acted on),
    `not_acted_on` (other non-linear operations); `detail` says the same as text.

    Raises:
        ValueError: when the network has no rectifier that can be reached.
    """
    found, acted = rectified(task, guided, "Guided backprop")
    yield Estimate(found[0].contiguous().cpu(), 1, 1, acted.diagnostics(), acted)
