"""The peers' class activation maps, called as their users do, and what they are called on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

import captum.attr
import numpy as np
import torch
import torchcam.methods
from numpy.typing import NDArray
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from benchmarks.attribution import network
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Estimate, Task, last_of

Call = Callable[[], Tensor]


class Subject:
    """A network with random weights or EfficientNet-Lite0, ours of it, and a photo.

    Attributes:
        net: as a user of the peers has it.
        layer: its last one with spatial extent, after the activation, in `net`.
        task: ours.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        plain, model = network(name, device)
        self.net: nn.Module = plain
        self.layer: nn.Module
        if name == "efficientnet_lite0":
            # Its last activation is a module that is also used elsewhere, which no peer can hook.
            self.net = lite = _Lite(plain)
            self.layer = lite.last
        else:
            self.layer = list(plain.get_submodule("layer4").children())[-1]
        self.task: Task = make_task(model, xai.photo("cat"))

    @property
    def x(self) -> Tensor:
        return self.task.x

    def ours(self, method: str, **params: Any) -> Callable[[], Estimate]:
        return lambda: last_of(estimates(self.task, method, params))


class _Lite(nn.Module):
    """EfficientNet-Lite0 with a module behind its last activation."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        features = self.last(self.net.extract_features(x))
        result: Tensor = self.net._fc(self.net._avg_pooling(features).flatten(1))
        return result


def grad_cam_library(kind: Any, subject: Subject, layer: nn.Module | None = None) -> Call:
    """pytorch-grad-cam's map, `(H, W)`, scaled to 0..1; `kind` is one of its classes."""
    targets = [ClassifierOutputTarget(subject.task.target)]

    def call() -> Tensor:
        with (
            redirect_stderr(StringIO()),
            kind(subject.net, [layer or subject.layer]) as cam,
        ):
            return torch.from_numpy(cam(subject.x, targets)[0])

    return call


def torchcam_grad_cam(subject: Subject) -> Call:
    """torch-cam's Grad-CAM, enlarged as its own `explain` does it."""
    name = next(n for n, module in subject.net.named_modules() if module is subject.layer)

    def call() -> Tensor:
        with torchcam.methods.GradCAM(subject.net, name) as extractor:
            logits = subject.net(subject.x.clone().requires_grad_(True))
            (small,) = extractor(subject.task.target, logits, normalized=False)
            return _large(small[None], subject.x)

    return call


def captum_grad_cam(subject: Subject) -> Call:
    """Captum's Grad-CAM, enlarged."""

    def call() -> Tensor:
        small = captum.attr.LayerGradCam(subject.net, subject.layer).attribute(
            subject.x, subject.task.target, relu_attributions=True
        )
        return _large(small, subject.x)

    return call


def _large(small: Tensor, x: Tensor) -> Tensor:
    size = (x.shape[-2], x.shape[-1])
    return functional.interpolate(small, size, mode="bilinear")[0, 0].detach()


@contextmanager
def masks_as_in_the_paper() -> Iterator[None]:
    """pytorch-grad-cam's Score-CAM with masks that lie where the authors' do, not a cell off."""
    kept = nn.UpsamplingBilinear2d
    library: Any = nn
    library.UpsamplingBilinear2d = functools.partial(nn.Upsample, mode="bilinear")
    try:
        yield
    finally:
        library.UpsamplingBilinear2d = kept


def unit(values: Tensor | NDArray[np.floating]) -> Tensor:
    """Scaled to 0..1, in which form maps of all libraries can be compared."""
    values = torch.as_tensor(values).double().cpu()
    values = values - values.min()
    return values / values.max().clamp_min(1e-30)


def apart(one: Tensor, other: Tensor) -> str:
    """Relative L2 difference of two maps, each scaled to 0..1."""
    a, b = unit(one), unit(other)
    return f"{float((a - b).norm() / b.norm()):.1e}"
