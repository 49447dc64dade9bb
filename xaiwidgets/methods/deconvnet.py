"""DeconvNet: the class score projected back to the pixels that would raise it.

On its way back through a ReLU, whatever is positive is let through; the forward pass plays no part:

    R_in = max(R_out, 0)

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2014 (arXiv 1311.2901),
sec. 2.1. Every other rectifier (ReLU6, LeakyReLU, GELU, ...) gets the same rule.

Max-pooling is undone by its switches, the places of the maxima in the forward pass. The paper's
windows do not overlap there; where they do and several share one maximum, it receives the sum of
what arrives, as in the gradient, not the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from xaiwidgets.engine.rectifiers import Rectifier
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.passes import rectified
from xaiwidgets.methods.registry import method


def deconvolved(_unit: Rectifier, arriving: Tensor) -> Tensor:
    """The rule of one rectifier."""
    return arriving.clamp(min=0)


@method(
    title="DeconvNet",
    family="backward rule",
    paper="Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (2014)",
    url="https://arxiv.org/abs/1311.2901",
    needs="gradients, ReLU or a relative",
    shares=("rectifiers",),
)
def deconvnet(task: Task) -> Iterator[Estimate]:
    """DeconvNet, `(C, H, W)`, in units of logit per input unit.

    Diagnostics and errors are those of guided backprop.
    """
    found, acted = rectified(task, deconvolved, "DeconvNet")
    yield Estimate(found[0].contiguous().cpu(), 1, 1, acted.diagnostics(), acted)
