"""DeepLIFT: the difference that the photo makes, handed down unit by unit.

Each unit's difference from what it is for a baseline b is shared out to its inputs by multipliers

    m(x_i, y) = (y(x) - y(b)) / (x_i - b_i)    for y a function of x_i alone,

which follow a chain rule like that of gradients, so that

    R_i = m_i (x_i - b_i),    sum of R = S_c(x) - S_c(b)

exactly, also where a gradient is zero because a unit is saturated. Shrikumar, Greenside, Kundaje,
"Learning Important Features Through Propagating Activation Differences", 2017 (arXiv 1704.02685):
the rescale rule. What the paper leaves open (maxima, products, softmax, normalization) is said in
`deeplift_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.graph import is_ruled, nodes
from xaiwidgets.engine.rules import Rules, pulled_back, score_gradient
from xaiwidgets.methods import deeplift_rules
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.path import BASELINE, completeness
from xaiwidgets.methods.registry import method

# Exact but for rounding; more means that the two images were mixed.
_MOST_GAP = 1e-2


@method(
    title="DeepLIFT",
    family="backward rule",
    paper="Shrikumar, Greenside, Kundaje: Learning Important Features (2017)",
    url="https://arxiv.org/abs/1704.02685",
    needs="gradients, operations that have a rule",
)
def deeplift(task: Task, *, baseline: Annotated[Any, BASELINE] = "black") -> Iterator[Estimate]:
    """DeepLIFT by the rescale rule, `(C, H, W)`, in logits.

    Diagnostics: `completeness_gap` (sum of the attribution minus the difference of the scores, in
    logits: rounding), `completeness_relative`, `score_photo`, `score_baseline`, `acted_on`
    (operations that a rule acted on; the others are linear).

    Raises:
        ValueError: when the network uses an operation that has no rule, or treats the images of a
            batch together.
    """
    start = task.model.pixels_to_input(blank(task, baseline)).reshape(task.x.shape)
    acted = 0

    def check(logits: Tensor, x: Tensor) -> None:
        nonlocal acted
        deeplift_rules.check(logits, x)
        acted = sum(map(is_ruled, nodes(logits)))

    def of_the_photo(logits: Tensor) -> Tensor:
        found = score_gradient(task.score)(logits)
        return torch.cat([found[:1], torch.zeros_like(found[1:])])

    rules = Rules(deeplift_rules.handlers())
    pair = torch.cat([task.x, start])
    found, logits = pulled_back(task.model, rules, pair, of_the_photo, check, exact=task.exact)
    value = (found[0] * (task.x - start)[0]).contiguous().cpu()
    end_score, start_score = task.score(logits).tolist()
    told = completeness(value, start_score, end_score)
    if abs(told["completeness_gap"]) > _MOST_GAP * max(abs(start_score), abs(end_score), 1e-6):
        raise ValueError(
            "DeepLIFT's shares do not sum to the difference of the scores "
            f"({told['completeness_gap']:.3g} off), so this network treats the images of a batch "
            "together, or computes in a way that its rules do not see. Use integrated_gradients."
        )
    yield Estimate(value, 1, 1, {**told, "acted_on": float(acted)})
