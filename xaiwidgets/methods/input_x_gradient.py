"""Input x gradient: what each input value contributes, to first order.

    R(x) = x * d S_c(x) / dx

Shrikumar, Greenside, Shcherbina, Kundaje, "Not Just a Black Box", 2016 (arXiv 1605.01713), sec. 3.
For a network of ReLUs without biases it adds up to the score itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.passes import input_gradient
from xaiwidgets.methods.registry import method


@method(
    title="Input x gradient",
    family="gradient",
    paper="Shrikumar et al.: Not Just a Black Box (2016)",
    url="https://arxiv.org/abs/1605.01713",
    needs="gradients",
    shares=("input",),
)
def input_x_gradient(task: Task) -> Iterator[Estimate]:
    """Input times gradient, `(C, H, W)`, in logits; the input is the normalized one."""
    found = input_gradient(task)
    yield Estimate((found * task.x)[0].contiguous().cpu(), 1, 1)
