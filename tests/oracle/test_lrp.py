"""LRP against zennit, against input x gradient, and against gradients of networks held in place."""

from __future__ import annotations

import functools
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
import zennit.composites
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.torchvision import ResNetCanonizer

from tests.oracle.nets import distance, settled
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.model import Model

SIDE = 64
PREPROCESS = {"mean": [0.45] * 3, "std": [0.25] * 3, "size": SIDE}
LOW, HIGH = -0.45 / 0.25, 0.55 / 0.25


@functools.cache
def net(name: str) -> nn.Module:
    found = settled(name, num_classes=10)
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            # What zennit leaves of a normalization that it merged still divides by sqrt(1 + eps).
            module.eps = 0.0
    return found


def task(given: nn.Module, side: int = SIDE) -> Task:
    model = Model(given, {**PREPROCESS, "size": side}, device="cpu", dtype=torch.float64)
    pixels = torch.rand(3, side, side, generator=torch.Generator().manual_seed(4))
    return make_task(model, pixels)


def ours(given: Task, **params: Any) -> Tensor:
    return last_of(estimates(given, "lrp", params)).value


CANONIZERS = {"resnet18": ResNetCanonizer, "vgg11_bn": SequentialMergeBatchNorm}
COMPOSITES: dict[str, tuple[str, dict[str, Any]]] = {
    "epsilon_plus": ("EpsilonPlus", {}),
    "epsilon_plus_flat": ("EpsilonPlusFlat", {}),
    "epsilon_gamma_box": ("EpsilonGammaBox", {"low": LOW, "high": HIGH}),
    "epsilon_alpha2_beta1": ("EpsilonAlpha2Beta1", {}),
}


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", "resnet18"])
@pytest.mark.parametrize("composite", COMPOSITES)
def test_zennit(name: str, composite: str) -> None:
    given = task(net(name))
    theirs, options = COMPOSITES[composite]
    canonizers = [CANONIZERS[name]()] if name in CANONIZERS else []
    made = getattr(zennit.composites, theirs)(canonizers=canonizers, **options)
    x = given.x.clone().requires_grad_()
    with made.context(net(name)) as modified:
        logits = modified(x)
        start = torch.zeros_like(logits)
        start[0, given.target] = logits[0, given.target].detach()
        (expected,) = torch.autograd.grad(logits, x, start)
    assert distance(ours(given, composite=composite), expected) < 1e-8


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121", "vgg11"])
def test_epsilon_zero_is_input_x_gradient(name: str) -> None:
    given = task(net(name))
    expected = last_of(estimates(given, "input_x_gradient", {})).value
    assert distance(ours(given, composite="epsilon", epsilon=0), expected) < 1e-8


# --- attention: where every activation is held as a factor, input x gradient is LRP with epsilon 0


def _half(a: Tensor, b: Tensor) -> Tensor:
    return (a.detach() @ b + a @ b.detach()) / 2


def _norm(x: Tensor, module: Any) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    spread = (centered.square().mean(-1, keepdim=True) + module.eps).sqrt().detach()
    return centered / spread * module.weight + module.bias


def _gelu(x: Tensor) -> Tensor:
    return x * (F.gelu(x) / x).detach()


def _held_vit(vit: Any, x: Tensor) -> Tensor:
    tokens = vit.conv_proj(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([vit.class_token.expand(len(x), -1, -1), tokens], 1)
    tokens = tokens + vit.encoder.pos_embedding
    for block in vit.encoder.layers:
        attention = block.self_attention
        heads = attention.num_heads
        given = _norm(tokens, block.ln_1)
        projected = F.linear(given, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in projected.chunk(3, -1)
        )
        scores = _half(query * query.shape[-1] ** -0.5, key.transpose(-2, -1))
        together = _half(scores.softmax(-1), value).transpose(1, 2).flatten(2)
        tokens = tokens + attention.out_proj(together)
        given = _norm(tokens, block.ln_2)
        tokens = tokens + block.mlp[3](_gelu(block.mlp[0](given)))
    return vit.heads(_norm(tokens, vit.encoder.ln)[:, 0])


# Image, patch, layers, heads, hidden, mlp; the last one is two layers of ViT-B/16.
TRANSFORMERS = [(32, 8, 1, 2, 16, 24), (32, 8, 3, 2, 16, 24), (64, 16, 2, 12, 768, 3072)]


@pytest.mark.parametrize("sizes", TRANSFORMERS)
def test_vision_transformer(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(5)
    vit = torchvision.models.VisionTransformer(*sizes, num_classes=6).double().eval()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3 if sizes[4] < 100 else 0.05)
    given = task(vit, sizes[0])
    x = given.x.clone().requires_grad_()
    logits = _held_vit(vit, x)
    torch.testing.assert_close(logits, vit(given.x))
    expected = x * torch.autograd.grad(logits[0, given.target], x)[0]
    assert distance(ours(given, composite="epsilon", epsilon=0), expected) < 1e-8


class Held(TorchFunctionMode):
    """The same for networks as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, called = kwargs or {}, getattr(func, "__name__", "").rstrip("_")
        result = self.do(called, args, kwargs)
        if result is None:
            return func(*args, **kwargs)
        self.held[called] += 1
        return result

    def do(self, called: str, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
        x = args[0] if args else None
        if called == "gelu":
            return _gelu(x)
        if called == "layer_norm":
            return _norm(x, SimpleNamespace(**kwargs))
        if called == "matmul" and all(each.requires_grad for each in args):
            return _half(*args)
        return None


def _small(name: str) -> nn.Module:
    models = torchvision.models
    if name == "swin":
        return models.SwinTransformer([4, 4], 12, [2, 2], [1, 2], [4, 4], num_classes=6)
    blocks = [models.convnext.CNBlockConfig(*three) for three in ((12, 24, 2), (24, None, 2))]
    return models.ConvNeXt(blocks, num_classes=6)


HELD = {
    "swin": {"layer_norm": 11, "gelu": 4, "matmul": 8},
    "convnext": {"layer_norm": 7, "gelu": 4},
}


@pytest.mark.parametrize("name", HELD)
def test_networks_without_relus(name: str) -> None:
    torch.manual_seed(7)
    made = _small(name)
    for path, parameter in made.named_parameters():
        if path.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
        elif "layer_scale" in path:
            # Blocks would add almost nothing.
            nn.init.normal_(parameter)
    given = task(made.double().eval(), 64)
    x = given.x.clone().requires_grad_()
    with Held() as held:
        logits = made(x)
    assert held.held == HELD[name]
    torch.testing.assert_close(logits.detach(), made(given.x).detach())
    expected = x * torch.autograd.grad(logits[0, given.target], x)[0]
    assert distance(ours(given, composite="epsilon", epsilon=0), expected) < 1e-8


class Gated(nn.Module):
    """Squeeze and excitation, average pooling and a group normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norm, self.last = nn.GroupNorm(2, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor, held: bool = False) -> Tensor:
        x = F.avg_pool2d(F.relu(self.first(x)), 2)
        z = self.gate(x.mean((2, 3), keepdim=True))
        if held:
            gate = z * (torch.sigmoid(z) / z).detach()
            x = (x * gate.detach() + x.detach() * gate) / 2
            groups = x.reshape(len(x), 2, -1)
            centered = groups - groups.mean(-1, keepdim=True)
            spread = (centered.square().mean(-1, keepdim=True) + self.norm.eps).sqrt().detach()
            normal = (centered / spread).reshape(x.shape)
            x = normal * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]
        else:
            x = self.norm(x * torch.sigmoid(z))
        return self.last(F.relu(x).mean((2, 3)))


def test_gates_and_group_norms() -> None:
    torch.manual_seed(6)
    gated = Gated().double().eval()
    nn.init.normal_(gated.norm.weight)
    nn.init.normal_(gated.norm.bias)
    given = task(gated, 16)
    x = given.x.clone().requires_grad_()
    logits = gated(x, held=True)
    torch.testing.assert_close(logits, gated(given.x))
    expected = x * torch.autograd.grad(logits[0, given.target], x)[0]
    assert distance(ours(given, composite="epsilon", epsilon=0), expected) < 1e-8
