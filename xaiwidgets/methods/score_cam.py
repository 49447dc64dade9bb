"""Score-CAM: a layer's channels, weighted by the score of the photo seen through each.

    H_k = A_k enlarged to the photo, scaled to 0..1,      a = softmax over k of  S_c(x * H_k)
    M = ReLU( sum_k a_k A_k )

Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, "Score-CAM: Score-Weighted Visual Explanations for
Convolutional Neural Networks", 2020 (arXiv 1910.01279), algorithm 1. The score of the baseline that
the paper subtracts is the same for all channels and drops out of the softmax. x is the normalized
input, as in the paper's code.

Masks are made one by one in the batch that runs, never all of them. A channel that is the same
everywhere has no mask; its H_k is 0, and all such channels share one run.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaiwidgets.engine.masking import masked_logits
from xaiwidgets.methods.cams import LayerName, enlarged, place_of, shown
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.passes import activation_at
from xaiwidgets.methods.registry import method


@method(
    title="Score-CAM",
    family="class activation map",
    paper="Wang et al.: Score-CAM: Score-Weighted Visual Explanations (2020)",
    url="https://arxiv.org/abs/1910.01279",
    needs="a layer with spatial extent",
    shares=("layer",),
)
def score_cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """Score-CAM, `(H, W)`, never negative, in units of the activation.

    `detail` of its estimates is a `LayerMap`. Diagnostics: `channels` that were seen through.
    """
    place = place_of(task, layer)
    activation = activation_at(task, place)
    height, width = task.x.shape[-2:]
    spread = activation.amax((1, 2)) - activation.amin((1, 2))
    # Channels that vary most come first, so that an early picture shows most.
    order = spread.argsort(descending=True, stable=True)
    channels = order.tolist()
    varied = int((spread > 0).sum())
    total = min(varied + 1, len(order))

    def paint(image: Tensor, index: int) -> None:
        if index == varied:
            image.zero_()
            return
        # One value is scaled for one channel, so that a mask costs as little as can be.
        mask = enlarged(activation[channels[index]], height, width)
        low = mask.amin()
        image.mul_((mask - low).div_(mask.amax() - low))

    scores = torch.empty(total, dtype=task.logits.dtype)
    for start, stop, logits in masked_logits(task.model, task.x, total, paint, exact=task.exact):
        scores[start:stop] = task.score(logits)
        known = scores[:stop]
        if stop > varied:
            known = torch.cat([known[:varied], known[varied:].expand(len(order) - varied)])
        seen = order[: len(known)]
        weights = torch.zeros(len(order), dtype=activation.dtype, device=activation.device)
        weights[seen] = known.softmax(0).to(weights)
        small = (weights[:, None, None] * activation).sum(0).relu()
        told = {"channels": float(min(stop, varied))}
        yield shown(task, place, small, weights, stop, total, told)
