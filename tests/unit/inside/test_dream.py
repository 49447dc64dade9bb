"""Deep Dream: octaves, jitter, the fixed schedule, continuing, and where it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from xaiwidgets.engine.until import activation
from xaiwidgets.inside.dream import ITERATIONS_PER_OCTAVE, Dreamer, frames, octave_sizes
from xaiwidgets.model import Model


class Counting(nn.Module):
    """Notes that it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ran", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.ran += 1
        return x


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        Counting(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


@pytest.fixture
def model() -> Model:
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 64}
    return Model(_net(), preprocess=preprocess, device="cpu")


@pytest.fixture
def start() -> Tensor:
    return torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(3))


def test_octave_sizes() -> None:
    assert octave_sizes(384, 280, 4, 1.4) == [(140, 102), (196, 143), (274, 200), (384, 280)]
    assert octave_sizes(64, 64, 8, 1.4) == [(33, 33), (46, 46), (64, 64)]
    assert octave_sizes(20, 20, 4, 1.4) == [(20, 20)]


def test_one_step_by_hand(model: Model, start: Tensor) -> None:
    """One octave, no jitter: the step is the normalized gradient of half the sum of squares."""
    net = _net()
    image = start[None].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(net[0]((image - 0.5) / 0.5).square().sum() / 2, image)
    expected = (image + 1.5 / 255 * gradient / gradient.abs().mean()).clamp(0, 1)[0]
    dreamer = Dreamer(model, start, layer="0", octaves=1, jitter=0)
    found = dreamer.advance().image.transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected.detach().numpy() * 255, atol=0.501)
    assert np.abs(found - start.numpy() * 255).mean() > 0.5


def test_jitter_is_undone() -> None:
    """For an objective that does not see shifts, the picture does not depend on the jitter."""
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Model(net, preprocess={"mean": [0.0] * 3, "std": [1.0] * 3, "size": 40}, device="cpu")
    start = torch.rand(3, 40, 40)
    still = Dreamer(model, start, layer="0", octaves=1, jitter=0)
    shaken = Dreamer(model, start, layer="0", octaves=1, jitter=17)
    for _ in range(4):
        still.advance()
        shaken.advance()
    difference = still.frame().image.astype(int) - shaken.frame().image
    assert np.abs(difference).max() <= 1


def test_more_iterations_continue(model: Model, start: Tensor) -> None:
    """T steps are the first T of any longer dream."""
    whole = [frame.image for frame in frames(Dreamer(model, start, layer="2", octaves=2), 23)]
    again = Dreamer(model, start, layer="2", octaves=2)
    first = [frame.image for frame in frames(again, 7)]
    rest = [frame.image for frame in frames(again, 23)]
    assert len(first) == 8
    assert len(whole) == 24
    for one, other in zip(whole, first + rest, strict=True):
        assert np.array_equal(one, other)


def test_octaves_follow_the_schedule(model: Model, start: Tensor) -> None:
    found = [frame.octave for frame in frames(Dreamer(model, start, layer="2", octaves=2), 25)]
    assert found == [0] * (ITERATIONS_PER_OCTAVE + 1) + [1] * 15


def test_detail_of_a_coarse_octave_is_carried(model: Model, start: Tensor) -> None:
    dreamer = Dreamer(model, start, layer="2", octaves=2, jitter=0)
    for _ in range(ITERATIONS_PER_OCTAVE):
        before = dreamer.advance().image
    after = dreamer.advance().image
    photo = (start * 255).round().permute(1, 2, 0).numpy()
    # One step adds little to what the coarse octave already made.
    assert np.abs(after.astype(float) - before).mean() < np.abs(before - photo).mean() / 2


def test_objective_rises(model: Model, start: Tensor) -> None:
    found = [frame.objective for frame in frames(Dreamer(model, start, layer="2", octaves=1), 12)]
    assert found[12] > 1.1 * found[1]


def test_one_channel(model: Model, start: Tensor) -> None:
    dreamer = Dreamer(model, start, layer="2", channel=3, octaves=1, jitter=0)
    assert dreamer.channels == 4
    before = activation(model, model.pixels_to_input(start[None]), "2")[:, 3].mean()
    for _ in range(5):
        frame = dreamer.advance()
    pixels = torch.from_numpy(frame.image).permute(2, 0, 1)[None] / 255
    assert activation(model, model.pixels_to_input(pixels), "2")[:, 3].mean() > before


def test_stops_at_the_layer(model: Model, start: Tensor) -> None:
    Dreamer(model, start, layer="2").advance()
    counter = model.net[4]
    before = float(counter.ran)
    Dreamer(model, start, layer="2").advance()
    assert float(counter.ran) == before
    assert not model.net[2]._forward_hooks


def test_in_place_activation_does_not_reach_back(model: Model, start: Tensor) -> None:
    seen = activation(model, model.pixels_to_input(start[None]), "0")
    assert float(seen.min()) < 0


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({"layer": "nonsense"}, ValueError, "nonsense"),
        ({"layer": "2", "channel": 4}, ValueError, "from 0 to 3"),
        ({"layer": "2", "channel": -1}, ValueError, "from 0 to 3"),
        ({"layer": "2", "channel": 1.5}, TypeError, "whole number or None"),
        ({"iterations": -1}, ValueError, "from 0 to 200"),
        ({"octaves": 0}, ValueError, "from 1 to 8"),
        ({"octave_scale": float("nan")}, ValueError, "from 1.1 to 2"),
        ({"step": 0}, ValueError, "from 0.1 to 10"),
        ({"jitter": "x"}, TypeError, "jitter must be"),
        ({"size": 100_000}, ValueError, "from 64 to 1024"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 0.5}, TypeError, "seed"),
    ],
)
def test_bad_parameters(model: Model, params: dict[str, Any], error: type, said: str) -> None:
    photo = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(error) as raised:
        xai.deep_dream(model, photo, progress=False, **params)
    assert said in str(raised.value)


def test_network_of_one_size_says_what_to_do() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5))
    model = Model(net, preprocess={"mean": [0.0] * 3, "std": [1.0] * 3, "size": 64}, device="cpu")
    photo = np.random.default_rng(0).integers(0, 255, (90, 64, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="use octaves=1 and size=64"):
        xai.deep_dream(model, photo, layer="1", size=64, octaves=3, octave_scale=1.2)
    dream = xai.deep_dream(model, photo, layer="1", size=64, octaves=1, iterations=2)
    assert dream.image.shape == (64, 64, 3)


def test_network_that_writes_into_its_input() -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = _net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.sub_(0.5).div_(0.5))

    photo = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3))
    photo = (photo * 255).round() / 255  # as files hold it
    before = photo.clone()
    found = xai.deep_dream(
        Model(Writing(), "identity", device="cpu"), photo, "net.2", octaves=1, iterations=3, size=64
    )
    assert torch.equal(photo, before)
    # The same where the network is given what it would have made of the photo.
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 64}
    model = Model(_net(), preprocess, device="cpu")
    expected = xai.deep_dream(model, photo, "2", octaves=1, iterations=3, size=64)
    np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-4)
    assert np.array_equal(found.start, expected.start)


def test_call(model: Model, tmp_path: Any) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    dream = xai.deep_dream(model, photo, "2", iterations=12, octaves=2, size=90, progress=False)
    assert dream.image.shape == dream.start.shape == (60, 90, 3)
    assert dream.objective.shape == (12,)
    assert np.isfinite(dream.objective).all()
    assert "12 iterations" in repr(dream)
    from PIL import Image

    saved = Image.open(dream.save(tmp_path / "dream.png"))
    assert np.array_equal(np.asarray(saved), dream.image)
    again = xai.deep_dream(model, photo, "2", iterations=12, octaves=2, size=90, progress=False)
    assert np.array_equal(again.image, dream.image)
