"""XGrad-CAM: gradients averaged by how much of its channel lies where they are.

    w_k = sum over places of  A_k(i, j) / G_k  dS_c / dA_k(i, j),    G_k = sum over places of A_k
    M = ReLU( sum_k w_k A_k )

Fu, Hu, Dong, Guo, Gao, Li, "Axiom-based Grad-CAM", 2020 (arXiv 2008.02312): the weights that
come closest to sensitivity and conservation. A channel whose activations add up to 0 has weight 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaiwidgets.methods.cams import LayerName, weighted
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.registry import method


@method(
    title="XGrad-CAM",
    family="class activation map",
    paper="Fu et al.: Axiom-based Grad-CAM (2020)",
    url="https://arxiv.org/abs/2008.02312",
    needs="gradients, a layer with spatial extent",
)
def xgrad_cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """XGrad-CAM, `(H, W)`, never negative.

    `detail` of its estimate is a `LayerMap`.
    """
    return weighted(task, layer, _weights)


def _weights(activation: Tensor, gradient: Tensor) -> Tensor:
    whole = activation.sum((1, 2), keepdim=True)
    found = (activation * gradient).sum((1, 2), keepdim=True)
    return torch.where(whole != 0, found / torch.where(whole != 0, whole, 1), 0)
