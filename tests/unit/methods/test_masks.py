"""Optimized masks on networks that look at one known square."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaiwidgets.engine.descent import chained, descend
from xaiwidgets.engine.features import logits_and_features
from xaiwidgets.engine.gaussian import blur
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Estimate, last_of
from xaiwidgets.methods.extremal_perturbation import AREAS, reread
from xaiwidgets.methods.masks import Upsampling, variation
from xaiwidgets.methods.meaningful_perturbation import _disks, _first_enough, _moved, _shift
from xaiwidgets.methods.perceptual_ball import chosen_layers
from xaiwidgets.methods.smooth_masks import Blurs, SoftDisks, area_penalty
from xaiwidgets.model import Model

SIDE = 32
SQUARE = (slice(8, 20), slice(12, 24))
WANTED = torch.zeros(SIDE, SIDE, dtype=torch.bool)
WANTED[SQUARE] = True
CHECKS = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double().repeat(SIDE // 2, SIDE // 2)


class Square(nn.Module):
    """How much of a checkerboard is in the square, against a constant; then two dead classes."""

    def forward(self, x: Tensor) -> Tensor:
        seen = (x.mean(1) * CHECKS.to(x))[:, SQUARE[0], SQUARE[1]].mean((1, 2)) * 2
        return torch.stack([16 * seen - 8, seen * 0, seen * 0], 1)


def _model(net: nn.Module | None = None) -> Model:
    return Model(net or Square(), preprocess="identity", device="cpu", dtype=torch.float64)


def _photo() -> Tensor:
    return ((1 + CHECKS) / 2).expand(3, SIDE, SIDE).clone()


def _run(method: str, **params: Any) -> Estimate:
    return last_of(estimates(make_task(_model(), _photo(), 0), method, params))


def _overlap(mask: Tensor) -> float:
    mask = mask > 0.5
    return float((mask & WANTED).sum() / (mask | WANTED).sum())


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


# -- each method finds the square ---------------------------------------------------------------


def test_the_photo_is_of_the_class() -> None:
    task = make_task(_model(), _photo())
    assert task.logits.tolist() == pytest.approx([8, 0, 0])


@pytest.mark.parametrize("game", ["deletion", "preservation"])
def test_meaningful_perturbation(game: str) -> None:
    found = _run(
        "meaningful_perturbation",
        iterations=200,
        game=game,
        resolution=16,
        jitter=0,
        l1=1e-3,
        reference="mean",
    )
    value, told = found.value, found.diagnostics
    assert told["score_photo"] > 0.99
    assert told["score_reference"] < 0.01
    assert _overlap(value) > 0.6
    assert float(value[WANTED].mean()) > 4 * float(value[~WANTED].mean())
    if game == "deletion":
        assert told["score_masked"] < 0.1
    else:
        assert told["score_masked"] > 0.9
    assert told["area"] == pytest.approx(float(value.mean()))
    assert told["area"] < 0.25


@pytest.mark.parametrize("game", ["preserve", "delete"])
def test_extremal_perturbation(game: str) -> None:
    area = float(WANTED.double().mean())
    found = _run(
        "extremal_perturbation", iterations=80, game=game, area=round(area, 2), resolution=16
    )
    assert _overlap(found.value) > 0.65
    told, detail = found.diagnostics, found.detail
    assert told["score_photo"] == pytest.approx(8)
    assert (told["score_masked"] > 0) if game == "preserve" else (told["score_masked"] < -4)
    for wanted, mask, penalty in zip(detail.areas, detail.masks, detail.penalties, strict=True):
        assert float(mask.mean()) == pytest.approx(wanted, abs=0.05)
        assert penalty < 0.05
    # More area can only help.
    gains = np.diff(detail.scores) * (1 if game == "preserve" else -1)
    assert (gains > -1e-6).all()


def test_extremal_perturbation_of_other_areas() -> None:
    found = _run("extremal_perturbation", iterations=3, area=0.3, resolution=8)
    assert found.detail.areas == tuple(sorted({*AREAS, 0.3}))
    for index, area in enumerate(found.detail.areas):
        again = reread(found.detail, area)
        assert torch.equal(again.value, found.detail.masks[index])
        assert again.finished
    # Areas do not know of each other.
    alone = _run("extremal_perturbation", iterations=3, area=0.4, resolution=8)
    torch.testing.assert_close(alone.value, reread(found.detail, 0.4).value)


def test_phang_mask() -> None:
    found = _run(
        "phang_mask", iterations=100, resolution=16, reference="mean", w_size=1.0, w_tv=0.1
    )
    told = found.diagnostics
    assert _overlap(found.value) > 0.6
    assert told["probability_in"] > 0.9
    assert told["probability_out"] < 0.4
    assert told["area"] < 0.3
    total = told["loss_in"] + told["loss_out"] + told["regularization"]
    assert told["loss"] == pytest.approx(total)


def test_perceptual_ball_of_a_linear_network() -> None:
    """The smallest change runs along the weights, and ends where the margin is reached."""
    found = _run(
        "perceptual_ball", iterations=300, layers="none", smoothing=0, w_image=100, margin=2.0
    )
    assert found.diagnostics["lead_photo"] == pytest.approx(8)
    assert found.diagnostics["lead"] == pytest.approx(-2, abs=0.3)
    assert float(found.value[~WANTED].abs().max()) == 0
    np.testing.assert_allclose(found.value[WANTED], float(found.value[WANTED].mean()))
    # Lead is 16 (1 - 2 d) - 8 when each channel of the square is moved by d.
    assert float(found.value[WANTED].mean()) / 3 == pytest.approx(10 / 32, abs=0.01)


# -- the pieces by hand -------------------------------------------------------------------------


def test_upsampling_by_loops() -> None:
    mask = _random(2, 1, 4, 5)
    found = Upsampling((4, 5), (9, 11), 0.7, mask)(mask)
    for place in ((0, 0), (3, 7), (8, 10)):
        total = weights = 0.0
        for row, column in itertools.product(range(4), range(5)):
            down = (place[0] + 0.5) * 4 / 9 - row - 0.5
            right = (place[1] + 0.5) * 5 / 11 - column - 0.5
            weight = math.exp(-(down**2 + right**2) / 2 / 0.7**2)
            total, weights = total + weight * float(mask[1, 0, row, column]), weights + weight
        assert float(found[1, 0][place]) == pytest.approx(total / weights, abs=1e-12)


def test_soft_disks_by_loops() -> None:
    """At the frame's size twice the cells', each place is computed and none is interpolated."""
    mask, temperature = _random(2, 1, 6, 7), 0.1
    found = SoftDisks((6, 7), (12, 14), temperature, mask)(mask)
    for place in ((0, 0), (5, 8), (11, 3)):
        center = [(each + 0.5) / 2 - 0.5 for each in place]
        heard = []
        for down, right in itertools.product(range(-4, 5), repeat=2):
            cell = round(center[0]) + down, round(center[1]) + right
            far = math.hypot(cell[0] - center[0], cell[1] - center[1])
            inside = min(max(cell[0], 0), 5), min(max(cell[1], 0), 6)
            heard.append(math.exp(-(max(0, far - 1) ** 2) / 4) * float(mask[1, 0][inside]))
        weights = np.exp(np.array(heard) / temperature)
        expected = float((np.array(heard) * weights).sum() / weights.sum())
        assert float(found[1, 0][place]) == pytest.approx(expected, abs=1e-12)


def test_soft_disks_of_one_cell_and_of_none() -> None:
    mask = torch.zeros(2, 1, 15, 15).double()
    mask[1, 0, 7, 7] = 1
    none, one = SoftDisks((15, 15), (60, 60), 1 / 20, mask)(mask)[:, 0]
    assert float(none.abs().max()) == 0
    assert float(one[29:31, 29:31].min()) > 0.99
    assert float(one[:5].max()) < 1e-6
    # A plain mask has the same pattern everywhere, so that no place is preferred.
    plain = SoftDisks((15, 15), (60, 60), 1 / 20, mask)(torch.full((1, 1, 15, 15), 0.5).double())
    inner = plain[0, 0, 2:-2, 2:-2]
    assert float(inner.max() - inner.min()) < 0.03


def test_blurs_by_hand() -> None:
    photo = _random(1, 2, 10, 12)
    mask = torch.tensor([1.0, 0.0, 0.75, 0.3]).double().reshape(4, 1, 1, 1).expand(4, 1, 10, 12)
    sharp, soft, exact, between = Blurs(photo, 4.0)(mask)
    torch.testing.assert_close(sharp, photo[0])
    torch.testing.assert_close(soft, blur(photo, 4.0)[0])
    torch.testing.assert_close(exact, blur(photo, 1.0)[0])
    # 0.7 * 8 = 5.6, between the fifth and the sixth blur.
    expected = 0.4 * blur(photo, 2.5) + 0.6 * blur(photo, 3.0)
    torch.testing.assert_close(between, expected[0])


def test_area_penalty_by_hand() -> None:
    masks = torch.tensor([[0.5, 1, 0, 0.25], [0, 1, 0, 1]]).double().reshape(2, 1, 2, 2)
    found = area_penalty(masks, torch.tensor([0.25, 0.5]))
    assert found.tolist() == pytest.approx([(0.25**2 + 0.5**2) / 4, 0])


def test_variation_by_hand() -> None:
    mask = torch.tensor([[1.0, 3.0], [0.0, 0.0]])[None, None]
    assert float(variation(mask, 1)) == 1 + 3 + 2
    assert float(variation(mask, 3)) == pytest.approx(1 + 27 + 8)
    assert float(variation(mask, 1, 0.1)) == pytest.approx(
        sum(math.sqrt(d * d + 0.01) - 0.1 for d in (1, 3, 2, 0))
    )


@pytest.mark.parametrize(
    "function",
    [
        Upsampling((4, 5), (7, 9), 0.6, torch.zeros(1).double()),
        SoftDisks((4, 5), (8, 10), 0.2, torch.zeros(1).double()),
        lambda mask: Blurs(_random(1, 2, 4, 5, seed=3), 2.0)(mask),
        lambda mask: area_penalty(mask, torch.tensor([0.3, 0.6])),
        lambda mask: variation(mask, 3),
        lambda mask: variation(mask, 1, 0.01),
    ],
)
def test_gradients_of_the_pieces(function: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(function, (_random(2, 1, 4, 5).requires_grad_(),))


class Curved(nn.Module):
    """Smooth, so that differences can tell its gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.act = nn.Conv2d(2, 3, 3), nn.SiLU(inplace=True)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.first(x)).mean((2, 3)))


def test_chained_gradient_by_differences() -> None:
    model, photo, mask = _model(Curved()), _random(2, 2, 8, 8), _random(1, 1, 4, 4, seed=5)
    upsample = Upsampling((4, 4), (8, 8), 0.6, mask)

    def images(mask: Tensor) -> Tensor:
        return photo * upsample(mask)

    def loss(logits: Tensor, start: int, stop: int) -> Tensor:
        return logits[:, 1].square() * torch.arange(1, 3)[start:stop]

    def penalty(mask: Tensor) -> Tensor:
        return mask.pow(3).sum()

    found, total, logits = chained(model, mask, images, loss, penalty)
    assert total == pytest.approx(float(loss(model.net(images(mask)), 0, 2).sum() + penalty(mask)))
    assert logits.shape == (2, 4)
    for place in itertools.product(range(4), repeat=2):
        shift = torch.zeros_like(mask)
        shift[0, 0][place] = 1e-5
        high, low = (chained(model, mask + k * shift, images, loss, penalty)[1] for k in (1, -1))
        assert float(found[0, 0][place]) == pytest.approx((high - low) / 2e-5, abs=1e-8)


def test_descent_is_adam() -> None:
    start, matrix = _random(5), _random(5, 5, seed=1)

    def cost(point: Tensor) -> Tensor:
        return (matrix @ point - 1).square().sum()

    def slope(point: Tensor, _: int) -> tuple[Tensor, Tensor]:
        point = point.clone().requires_grad_()
        return torch.autograd.grad(cost(point), point)[0], point.detach()

    ours = [told for _, told in descend(start, slope, iterations=8, rate=0.03, low=-9.0, high=9.0)]
    theirs = start.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.03)
    for point in ours:
        torch.testing.assert_close(point, theirs.detach(), rtol=1e-10, atol=1e-12)
        adam.zero_grad()
        cost(theirs).backward()
        adam.step()


def test_descent_stays_within_its_bounds_and_keeps_proportions() -> None:
    weights = torch.tensor([1.0, -3.0, 0.0])

    def slope(point: Tensor, _: int) -> tuple[Tensor, Tensor]:
        return weights, point.clone()

    last = list(descend(torch.zeros(3), slope, iterations=50, rate=0.1, low=-0.5))[-1][1]
    assert last.tolist() == [-0.5, 1, 0]
    points = list(descend(torch.zeros(3), slope, iterations=3, rate=0.1, together=True, low=-9.0))
    size = 0.1 / math.sqrt(10 / 3)
    assert points[1][1].tolist() == pytest.approx([-size, 3 * size, 0])


def test_first_disk() -> None:
    disks = _disks((8, 8), True, torch.zeros(1))
    assert disks.shape == (9, 1, 8, 8)
    sizes = [float((1 - disk).sum()) for disk in disks]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 64
    assert _first_enough([1, 0, 0.9, 0.5, 0.005, 0, 0], True) == 2
    assert _first_enough([1, 0, 0.9, 0.995, 1], False) == 1
    # The class is not hurt by the reference.
    assert _first_enough([0.1, 0.5, 0.3, 0.2], True) == 4


def test_jitter() -> None:
    shifts = {_shift(0, iteration, 4) for iteration in range(200)}
    assert {down for down, _ in shifts} == {right for _, right in shifts} == {-2, -1, 0, 1}
    assert _shift(3, 1, 4) == _shift(3, 1, 4)
    assert {_shift(0, iteration, 1) for iteration in range(9)} == {(0, 0)}
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert _moved(image, (0, 1)).tolist() == [[[[0, 0, 1], [3, 3, 4]]]]
    assert _moved(image, (-1, -1)).tolist() == [[[[4, 5, 5], [4, 5, 5]]]]


# -- layers -------------------------------------------------------------------------------------


def test_features_are_copies_and_leave_no_hooks() -> None:
    model, x = _model(Curved()), _random(1, 2, 8, 8)
    logits, ((before,), (after,)) = logits_and_features(model, x, ["first", "act"])
    assert float(before.detach().min()) < float(after.detach().min())
    torch.testing.assert_close(after, nn.functional.silu(before))
    torch.testing.assert_close(logits, model.net(x))
    with pytest.raises(ValueError, match='no layer "firts"'):
        logits_and_features(model, x, ["act", "firts"])
    model.net.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='"unused" is not reached'):
        logits_and_features(model, x, ["unused"])
    assert not any(module._forward_hooks for module in model.net.modules())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["bn1", "layer1", "layer2", "layer3", "layer4"]),
        ("swin_t", ["norm", "features.1", "features.3", "features.5"]),
        ("vit_b_32", [f"encoder.layers.encoder_layer_{k}" for k in (2, 5, 8, 11)]),
    ],
)
def test_layers_that_are_chosen(name: str, expected: list[str]) -> None:
    import torchvision

    model = Model(torchvision.models.get_model(name, weights=None), device="cpu")
    assert chosen_layers(model.layers(), (224, 224)) == expected


def test_networks_that_cannot_be_asked() -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3))[:, None]

    for method in ("phang_mask", "perceptual_ball"):
        with pytest.raises(ValueError, match="one class"):
            last_of(estimates(make_task(_model(One()), _photo(), 0), method, {}))
    with pytest.raises(ValueError, match="No layers with maps or tokens"):
        _run("perceptual_ball")
    with pytest.raises(ValueError, match='no layer "missing"'):
        _run("perceptual_ball", layers=["missing"])
    with pytest.raises(TypeError, match="layers must be"):
        _run("perceptual_ball", layers=3)
