"""Grad-CAM: a layer's channels, weighted by the mean gradient of the score towards each.

    w_k = mean over places of  dS_c / dA_k(i, j),      M = ReLU( sum_k w_k A_k )

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", 2017 (arXiv 1610.02391), eq. 1 and 2. S_c is the logit.
"""

from __future__ import annotations

from collections.abc import Iterator

from xaiwidgets.methods.cams import LayerName, weighted
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.registry import method


@method(
    title="Grad-CAM",
    family="class activation map",
    paper="Selvaraju et al.: Grad-CAM: Visual Explanations from Deep Networks (2017)",
    url="https://arxiv.org/abs/1610.02391",
    needs="gradients, a layer with spatial extent",
)
def grad_cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """Grad-CAM, `(H, W)`, never negative, in logits per mean activation.

    `detail` of its estimate is a `LayerMap`.
    """
    return weighted(task, layer, lambda _, gradient: gradient.mean((1, 2), keepdim=True))
