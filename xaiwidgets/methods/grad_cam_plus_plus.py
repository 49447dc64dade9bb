"""Grad-CAM++: positive gradients, weighted so that each place of an object counts alike.

    a_k(i, j) = g^2 / (2 g^2 + G_k g^3),    g = dS_c / dA_k(i, j),    G_k = sum over places of A_k
    w_k = sum over places of  a_k ReLU(g),      M = ReLU( sum_k w_k A_k )

Chattopadhyay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++: Improved Visual Explanations for Deep
Convolutional Networks", 2018 (arXiv 1710.11063), eq. 19 and 5. The paper's class score is exp(S_c),
which turns its higher derivatives into powers of g; the factor exp(S_c) that all weights have in
common is left out. a_k is 0 where its denominator is.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaiwidgets.methods.cams import LayerName, weighted
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.registry import method


@method(
    title="Grad-CAM++",
    family="class activation map",
    paper="Chattopadhyay et al.: Grad-CAM++: Improved Visual Explanations (2018)",
    url="https://arxiv.org/abs/1710.11063",
    needs="gradients, a layer with spatial extent",
)
def grad_cam_plus_plus(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """Grad-CAM++, `(H, W)`, never negative.

    `detail` of its estimate is a `LayerMap`.
    """
    return weighted(task, layer, _weights)


def _weights(activation: Tensor, gradient: Tensor) -> Tensor:
    # Divided by g^2, which no alpha depends on; the powers of small gradients would vanish.
    below = 2 + activation.sum((1, 2), keepdim=True) * gradient
    alive = (gradient != 0) & (below != 0)
    alpha = torch.where(alive, 1 / torch.where(alive, below, 1), 0)
    return (alpha * gradient.relu()).sum((1, 2), keepdim=True)
