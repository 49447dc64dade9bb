"""CAM: a layer's channels, weighted as the linear layer behind them weights their means.

    S_c = sum_k w_k^c  mean over places of A_k  + b_c,      M = sum_k w_k^c A_k

Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative Localization",
2016 (arXiv 1512.04150), eq. 1 and 2. The map is signed, and its mean is the score without the bias.
It exists for networks that end in global average pooling and one linear layer, and for no others.
"""

from __future__ import annotations

from collections.abc import Iterator

from xaiwidgets.engine.head import Head
from xaiwidgets.methods.cams import LayerName, linear_head, place_of, shown
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.registry import method


@method(
    title="CAM",
    family="class activation map",
    paper="Zhou et al.: Learning Deep Features for Discriminative Localization (2016)",
    url="https://arxiv.org/abs/1512.04150",
    needs="global average pooling followed by one linear layer",
)
def cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """CAM, `(H, W)`, signed, in logits.

    `detail` of its estimate is a `LayerMap`. Diagnostics: `bias`, the part of the score that lies
    nowhere.

    Raises:
        ValueError: for a network, or a layer of it, that CAM is not defined for.
    """
    place = place_of(task, layer)
    head = Head(task.model, task.x, place, task.logits)
    linear = linear_head(task, head)
    if linear is None:
        raise ValueError(
            f"CAM needs a layer that is followed by global average pooling and one linear layer; "
            f'behind layer "{place.name}" the scores are not a linear function of the channels\' '
            "means. Choose the layer just before the pooling, or use grad_cam, which is the same "
            "where CAM is defined and works on any network."
        )
    small = (linear.weights[:, None, None] * head.activation).sum(0)
    bias = {"bias": linear.score - float(small.mean())}
    yield shown(task, place, small, linear.weights, diagnostics=bias)
