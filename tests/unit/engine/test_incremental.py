"""What a patch changes, computed alone, is what the whole network computes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tests.norms import draw_statistics
from xaiwidgets.engine.incremental import Incremental
from xaiwidgets.engine.incremental.groups import classes
from xaiwidgets.engine.incremental.trace import UntraceableError, trace

SIDE = 23


def _activations() -> list[Callable[[Tensor], Tensor]]:
    return [
        functional.relu,
        lambda x: functional.relu_(x.clone()),
        functional.relu6,
        functional.gelu,
        functional.silu,
        functional.hardswish,
        lambda x: functional.leaky_relu(x, 0.1),
        torch.sigmoid,
        lambda x: x * 1.5 - 0.25,
        lambda x: torch.clamp(x, min=-0.2).mul_(2),
    ]


class Block(nn.Module):
    """One step of a network, drawn at random."""

    def __init__(self, draw: Any, channels: int) -> None:
        super().__init__()
        self.kind = draw(
            st.sampled_from(
                ["conv", "depthwise", "max", "average", "norm", "act", "add", "cat", "pad", "scale"]
            )
        )
        self.out = channels
        kernel = draw(st.tuples(*[st.integers(1, 4)] * 2))
        self.window: dict[str, Any] = {
            "kernel_size": kernel,
            "stride": draw(st.tuples(*[st.integers(1, 3)] * 2)),
            "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        }
        dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
        self.activation = draw(st.sampled_from(_activations()))
        self.ceil = draw(st.booleans())
        self.counted = draw(st.booleans())
        if self.kind == "conv":
            groups = draw(st.sampled_from([1, 2]))
            self.out = draw(st.sampled_from([4, 6]))
            self.conv = nn.Conv2d(
                channels, self.out, **self.window, dilation=dilation, groups=groups
            )
        if self.kind == "depthwise":
            self.conv = nn.Conv2d(channels, channels, **self.window, groups=channels)
        if self.kind in ("add", "cat"):
            side = draw(st.sampled_from([1, 3, 5]))
            self.conv = nn.Conv2d(channels, channels, side, padding=side // 2)
            self.out = 2 * channels if self.kind == "cat" else channels
        if self.kind == "norm":
            self.norm = nn.BatchNorm2d(channels)
            draw_statistics(self.norm, 1, 2)
        self.pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("conv", "depthwise"):
            return self.conv(x)
        if self.kind == "max":
            return functional.max_pool2d(x, **self.window, ceil_mode=self.ceil)
        if self.kind == "average":
            options = {"ceil_mode": self.ceil, "count_include_pad": self.counted}
            return functional.avg_pool2d(x, **self.window, **options)
        if self.kind == "norm":
            return self.norm(x)
        if self.kind == "add":
            return x + self.activation(self.conv(x))
        if self.kind == "cat":
            return torch.cat([self.conv(x), x], 1)
        if self.kind == "pad":
            return functional.pad(x, self.pads)
        if self.kind == "scale":
            return x * self.scale
        return self.activation(x)


class Random(nn.Module):
    """A chain of such steps, and a head."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels, side = 2, (SIDE, SIDE)
        for _ in range(draw(st.integers(1, 6))):
            block = Block(draw, channels)
            with torch.no_grad():
                try:
                    shape = block(torch.zeros(1, channels, *side)).shape
                except RuntimeError:
                    continue  # a window larger than the plane
            if min(shape[-2:]) < 2:
                continue
            blocks.append(block)
            channels, side = block.out, (shape[-2], shape[-1])
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, 3)
        self.flat = draw(st.booleans())

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if self.flat:
            return self.head(x.view(x.shape[0], x.shape[1], -1).mean(2))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def _evaluated(
    net: Callable[[Tensor], Tensor], x: Tensor, patch: int, places: list[tuple[int, int]]
) -> tuple[Tensor, Tensor, float]:
    """The logits by differences and as they are, and the planned ratio."""
    tops, lefts = np.array(places).T
    filling = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).reshape(x[0].shape)
    with torch.inference_mode():
        network = Incremental(net, x)
        plan = network.plan(tops, lefts, patch)
        clean = network.clean(plan, x)
        assert clean is not None
        where = (tops, lefts, patch)
        middle = len(places) // 2
        ours = [
            network.logits(plan, clean, x, filling, where, start, stop)
            for start, stop in ((0, middle), (middle, len(places)))
        ]
        batch = x.repeat(len(places), 1, 1, 1)
        for image, (top, left) in zip(batch, places, strict=True):
            window = (..., slice(top, top + patch), slice(left, left + patch))
            image[window] = filling[window]
        return torch.cat(ours), net(batch), plan.ratio


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_networks(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    net = Random(data.draw).double().eval()
    x = torch.rand(1, 2, SIDE, SIDE, dtype=torch.float64)
    if data.draw(st.booleans()):
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    patch = data.draw(st.integers(1, SIDE))
    place = st.integers(0, SIDE - 1)
    some = st.lists(st.tuples(place, place), min_size=2, max_size=5)
    # So many that they are sorted into groups.
    many = st.just([(top, left) for top in range(0, SIDE, 4) for left in range(0, SIDE, 4)])
    places = data.draw(st.one_of(some, some, some, many))
    ours, theirs, ratio = _evaluated(net, x, patch, places)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert ratio >= 1 - 1e-9


def _one_by_one(
    net: Callable[[Tensor], Tensor], x: Tensor, patch: int, places: list[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """The logits of one patch at a time, some of them cut off, and as they are."""
    filling = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).reshape(x[0].shape)
    with torch.inference_mode():
        network = Incremental(net, x)
        clean = network.clean(network.anywhere(patch), x)
        assert clean is not None
        ours = [network.logits_at(clean, x, filling, patch, place) for place in places]
        rows, cols = (torch.arange(side) for side in x.shape[-2:])
        theirs = []
        for top, left in places:
            inside = ((rows >= top) & (rows < top + patch))[:, None]
            inside = inside & (cols >= left) & (cols < left + patch)
            theirs.append(net(torch.where(inside, filling, x)))
        return torch.cat(ours), torch.cat(theirs)


@given(st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_one_patch_anywhere(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    net = Random(data.draw).double().eval()
    x = torch.rand(1, 2, SIDE, SIDE, dtype=torch.float64)
    patch = data.draw(st.integers(1, SIDE + 3))
    place = st.integers(1 - patch, SIDE - 1)
    places = data.draw(st.lists(st.tuples(place, place), min_size=1, max_size=5))
    ours, theirs = _one_by_one(net, x, patch, places)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_one_patch_at_every_place_of_a_photo_that_is_no_square() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 14, 9, dtype=torch.float64)
    places = [(top, left) for top in range(-3, 14) for left in range(-3, 9)]
    ours, theirs = _one_by_one(Squeezed().double(), x, 4, places)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_local_network_is_cheaper() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)), nn.Flatten(1))
    x = torch.rand(1, 4, 40, 40, dtype=torch.float64)
    ours, theirs, ratio = _evaluated(net.double(), x, 4, [(0, 0), (36, 20), (17, 39)])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    # Windows of 6, 8, 10 and 12 pixels of a side of 40.
    assert ratio == pytest.approx(4 * 40**2 / (6**2 + 8**2 + 10**2 + 12**2))


def test_patches_at_the_edges_are_cheaper() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 2, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 3, 5, padding=2),
    ]
    net = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 4)).double()
    x = torch.rand(1, 2, 40, 40, dtype=torch.float64)
    places = [(top, left) for top in range(0, 40, 4) for left in range(0, 40, 4)]
    random.Random(0).shuffle(places)
    ours, theirs, ratio = _evaluated(net, x, 4, places)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    tops, lefts = np.array(places).T
    plans = Incremental(net, x).plan(tops, lefts, 4)
    assert len(plans.plans) == 9
    assert ratio == plans.ratio
    assert plans.tail is not None
    # Three sizes of window along each axis, by hand: 6 or 8 pixels of the first convolution's
    # plane, and 5, 7 or 8 of the other's, which reaches twice as far into the photo.
    first = np.array([6, *[8] * 8, 6])
    second = np.array([5, 7, *[8] * 6, 7, 5])
    expected = 40**2 * 2 * 2 * 25 + 20**2 * 2 * 3 * 25 + 3 * 4
    taken = first.mean() ** 2 * 2 * 2 * 25 + second.mean() ** 2 * 2 * 3 * 25 + 3 * 4
    assert ratio == pytest.approx(expected / taken)


def test_classes_lose_least() -> None:
    reach = np.array([7.0, 8, 9, 10, 11, 12, 13, 13, 12, 11, 10, 9, 8, 7])
    for most in (1, 2, 3):
        found = classes(reach, most)
        lost = sum(reach[found == each].max() * (found == each).sum() for each in set(found))
        rivals = itertools.combinations(range(8, 14), most - 1)
        assert lost == min(
            sum(
                max(part) * len(part)
                for a, b in itertools.pairwise((0, *cuts, 99))
                if (part := [r for r in reach if a <= r < b])
            )
            for cuts in rivals
        )
    assert set(classes(np.ones(5), 3)) == {0}


class Squeezed(nn.Module):
    """Squeeze and excitation: from its product on, everything changes everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return functional.relu(self.last(x)).amax((2, 3))


def test_global_operations_fall_back_to_the_whole_plane() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 30, 30, dtype=torch.float64)
    ours, theirs, ratio = _evaluated(Squeezed().double(), x, 5, [(3, 4), (0, 25), (28, 28)])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert 1 < ratio < 2


@pytest.mark.parametrize("shape", [(4, 14, 1), (1, 4, 1, 9), (9,), (14, 1), (4, 14, 9), (1, 1, 9)])
def test_constants_that_are_spread_over_the_plane(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 4, 3, padding=1).double(), nn.Conv2d(4, 5, 3, padding=1).double()
    constant = torch.rand(shape, dtype=torch.float64)

    def net(x: Tensor) -> Tensor:
        return last((first(x) * constant + constant).relu()).square().mean((2, 3))

    x = torch.rand(1, 3, 14, 9, dtype=torch.float64)
    ours, theirs, ratio = _evaluated(net, x, 2, [(3, 4), (0, 7), (12, 0), (12, 7)])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert ratio > 1
    places = [(top, left) for top in range(-1, 14) for left in (0, 7)]
    one, expected = _one_by_one(net, x, 2, places)
    torch.testing.assert_close(one, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.PReLU])
def test_numbers_of_channels_are_not_those_of_columns(kind: type[nn.Module]) -> None:
    """There are as many channels as columns."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), kind(16), nn.Conv2d(16, 4, 3, padding=1))
    for tensor in (*net[1].parameters(), *net[1].buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2)
    net = nn.Sequential(net, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    ours, theirs, ratio = _evaluated(net, x, 2, [(3, 4), (0, 14), (9, 9)])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert ratio > 1


class Tokens(nn.Module):
    """Convolutions, then tokens and a linear layer, as networks half transformer have them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        )
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).flatten(2).transpose(1, 2)
        return self.last(self.first(x).relu().mean(1))


def test_views_of_what_lies_otherwise_in_memory() -> None:
    torch.manual_seed(0)
    net = Tokens().double().to(memory_format=torch.channels_last)
    x = torch.rand(1, 3, 24, 24, dtype=torch.float64).to(memory_format=torch.channels_last)
    places = [(top, left) for top in range(0, 24, 3) for left in range(0, 24, 3)]
    ours, theirs, ratio = _evaluated(net, x, 3, places)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert ratio > 1


def _by_its_values(x: Tensor) -> Tensor:
    return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))


def _for_each_image(x: Tensor) -> Tensor:
    return torch.stack([image.mean((1, 2)) for image in x])


def _writes_to_a_view(x: Tensor) -> Tensor:
    y = x * 2
    view = y[:, :1]
    y += 1
    return view.mean((2, 3))


@pytest.mark.parametrize("net", [_by_its_values, _for_each_image, _writes_to_a_view])
def test_what_cannot_be_replayed_is_refused(net: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UntraceableError):
        trace(net, torch.rand(1, 3, 8, 8))


def test_clean_activations_are_kept_for_other_patches() -> None:
    runs: list[int] = []
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)

    def net(x: Tensor) -> Tensor:
        runs.append(len(x))
        return conv(x).relu().mean((2, 3))

    x = torch.rand(1, 3, 30, 30)
    with torch.inference_mode():
        network = Incremental(net, x)
        traced = len(runs)
        plans = [network.plan(np.array([2]), np.array([3]), side) for side in (4, 9)]
        one, other = (network.clean(plan, x) for plan in plans)
        assert one is other
        assert network.clean(plans[0], x + 1) is not one
    assert len(runs) == traced  # replayed, not run
