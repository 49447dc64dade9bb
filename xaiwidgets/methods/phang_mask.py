"""A mask that keeps the class where it lets through, and leaves nothing of it elsewhere.

    argmin over m of  w_out L_out(F(x_out)) + w_in L_in(F(x_in)) + w_size ||m||_1 + w_tv TV(m)

    x_in = M x + (1 - M) r,   x_out = (1 - M) x + M r
    L_in = -log p_c,   L_out = -entropy of p  (or log p_c)

Phang, Park, Geras, "Investigating and Simplifying Masking-based Saliency Methods for Model
Interpretability", 2020 (arXiv 2010.09750): they find that both directions together matter
most, and that maximal entropy is a good aim for what is masked out. There a second network learns
to give the masks of all photos; here the same three terms are minimized for the one photo.

Details of our own: ||m||_1 and TV are means over cells, so that weights mean the same at any size;
differences well below 0.001 add nothing to TV; the entropy is divided by its largest value, log K,
and L_in likewise; M is the upsampled mask of coarse cells; Adam with rate 0.05 from a mask of one
half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from xaiwidgets.engine.descent import chained, descend
from xaiwidgets.methods.baselines import BLANKS, blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.masks import RESOLUTION, Upsampling, blend, cells, variation
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method

_RATE = 0.05
_SIGMA = 5 / 8
_TINY = 1e-12
_ROUNDING = 1e-3


@method(
    title="Masked in and out (Phang)",
    family="mask",
    paper="Phang, Park, Geras: Investigating and Simplifying Masking-based Saliency Methods for "
    "Model Interpretability (2020)",
    url="https://arxiv.org/abs/2010.09750",
    needs="gradients",
    widget="PhangMask",
    # A difference of probabilities has no logarithm, and other numbers have no entropy.
    targets=("class", "classes"),
)
def phang_mask(
    task: Task,
    *,
    iterations: Annotated[int, Range(2, 1000, 1, "Iterations", help="Steps of Adam.")] = 100,
    w_out: Annotated[
        float,
        Range(0, 10, 0.1, "Weight out", help="Weight of L_out: what is masked out tells nothing."),
    ] = 1.0,
    w_in: Annotated[
        float,
        Range(0, 10, 0.1, "Weight in", help="Weight of L_in: what is masked in is the class."),
    ] = 1.0,
    w_size: Annotated[
        float, Range(0, 10, 0.1, "Size weight", help="Weight of the mask's mean.")
    ] = 1.0,
    w_tv: Annotated[
        float, Range(0, 10, 0.1, "Roughness weight", help="Weight of the mask's variation.")
    ] = 0.5,
    out: Annotated[
        str,
        Choice(
            ("entropy", "probability"),
            "Aim out",
            help="What is masked out: make all classes alike, or make the class improbable.",
        ),
    ] = "entropy",
    reference: Annotated[
        str, Choice(BLANKS, "Reference", help="What is shown where the photo is taken away.")
    ] = "blur",
    resolution: Annotated[int, RESOLUTION] = 28,
) -> Iterator[Estimate]:
    """The mask, `(H, W)`, 0 to 1: 1 is important.

    Diagnostics: `probability_photo`; `probability_in` and `probability_out` (of the class, for what
    the mask lets through and for the rest); `loss_in`, `loss_out`, `regularization` (weighted
    terms), `loss` (their sum); `area` (mean of the mask).

    Raises:
        ValueError: for a network with a single class.
    """
    classes = len(task.logits)
    if classes < 2:
        raise ValueError(
            "The network has one class, whose softmax is always 1. This method needs at least two; "
            'use meaningful_perturbation with score="logit" instead.'
        )
    x, frame = task.x, (task.x.shape[-2], task.x.shape[-1])
    empty = task.model.pixels_to_input(blank(task, reference)).reshape(x.shape)
    coarse = cells(task, resolution)
    upsample = Upsampling(coarse, frame, _SIGMA, x)
    count = coarse[0] * coarse[1]
    largest = math.log(classes)

    def images(mask: Tensor) -> Tensor:
        wide = upsample(mask)
        return torch.cat([blend(x, empty, wide), blend(empty, x, wide)])

    def loss(logits: Tensor, start: int, stop: int) -> Tensor:
        logs = logits.log_softmax(1)
        named = task.score(logs.exp()).clamp_min(_TINY).log()
        outside = (logs.exp() * logs).sum(1) if out == "entropy" else named
        each = torch.stack([-w_in * named, w_out * outside])
        # Row 0 is masked in, row 1 is masked out, however they are batched.
        return each[range(start, stop), range(stop - start)] / largest

    def penalty(mask: Tensor) -> Tensor:
        return (w_size * mask.sum() + w_tv * variation(mask, 1, _ROUNDING)) / count

    def slope(mask: Tensor, _: int) -> tuple[Tensor, tuple[Tensor, float, Tensor]]:
        found, total, logits = chained(task.model, mask, images, loss, penalty, exact=task.exact)
        return found, (upsample(mask)[0, 0], total, logits)

    start = x.new_full((1, 1, *coarse), 0.5)
    clean = float(task.score(task.logits[None].softmax(1)))
    for done, (mask, total, logits) in descend(start, slope, iterations=iterations, rate=_RATE):
        kept, left = loss(logits, 0, 2).tolist()
        inside, outside = task.score(logits.softmax(1)).tolist()
        shown = mask.cpu()
        yield Estimate(
            shown,
            2 * done,
            2 * iterations,
            {
                "probability_photo": clean,
                "probability_in": inside,
                "probability_out": outside,
                "loss_in": kept,
                "loss_out": left,
                "regularization": total - kept - left,
                "loss": total,
                "area": float(shown.mean()),
            },
        )
