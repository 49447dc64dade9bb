"""Eigen-CAM: a layer's activations along their own main direction, whatever the class.

    A = U S V^T  with a row for each place and a column for each channel,      M = A v_1

Muhammad, Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", 2020
(arXiv 2008.00299). As in the paper the columns are not centered. A singular vector has no
sign; the one is taken with which the map adds up to something positive, so that for activations
that are never negative the map is not either.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from xaiwidgets.engine.head import activation_at
from xaiwidgets.methods.cams import LayerName, place_of, shown
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.registry import method


@method(
    title="Eigen-CAM",
    family="class activation map",
    paper="Muhammad, Yeasin: Eigen-CAM: Class Activation Map using Principal Components (2020)",
    url="https://arxiv.org/abs/2008.00299",
    needs="a layer with spatial extent",
)
def eigen_cam(task: Task, *, layer: LayerName = None) -> Iterator[Estimate]:
    """Eigen-CAM, `(H, W)`, in units of the activation; the same for every class.

    `detail` of its estimate is a `LayerMap`. Diagnostics: `explained`, the share 0..1 of the
    activations' sum of squares that lies along that direction.
    """
    place = place_of(task, layer)
    activation = activation_at(task.model, task.x, place)
    # On the CPU: small, and the same on all devices.
    rows = activation.flatten(1).T.to("cpu", torch.float64)
    _, values, directions = torch.linalg.svd(rows, full_matrices=False)
    direction = directions[0]
    small = (rows @ direction).reshape(activation.shape[1:])
    if float(small.sum()) < 0:
        small, direction = -small, -direction
    power = values.square()
    explained = float(power[0] / power.sum()) if float(power[0]) else 0.0
    dtype = task.logits.dtype
    yield shown(
        task, place, small.to(dtype), direction.to(dtype), diagnostics={"explained": explained}
    )
