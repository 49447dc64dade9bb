"""Ablation-CAM: a layer's channels, weighted by how much of the score is lost without each.

    w_k = (S_c - S_c with A_k set to 0) / S_c,      M = ReLU( sum_k w_k A_k )

Desai, Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via
Gradient-free Localization", 2020 (WACV).

Only the part of the network behind the layer is run, once for each channel that is not zero
already. Where that part is global average pooling and a linear layer, S_c is linear in the
channels' means, and w_k = v_k mean(A_k) / S_c with v_k the linear layer's weight: nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaiwidgets.methods.cams import LayerName, linear_head, place_of, shown
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.passes import head_of
from xaiwidgets.methods.registry import method


@method(
    title="Ablation-CAM",
    family="class activation map",
    paper="Desai, Ramaswamy: Ablation-CAM: Gradient-free Localization (2020)",
    url="https://doi.org/10.1109/WACV45572.2020.9093360",
    needs="a layer with spatial extent",
    shares=("head",),
)
def ablation_cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """Ablation-CAM, `(H, W)`, never negative, in units of the activation.

    `detail` of its estimates is a `LayerMap`. Diagnostics: `channels`, of the layer; `closed_form`,
    1 where nothing had to be run, else 0.

    Raises:
        ValueError: when the score is 0, of which nothing can be lost.
    """
    place = place_of(task, layer)
    head = head_of(task, place)
    activation = head.activation
    score = float(task.score(task.logits[None]))
    if score == 0:
        raise ValueError(
            "Ablation-CAM divides by the score, which is 0 for this photo and class. "
            "Choose another class, or use grad_cam."
        )
    told = {"channels": float(len(activation))}
    linear = linear_head(task, head)
    if linear is not None and linear.is_affine(activation):
        weights = linear.weights * activation.mean((1, 2)) / score
        yield shown(
            task, place, _map(weights, activation), weights, 1, 1, told | {"closed_form": 1}
        )
        return
    told["closed_form"] = 0.0
    # Strong channels first, so that an early picture shows most; one that is zero loses nothing.
    strength = activation.abs().mean((1, 2))
    order = strength.argsort(descending=True, stable=True)[: int((strength > 0).sum())]
    weights = strength.new_zeros(len(activation))
    if not len(order):
        yield shown(task, place, _map(weights, activation), weights, 1, 1, told)

    def without(start: int, stop: int) -> Tensor:
        rows = activation.repeat(stop - start, 1, 1, 1)
        rows[torch.arange(stop - start, device=rows.device), order[start:stop]] = 0
        return rows

    for start, stop, logits in head.batches(len(order), without):
        left = task.score(logits).to(weights)
        weights[order[start:stop]] = (score - left) / score
        small = _map(weights, activation)
        yield shown(task, place, small, weights, stop, len(order), told)


def _map(weights: Tensor, activation: Tensor) -> Tensor:
    return (weights[:, None, None] * activation).sum(0).relu()
