"""Optimized masks against plain loops in float64: torch's own Adam, the gradient in one piece."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.oracle import nets
from tests.oracle.small import SIDE, every_net, pair_of, task_of
from xaiwidgets.engine.gaussian import blur
from xaiwidgets.explanation import estimates
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import last_of
from xaiwidgets.methods.masks import Upsampling
from xaiwidgets.methods.meaningful_perturbation import _shift
from xaiwidgets.methods.perceptual_ball import chosen_layers
from xaiwidgets.methods.smooth_masks import SoftDisks

STEPS = 4


def _ours(name: str, method: str, **params: object) -> Tensor:
    return last_of(estimates(task_of(name), method, {"iterations": STEPS, **params})).value


def _optimized(start: Tensor, cost: Callable[[Tensor, int], Tensor], rate: float) -> Tensor:
    point = start.clone().requires_grad_()
    adam = torch.optim.Adam([point], lr=rate)
    # The last point is only looked at.
    for step in range(STEPS - 1):
        adam.zero_grad()
        cost(point, step).backward()
        adam.step()
        with torch.no_grad():
            point.clamp_(0, 1)
    return point.detach()


def _moved(x: Tensor, shift: tuple[int, int]) -> Tensor:
    rows = (torch.arange(SIDE) - shift[0]).clamp(0, SIDE - 1)
    columns = (torch.arange(SIDE) - shift[1]).clamp(0, SIDE - 1)
    return x[..., rows, :][..., columns]


@pytest.mark.parametrize("game", ["deletion", "preservation"])
@every_net
def test_meaningful_perturbation(name: str, game: str) -> None:
    task, net, sign = task_of(name), pair_of(name)[0], 1 if game == "deletion" else -1
    empty = task.model.pixels_to_input(blank(task, "blur"))[None]
    wide = Upsampling((10, 10), (SIDE, SIDE), 5 / 8, task.x)

    def probability(mask: Tensor, shift: tuple[int, int] = (0, 0)) -> Tensor:
        mixed = wide(mask) * _moved(task.x, shift) + (1 - wide(mask)) * _moved(empty, shift)
        return net(mixed)[0].softmax(0)[task.target]

    with torch.no_grad():
        clean, none = (float(probability(torch.full((1, 1, 10, 10), v).double())) for v in (1, 0))
        axis = torch.linspace(-0.9, 0.9, 10, dtype=torch.float64)
        far = (axis[:, None] ** 2 + axis**2).sqrt()
        for number in range(1, 10):
            inside = (far <= math.sqrt(2) * number / 9).double()[None, None]
            start = 1 - inside if sign > 0 else inside
            effect = clean - float(probability(start))
            effect = effect if sign > 0 else clean - none - effect
            if clean > none and effect >= 0.99 * (clean - none):
                break
        else:
            middle = (far <= math.sqrt(2) * 5 / 9).double()[None, None]
            start = 1 - middle if sign > 0 else middle

    def cost(mask: Tensor, step: int) -> Tensor:
        rough = (mask[..., 1:, :] - mask[..., :-1, :]).abs().pow(3).sum()
        rough = rough + (mask[..., 1:] - mask[..., :-1]).abs().pow(3).sum()
        # Masks lie between 0 and 1, so no absolute value is taken: at its kink it has no slope.
        size = (1 - mask).sum() if sign > 0 else mask.sum()
        score = probability(mask, _shift(task.seed, step, 4))
        return sign * score + 784 / 100 * (1e-4 * size + 1e-2 * rough)

    mask = wide(_optimized(start, cost, 0.1))[0, 0]
    ours = _ours(name, "meaningful_perturbation", game=game, resolution=10)
    assert nets.distance(ours, 1 - mask if sign > 0 else mask) < 1e-8


@pytest.mark.parametrize("out", ["entropy", "probability"])
@every_net
def test_phang_mask(name: str, out: str) -> None:
    task, net = task_of(name), pair_of(name)[0]
    empty = task.model.pixels_to_input(blank(task, "blur"))[None]
    wide = Upsampling((10, 10), (SIDE, SIDE), 5 / 8, task.x)
    classes = len(task.logits)

    def cost(mask: Tensor, _: int) -> Tensor:
        big = wide(mask)
        inside = net(big * task.x + (1 - big) * empty)[0].softmax(0)
        outside = net((1 - big) * task.x + big * empty)[0].softmax(0)
        entropy = -(outside * outside.log()).sum()
        loss_out = -entropy if out == "entropy" else outside[task.target].log()
        down, right = mask[0, 0].diff(dim=0), mask[0, 0].diff(dim=1)
        rough = sum(((d * d + 1e-6).sqrt() - 1e-3).sum() for d in (down, right))
        loss = 2 * loss_out - 0.5 * inside[task.target].log()
        return loss / math.log(classes) + (1.5 * mask.sum() + 0.25 * rough) / 100

    mask = _optimized(torch.full((1, 1, 10, 10), 0.5).double(), cost, 0.05)
    ours = _ours(
        name, "phang_mask", resolution=10, out=out, w_out=2, w_in=0.5, w_size=1.5, w_tv=0.25
    )
    assert nets.distance(ours, wide(mask)[0, 0]) < 1e-8


@pytest.mark.parametrize("game", ["preserve", "delete"])
@every_net
def test_extremal_perturbation(name: str, game: str) -> None:
    task, net, area, side = task_of(name), pair_of(name)[0], 0.2, 20
    disks = SoftDisks((side, side), (SIDE, SIDE), 1 / 20, task.x)
    widest = 20 / 224 * SIDE
    stack = [blur(task.x, widest * level / 8) for level in range(9)]
    ones = round(area * SIDE * SIDE)
    wanted = torch.cat([torch.zeros(SIDE * SIDE - ones), torch.ones(ones)]).double()

    def cost(mask: Tensor, step: int) -> Tensor:
        wide = disks(mask)
        place = (1 - wide if game == "preserve" else wide) * 8
        floor = place.detach().floor().clamp(0, 7)
        mixed = torch.zeros_like(task.x)
        for level in range(8):
            here = (floor == level).double()
            share = place - level
            mixed = mixed + here * ((1 - share) * stack[level] + share * stack[level + 1])
        score = net(mixed)[0, task.target] * (-1 if game == "preserve" else 1)
        penalty = (wide.flatten().sort().values - wanted).square().mean()
        weight = 300 * 1.0035 ** (800 * step / STEPS) if step else 0
        return score + weight * penalty

    mask = _optimized(torch.full((1, 1, side, side), 0.5).double(), cost, 0.05)
    ours = _ours(name, "extremal_perturbation", game=game, resolution=side, area=area)
    assert nets.distance(ours, disks(mask)[0, 0]) < 1e-8


@every_net
def test_perceptual_ball(name: str) -> None:
    """Features by running the network module by module where they are asked for."""
    task, (net, model) = task_of(name), pair_of(name)
    names = chosen_layers(model.layers(), (SIDE, SIDE))
    kept: dict[str, Tensor] = {}
    handles = [
        net.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: kept.update({layer: output.clone()})
        )
        for layer in names
    ]
    others = [index for index in range(len(task.logits)) if index != task.target]
    low, high = (
        model.pixels_to_input(color(task.prepared.pixels))[None]
        for color in (torch.zeros_like, torch.ones_like)
    )
    try:
        with torch.no_grad():
            net(task.x)
        clean = dict(kept)
        point = task.x.clone()
        first, second = torch.zeros_like(point), 0.0
        for count in range(1, STEPS):
            point.requires_grad_()
            logits = net(point)[0]
            loss = (logits[task.target] - logits[others].max() + 1).relu()
            loss = loss + 30 * ((point - task.x) ** 2).sum() / (task.x**2).sum()
            for layer in names:
                change = ((kept[layer] - clean[layer]) ** 2).sum() / (clean[layer] ** 2).sum()
                loss = loss + 7 * change / len(names)
            (slope,) = torch.autograd.grad(loss, point)
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * float((slope**2).mean())
            size = math.sqrt(second / (1 - 0.999**count)) + 1e-8
            rate = 0.001 * float((high - low).max())
            point = (point - rate * first / (1 - 0.9**count) / size).detach()
            point = torch.maximum(torch.minimum(point, high), low)
    finally:
        for handle in handles:
            handle.remove()
    expected = blur((point - task.x).abs().sum(1), 0.02 * SIDE)[0]
    ours = _ours(name, "perceptual_ball", w_image=30, w_feature=7)
    assert nets.distance(ours, expected) < 1e-8
