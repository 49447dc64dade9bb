"""Saliency: the gradient of the class score with respect to each pixel.

    R(x) = d S_c(x) / dx

Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", 2013 (arXiv 1312.6034), eq. 4.
The paper shows the maximum over channels of its absolute value; here the attribution stays
signed, and that reduction is the view's.
"""

from __future__ import annotations

from collections.abc import Iterator

from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.passes import input_gradient
from xaiwidgets.methods.registry import method


@method(
    title="Saliency",
    family="gradient",
    paper="Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks (2013)",
    url="https://arxiv.org/abs/1312.6034",
    needs="gradients",
    shares=("input",),
)
def saliency(task: Task) -> Iterator[Estimate]:
    """The gradient of the target's logit, `(C, H, W)`, in units of logit per input unit."""
    found = input_gradient(task)
    yield Estimate(found[0].contiguous().cpu(), 1, 1)
