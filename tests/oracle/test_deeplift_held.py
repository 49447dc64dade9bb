"""DeepLIFT against gradients of networks whose multipliers are held in place.

The plain network runs on the baseline, and what its operations are given there is noted. In a
second run, on the photo, an operation y of x with multiplier m becomes a straight line,
y(x) + m (x' - x) in x': the plain gradient of that network is the product of all multipliers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tests.norms import draw_statistics
from tests.oracle import pooling
from tests.oracle.nets import distance
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.model import Model

ELEMENTWISE = ("relu", "hardswish", "hardsigmoid")


def line(function: Callable[[Tensor], Tensor], x: Tensor, b: Tensor) -> Tensor:
    """The rescale rule; at the baseline itself the derivative."""
    x0 = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(x0).sum(), x0)
    x0 = x0.detach()
    there = x0 - b
    far = there.abs() > 1e-12
    m = torch.where(far, (function(x0) - function(b)) / torch.where(far, there, 1), slope)
    return pooling.with_way_back(function(x0), m * x)


def product(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, bx: Tensor, by: Tensor
) -> Tensor:
    """Half-way between photo and baseline for the other factor."""
    mean_x, mean_y = (x.detach() + bx) / 2, (y.detach() + by) / 2
    return pooling.with_way_back(function(x, y), function(x, mean_y) + function(mean_x, y))


def maximum(x: Tensor, b: Tensor, given: dict[str, Any]) -> Tensor:
    """Window by window, the winner of whichever has the higher maximum takes the difference."""
    ours, theirs = (pooling.windows(each, **given, fill=-1e300) for each in (x, b))
    (high, first), (low, second) = ours.detach().max(-1), theirs.max(-1)
    winner = torch.where(high > low, first, second)[..., None]
    there = (ours.detach() - theirs).gather(-1, winner)[..., 0]
    m = torch.where(there == 0, 0, (high - low) / torch.where(there == 0, 1, there))
    return pooling.with_way_back(high, m * ours.gather(-1, winner)[..., 0])


class Held(TorchFunctionMode):
    """Notes what operations are given, or holds them by what was noted."""

    def __init__(self, noted: list[tuple[Tensor, ...]] | None = None) -> None:
        super().__init__()
        self.noting = noted is None
        self.noted = [] if noted is None else noted

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, called = kwargs or {}, getattr(func, "__name__", "")
        pools, gates = called in pooling.NAMES, called == "mul"
        if not (pools or gates or called in ELEMENTWISE):
            return func(*args, **kwargs)
        if self.noting:
            self.noted.append(tuple(each.clone() for each in args[:2] if isinstance(each, Tensor)))
            return func(*args, **kwargs)
        there = self.noted.pop(0)
        if pools:
            return maximum(args[0], *there, pooling.read(args, kwargs))
        if gates:
            return product(torch.mul, *args, *there)
        return line(getattr(F, called), args[0], *there)


def _task(net: nn.Module, side: int) -> Task:
    preprocess = {"mean": [0.45] * 3, "std": [0.25] * 3, "size": side}
    model = Model(net, preprocess, device="cpu", dtype=torch.float64)
    return make_task(model, torch.rand(3, side, side, generator=torch.Generator().manual_seed(4)))


def _turned(given: Task) -> Tensor:
    """The photo upside down: in a plain color all that a maximum picks from is equal."""
    return given.prepared.pixels.flip(1, 2)


def start_of(given: Task) -> Tensor:
    return given.model.pixels_to_input(blank(given, _turned(given)))[None]


def ours(given: Task) -> Tensor:
    return last_of(estimates(given, "deeplift", {"baseline": _turned(given)})).value


class Gated(nn.Module):
    """Smooth activations, and a gate, which is a product of two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 12, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(12, 10)
        self.gate = torchvision.ops.SqueezeExcitation(12, 4, scale_activation=nn.Hardsigmoid)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.hardswish(self.norm(self.first(x))), 3, 2, 1)
        return self.head(self.gate(F.hardswish(self.second(x))).mean((2, 3)))


def net_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    net = Gated() if name == "gated" else torchvision.models.get_model(name, **options)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            draw_statistics(module, 0.2, 1.5)
    return net.double().eval()


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "gated"])
def test_networks_with_maxima_and_gates(name: str) -> None:
    plain = net_of(name)
    given = _task(plain, 64)
    start, x = start_of(given), given.x.clone().requires_grad_()
    with torch.no_grad(), Held() as there:
        plain(start)
    assert len(there.noted) >= 6
    with Held(there.noted) as held:
        logits = plain(x)
    assert not held.noted
    torch.testing.assert_close(logits.detach(), plain(given.x).detach())
    expected = torch.autograd.grad(logits[0, given.target], x)[0] * (given.x - start)
    assert distance(ours(given), expected) < 1e-9


# -- attention ----------------------------------------------------------------------------------

Pair = tuple[Tensor, Tensor]
"""What the photo and the baseline give."""


def both(function: Callable[[Tensor], Tensor], pair: Pair) -> Pair:
    return function(pair[0]), function(pair[1])


def bent(function: Callable[[Tensor], Tensor], pair: Pair) -> Pair:
    return line(function, *pair), function(pair[1])


def times(function: Callable[[Tensor, Tensor], Tensor], one: Pair, other: Pair) -> Pair:
    value = product(function, one[0], other[0], one[1], other[1])
    return value, function(one[1], other[1])


def softened(pair: Pair) -> Pair:
    """By the changes D of the inputs: s_i - s'_i = l_i (D_i - sum of l D / sum of l).

    l is the logarithmic mean of s and s': with log s_i = x_i minus a term that all share, it is
    what makes the equation true, and the shared term follows from the sum of s, which stays 1.
    """
    s, t = (each.detach().softmax(-1) for each in pair)
    mean = (s - t) / (s.log() - t.log())
    change = pair[0] - (mean * pair[0]).sum(-1, keepdim=True) / mean.sum(-1, keepdim=True)
    return pooling.with_way_back(s, mean * change), t


def normed(pair: Pair, module: nn.LayerNorm) -> Pair:
    centered = both(lambda x: x - x.mean(-1, keepdim=True), pair)
    variance = both(lambda x: x.mean(-1, keepdim=True), bent(torch.square, centered))
    steep = bent(lambda v: (v + module.eps).rsqrt(), variance)
    scaled = times(torch.mul, centered, steep)
    return both(lambda x: x * module.weight + module.bias, scaled)


def attended(attention: nn.MultiheadAttention, given: Pair) -> Pair:
    heads = attention.num_heads

    def projected(part: int) -> Pair:
        weight = attention.in_proj_weight.chunk(3)[part]
        bias = attention.in_proj_bias.chunk(3)[part]
        # (N, tokens, heads, size)
        return both(lambda x: F.linear(x, weight, bias).unflatten(-1, (heads, -1)), given)

    query, key, value = (projected(part) for part in range(3))
    scores = times(lambda q, k: torch.einsum("nqhs,nkhs->nhqk", q, k), query, key)
    shares = softened(both(lambda x: x * attention.head_dim**-0.5, scores))
    mixed = times(lambda s, v: torch.einsum("nhqk,nkhs->nqhs", s, v), shares, value)
    return both(lambda x: x.flatten(2), mixed)


def held_transformer(vit: Any, pair: Pair) -> Tensor:
    def tokens(x: Tensor) -> Tensor:
        found = vit.conv_proj(x).flatten(2).transpose(1, 2)
        return torch.cat([vit.class_token, found], 1) + vit.encoder.pos_embedding

    def added(one: Pair, other: Pair) -> Pair:
        return one[0] + other[0], one[1] + other[1]

    stream = both(tokens, pair)
    for block in vit.encoder.layers:
        mixed = attended(block.self_attention, normed(stream, block.ln_1))
        stream = added(stream, both(block.self_attention.out_proj, mixed))
        inner = bent(F.gelu, both(block.mlp[0], normed(stream, block.ln_2)))
        stream = added(stream, both(block.mlp[3], inner))
    logits: Tensor = vit.heads(normed(stream, vit.encoder.ln)[0][:, 0])
    return logits


@pytest.mark.parametrize("layers", [1, 3])
def test_vision_transformer(layers: int) -> None:
    torch.manual_seed(5)
    vit = torchvision.models.VisionTransformer(32, 8, layers, 2, 16, 24, num_classes=6).double()
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    given = _task(vit.eval(), 32)
    start, x = start_of(given), given.x.clone().requires_grad_()
    logits = held_transformer(vit, (x, start))
    torch.testing.assert_close(logits, vit(given.x))
    expected = torch.autograd.grad(logits[0, given.target], x)[0] * (given.x - start)
    assert distance(ours(given), expected) < 1e-9
