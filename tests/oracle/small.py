"""Networks at a small size, for methods that need many evaluations, in float64."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from tests.oracle import nets
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.estimate import Task
from xaiwidgets.model import Model

SIDE = 32
NETS = ("resnet18", "vgg16", "efficientnet_lite0")
every_net = pytest.mark.parametrize("name", NETS)


@functools.cache
def pair_of(name: str) -> tuple[nn.Module, Model]:
    """The plain network and our model of it, in float64, at a small size."""
    if name == "efficientnet_lite0":
        net = nets.plain_lite0().double()
        preprocess = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3, "size": SIDE}
    else:
        import torchvision

        torch.manual_seed(4)
        if name == "vgg16":
            # Its convolutions; the dense layers, a gigabyte in float64, add nothing to the test.
            layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
            net = nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
        else:
            net = torchvision.models.get_model(name, weights=None, num_classes=10)
        net = net.double().eval()
        preprocess = {"mean": [0.45] * 3, "std": [0.25] * 3, "size": SIDE}
    return net, Model(net, preprocess, device="cpu", dtype=torch.float64)


@functools.cache
def task_of(name: str) -> Task:
    return make_task(pair_of(name)[1], nets.photo())
