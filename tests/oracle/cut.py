"""Networks cut in two by hand at the last place with spatial extent, and ours of the same."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from tests.norms import draw_statistics
from tests.oracle.nets import model, photo, raw
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.cams import LayerMap
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.model import Model

F64 = torch.float64
Split = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""A network cut in two by hand: photo to map `(N, C, h, w)`, and map to logits."""


@functools.cache
def net_of(name: str) -> nn.Module:
    """Networks with random weights; VGG-16 in float32, as in float64 it takes a gigabyte."""
    if name in ("efficientnet_lite0", "resnet18"):
        return raw(name, F64)
    if name == "vit_b_16":
        return raw(name)
    torch.manual_seed(0)
    if name == "vit":
        # A short and narrow one, as each of its many channels takes a run of its last block.
        small = torchvision.models.VisionTransformer(112, 16, 3, 4, 48, 96)
        nn.init.normal_(small.heads.head.weight, std=0.3)
        return small.to(F64).eval()
    net = torchvision.models.get_model(name, weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            draw_statistics(module, 0.2, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return net.to(torch.float32 if name == "vgg16" else F64).eval()


@functools.cache
def task_of(name: str) -> Task:
    if name in ("efficientnet_lite0", "resnet18"):
        return make_task(model(name, F64), photo())
    preprocess = {"size": 112} if name == "vit" else None
    return make_task(Model(net_of(name), preprocess, device="cpu"), photo())


def cut(name: str) -> Split:
    """At the last place with spatial extent."""
    net: Any = net_of(name)
    if name == "efficientnet_lite0":
        return net.extract_features, lambda a: net._fc(a.mean((2, 3)))
    if name == "resnet18":
        trunk = nn.Sequential(*list(net.children())[:-2])
        return trunk, lambda a: net.fc(a.mean((2, 3)))
    if name == "densenet121":
        return (
            lambda x: functional.relu(net.features(x)),
            lambda a: net.classifier(a.mean((2, 3))),
        )
    if name == "vgg16":
        return (
            lambda x: net.avgpool(net.features(x)),
            lambda a: net.classifier(a.flatten(1)),
        )
    if name == "swin_t":
        return (
            lambda x: net.norm(net.features(x)).permute(0, 3, 1, 2),
            lambda a: net.head(a.mean((2, 3))),
        )
    assert name in ("vit", "vit_b_16")
    block = net.encoder.layers[-1]
    kept: dict[str, Tensor] = {}

    def before(x: Tensor) -> Tensor:
        x = net._process_input(x)
        x = torch.cat([net.class_token, x], 1) + net.encoder.pos_embedding
        x = net.encoder.layers[:-1](x)
        kept["in"], kept["out"] = x, block.ln_1(x)
        patches = kept["out"][:, 1:].transpose(1, 2)
        side = math.isqrt(patches.shape[2])
        return patches.reshape(1, -1, side, side)

    def behind(a: Tensor) -> Tensor:
        count = len(a)
        tokens = kept["out"][:, :1].expand(count, -1, -1)
        tokens = torch.cat([tokens, a.flatten(2).transpose(1, 2)], 1)
        x = kept["in"] + block.self_attention(tokens, tokens, tokens, need_weights=False)[0]
        x = x + block.mlp(block.ln_2(x))
        return net.heads(net.encoder.ln(x)[:, 0])

    return before, behind


def gradient_of(name: str) -> tuple[Tensor, Tensor]:
    """Activation and gradient `(C, h, w)` by plain torch."""
    task = task_of(name)
    before, behind = cut(name)
    with torch.no_grad():
        a = before(task.x)
    a = a.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(behind(a)[0, task.target], a)
    return a.detach()[0], g[0]


def frame(small: Tensor, task: Task) -> Tensor:
    size = (task.x.shape[2], task.x.shape[3])
    return functional.interpolate(small[None, None], size, mode="bilinear", align_corners=False)


def last(task: Task, method: str, **params: Any) -> Estimate:
    return last_of(estimates(task, method, params))


def small_map(task: Task, method: str, **params: Any) -> Tensor:
    detail = last(task, method, **params).detail
    assert isinstance(detail, LayerMap)
    return detail.map
