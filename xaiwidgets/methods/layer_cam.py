"""LayerCAM: every place of a channel weighted by its own positive gradient.

    M(i, j) = ReLU( sum_k ReLU( dS_c / dA_k(i, j) ) A_k(i, j) )

Jiang, Zhang, Hou, Cheng, Wei, "LayerCAM: Exploring Hierarchical Class Activation Maps for
Localization", 2021 (IEEE TIP 30). Made for early layers too, whose maps are fine.
"""

from __future__ import annotations

from collections.abc import Iterator

from xaiwidgets.methods.cams import LayerName, weighted
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.registry import method


@method(
    title="LayerCAM",
    family="class activation map",
    paper="Jiang et al.: LayerCAM: Exploring Hierarchical Class Activation Maps (2021)",
    url="https://doi.org/10.1109/TIP.2021.3089943",
    needs="gradients, a layer with spatial extent",
)
def layer_cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """LayerCAM, `(H, W)`, never negative, in logits.

    `detail` of its estimate is a `LayerMap`.
    """
    return weighted(task, layer, lambda _, gradient: gradient.relu())
