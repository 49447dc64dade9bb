"""Guided Grad-CAM: the detail of guided backprop, where Grad-CAM says that the class is.

    R = (guided backprop) * (Grad-CAM, enlarged to the photo)

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", 2017 (arXiv 1610.02391), sec. 3.2. The map is enlarged bilinearly, as Grad-CAM's is.
"""

from __future__ import annotations

from collections.abc import Iterator

from xaiwidgets.methods.cams import LayerName
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.methods.grad_cam import grad_cam
from xaiwidgets.methods.guided_backprop import guided_backprop
from xaiwidgets.methods.registry import method


@method(
    title="Guided Grad-CAM",
    family="class activation map",
    paper="Selvaraju et al.: Grad-CAM: Visual Explanations from Deep Networks (2017)",
    url="https://arxiv.org/abs/1610.02391",
    needs="gradients, ReLU or a relative, a layer with spatial extent",
)
def guided_grad_cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """Guided Grad-CAM, `(C, H, W)`, signed.

    `detail` of its estimate is the `LayerMap` of Grad-CAM; diagnostics are guided backprop's.
    """
    where = last_of(grad_cam(task, layer=layer))
    fine = last_of(guided_backprop(task))
    yield Estimate(fine.value * where.value, 1, 1, fine.diagnostics, where.detail)
