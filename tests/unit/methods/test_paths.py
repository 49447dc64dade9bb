"""Path methods on networks whose answer is known."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

import xaiwidgets as xai
from tests.unit.methods import test_invariance as invariance
from xaiwidgets.engine.gaussian import blur, blur_and_rate, gaussian_matrix
from xaiwidgets.engine.gradients import gradient
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import last_of
from xaiwidgets.methods.guided_ig import advance
from xaiwidgets.methods.regions import painted, ranked, segments
from xaiwidgets.model import Model


class Of(nn.Module):
    """A network written as a function of the image, with a second class that is zero."""

    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        score = self.function(x)
        return torch.stack([score, score * 0], 1)


def _model(function) -> Model:  # type: ignore[no-untyped-def]
    return Model(Of(function), preprocess="identity", device="cpu", dtype=torch.float64)


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _run(function, photo: Tensor, method: str, **params: object):  # type: ignore[no-untyped-def]
    return last_of(estimates(make_task(_model(function), photo, 0), method, params))


WEIGHTS = _random(3, 8, 8, seed=9) - 0.5


def linear(x: Tensor) -> Tensor:
    return (x * WEIGHTS.to(x)).sum((1, 2, 3))


def curved(x: Tensor) -> Tensor:
    return (x.pow(2) * WEIGHTS.to(x)).sum((1, 2, 3)) + x.mean((1, 2, 3)).sin()


# -- IDGI ---------------------------------------------------------------------------------------


def test_idgi_of_a_linear_network_shares_the_score_by_squared_weights() -> None:
    photo = _random(3, 8, 8)
    expected = WEIGHTS**2 / (WEIGHTS**2).sum() * (WEIGHTS * photo).sum()
    found = _run(linear, photo, "idgi", steps=3)
    torch.testing.assert_close(found.value, expected, rtol=1e-12, atol=1e-14)


def test_idgi_by_hand() -> None:
    """S = y + z^2 from (0, 0) to (1, 2) in two steps, with gradients (1, 0) and (1, 2)."""
    found = _run(
        lambda x: x[:, 0, 0, 0] + x[:, 0, 0, 1] ** 2,
        torch.tensor([[[1.0, 2.0]]], dtype=torch.float64),
        "idgi",
        steps=2,
    )
    # The halves change S by 1.5 and 3.5.
    expected = [1.5 + 3.5 * 1 / 5, 3.5 * 4 / 5]
    np.testing.assert_allclose(found.value.flatten(), expected, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5, 16, 33])
def test_idgi_sums_to_the_difference_with_any_number_of_steps(steps: int) -> None:
    photo = _random(3, 8, 8)
    found = _run(curved, photo, "idgi", steps=steps, baseline="noise")
    assert abs(found.diagnostics["completeness_gap"]) < 1e-12
    assert found.diagnostics["unassigned"] == 0


def test_idgi_tells_what_it_could_not_assign() -> None:
    """S = max(y - 1/2, 0)^2 has no gradient on the first half; the step 2/5 to 3/5 begins there."""
    found = _run(
        lambda x: (x - 0.5).clamp_min(0).pow(2).sum((1, 2, 3)),
        torch.ones(1, 1, 1, dtype=torch.float64),
        "idgi",
        steps=5,
    )
    assert found.diagnostics["unassigned"] == pytest.approx(0.01)
    assert found.diagnostics["completeness_gap"] == pytest.approx(-0.01)
    assert float(found.value) == pytest.approx(0.24)


def test_idgi_of_tiny_gradients_in_single_precision() -> None:
    """The squares of these gradients are below the smallest float32."""
    model = Model(Of(lambda x: x.sum((1, 2, 3)) * 1e-24), preprocess="identity", device="cpu")
    found = xai.explain(model, torch.ones(1, 2, 2), "idgi", 0, steps=3)
    np.testing.assert_allclose(found.attribution, 1e-24, rtol=1e-5)


# -- Gaussian blur and blur IG ------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 40.0])
def test_blur_is_the_gaussian_with_mirrored_edges(sigma: float) -> None:
    photo = _random(2, 9, 14)
    expected = gaussian_filter(photo.numpy(), (0, sigma, sigma), mode="reflect", truncate=9)
    np.testing.assert_allclose(blur(photo, sigma), expected, atol=1e-12)


def test_blur_of_nothing_and_of_everything() -> None:
    photo = _random(1, 5, 7)
    assert torch.equal(blur(photo, 0), photo)
    mean = photo.mean().expand_as(photo)
    torch.testing.assert_close(blur(photo, 100), mean, rtol=1e-9, atol=1e-9)
    for sigma in (0.7, 6.0):
        assert float(blur(photo, sigma).mean()) == pytest.approx(float(photo.mean()), abs=1e-14)


@pytest.mark.parametrize("sigma", [0.4, 1.3, 9.0])
def test_rate_of_the_blur_is_its_derivative(sigma: float) -> None:
    photo, step = _random(2, 9, 14), 1e-5
    blurred, rate = blur_and_rate(photo, sigma)
    difference = (blur(photo, sigma + step) - blur(photo, sigma - step)) / (2 * step)
    torch.testing.assert_close(blurred, blur(photo, sigma), rtol=0, atol=1e-14)
    torch.testing.assert_close(rate, difference, rtol=1e-7, atol=1e-9)
    assert float(gaussian_matrix(6, sigma)[1].sum(1).abs().max()) < 1e-13


@pytest.mark.parametrize("grid", ["linear", "sqrt"])
def test_blur_ig_of_a_linear_network_is_weight_times_what_blur_takes_away(grid: str) -> None:
    photo = _random(3, 8, 8)
    expected = WEIGHTS * (photo - blur(photo, 5.0))
    found = _run(linear, photo, "blur_ig", steps=512, sigma_max=5.0, grid=grid)
    torch.testing.assert_close(found.value, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("grid", ["linear", "sqrt"])
def test_blur_ig_is_complete_in_the_limit(grid: str) -> None:
    photo = _random(3, 8, 8)
    gaps = [
        abs(
            _run(curved, photo, "blur_ig", steps=steps, sigma_max=5.0, grid=grid).diagnostics[
                "completeness_gap"
            ]
        )
        for steps in (8, 32, 128, 512)
    ]
    assert gaps[-1] < 1e-4
    assert gaps[-1] < gaps[0] / 5000


def test_blur_ig_needs_no_color() -> None:
    """A photo of one color has nothing that a blur could take away."""
    found = _run(curved, torch.full((3, 8, 8), 0.3, dtype=torch.float64), "blur_ig", steps=8)
    assert float(found.value.abs().max()) < 1e-13


# -- Guided IG ----------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"max_dist": 1.0}, {"anchors": 3, "max_dist": 1.0}])
def test_guided_ig_of_a_linear_network_is_integrated_gradients(params: dict[str, float]) -> None:
    photo = _random(3, 8, 8)
    found = _run(linear, photo, "guided_ig", steps=7, **params)
    torch.testing.assert_close(found.value, WEIGHTS * photo, rtol=1e-10, atol=1e-12)


def test_guided_ig_without_leave_is_the_straight_line() -> None:
    photo, steps = _random(3, 8, 8), 6
    found = _run(curved, photo, "guided_ig", steps=steps, max_dist=0)
    task = make_task(_model(curved), photo, 0)
    expected = torch.zeros_like(photo)
    for step in range(steps):
        x = (photo * (step / steps))[None].requires_grad_()
        (slope,) = torch.autograd.grad(task.score(task.model.net(x)).sum(), x)
        expected += slope[0] * photo / steps
    torch.testing.assert_close(found.value, expected, rtol=1e-10, atol=1e-12)


def test_guided_ig_avoids_the_wall() -> None:
    """S = y + 100 y z: steep in z once y has come, so z, flat at first, goes before y."""
    photo = torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)

    def function(x: Tensor) -> Tensor:
        return x[:, 0, 0, 0] * (1 + 100 * x[:, 0, 0, 1])

    found = _run(function, photo, "guided_ig", steps=100, fraction=0.5, max_dist=1.0)
    # z's gradient is 0 while y is 0; y then gets everything.
    np.testing.assert_allclose(found.value.flatten(), [101, 0], atol=1e-9)


def test_advance_by_hand() -> None:
    """Ways 4, 2, 2, 0; half-way in sum is 4, and the flattest input alone can give 2."""
    alphas, ways = torch.zeros(4).double(), torch.tensor([4.0, 2.0, 2.0, 0.0]).double()
    slopes = torch.tensor([3.0, 1.0, 2.0, 0.0]).double()
    moved = advance(alphas, ways, slopes, 0.5, 0.0, 1.0, 0.01)
    assert moved.tolist() == pytest.approx([0, 1, 1, 0])
    moved = advance(alphas, ways, slopes, 0.5, 0.1, 0.6, 0.01)
    # 0.4 for all, then 0.6 * 2 for each of the two flat ones; the steep one has to give the rest.
    assert moved.tolist() == pytest.approx([0.4, 0.6, 0.6, 0.1])
    # All at once: the same share of what is left.
    moved = advance(alphas, ways, slopes, 0.5, 0.0, 1.0, 1.0)
    assert moved.tolist() == pytest.approx([0.5, 0.5, 0.5, 0])


def test_guided_ig_does_not_hang_on_the_last_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small network whole regions have one slope, up to the order in which it is added."""
    module = sys.modules["xaiwidgets.methods.guided_ig"]
    model = invariance._model()
    task = make_task(model, invariance._photo(), 2)
    plain = last_of(estimates(task, "guided_ig", {"steps": 9})).value
    noise = torch.Generator().manual_seed(0)

    def rounded(*given: Any, **options: Any) -> tuple[Tensor, Tensor]:
        found, logits = gradient(*given, **options)
        shaken = torch.randn(found.shape, dtype=found.dtype, generator=noise)
        return found * (1 + 1e-12 * shaken), logits

    monkeypatch.setattr(module, "gradient", rounded)
    found = last_of(estimates(task, "guided_ig", {"steps": 9})).value
    assert float((found - plain).norm() / plain.norm()) < 1e-9


@pytest.mark.parametrize("params", [{}, {"max_dist": 0.3}, {"anchors": 4, "max_dist": 1.0}])
def test_guided_ig_is_complete_in_the_limit(params: dict[str, float]) -> None:
    photo = _random(3, 8, 8)
    coarse, fine = (
        abs(
            _run(curved, photo, "guided_ig", steps=steps, **params).diagnostics[
                "completeness_relative"
            ]
        )
        for steps in (8, 512)
    )
    assert fine < 0.05
    assert fine < coarse / 8


def test_photo_that_is_its_own_baseline() -> None:
    photo = torch.zeros(3, 8, 8, dtype=torch.float64)
    for method in ("idgi", "blur_ig", "guided_ig"):
        found = _run(linear, photo, method, steps=4)
        assert float(found.value.abs().max()) == 0
        assert math.isfinite(found.diagnostics["completeness_gap"])


# -- XRAI ---------------------------------------------------------------------------------------


def test_ranking_by_hand() -> None:
    """A row of six pixels and four overlapping segments."""
    attribution = torch.tensor([[4.0, 2.0, 6.0, 0.0, -1.0, 5.0]])
    rows = [[1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0]]
    masks = np.array(rows, bool)[:, None]
    # Densities 4, 4, 2, -1: the first of equals; then nothing is left of the second, and of the
    # third only the 0. The last pixel is in no segment.
    regions = ranked(attribution, masks, 1)
    assert [region.density for region in regions] == [4, 0, -1, 5]
    assert [region.mask[0].tolist() for region in regions] == [
        [True, True, True, False, False, False],
        [False, False, False, True, False, False],
        [False, False, False, False, True, False],
        [False, False, False, False, False, True],
    ]
    assert painted(regions).tolist() == [[4, 4, 4, 0, -1, 5]]
    # With at least two pixels only the first is added, and the rest is one.
    regions = ranked(attribution, masks, 2)
    assert [region.density for region in regions] == [4, pytest.approx(4 / 3)]


def test_segments_of_a_checkerboard() -> None:
    """Four plain squares are found at every scale, once, five pixels beyond their borders."""
    pixels = torch.zeros(3, 224, 224)
    pixels[0, :112, 112:], pixels[1, 112:, :112], pixels[:, 112:, 112:] = 1, 1, 1
    masks = segments(pixels, 150)
    whole = [mask for mask in masks if mask.sum() > 5000]
    assert len(whole) >= 4
    corner = min(whole, key=lambda mask: (~mask[:100, :100]).sum() + mask[130:].sum())
    assert corner[:112, :112].all()
    assert not corner[124:].any()
    assert not corner[:, 124:].any()
    # Dilated: it reaches over its border.
    assert corner[:100, 112:114].all()
    assert masks.any(0).all()


def test_xrai_finds_the_square_that_matters() -> None:
    photo = torch.full((3, 64, 64), 0.2, dtype=torch.float64)
    photo[:, 8:32, 8:32] = torch.tensor([0.9, 0.1, 0.4], dtype=torch.float64)[:, None, None]
    photo[:, 40:60, 30:50] = torch.tensor([0.1, 0.8, 0.9], dtype=torch.float64)[:, None, None]
    wanted = torch.zeros(64, 64, dtype=torch.bool)
    wanted[8:32, 8:32] = True

    def function(x: Tensor) -> Tensor:
        return x[:, 0, 8:32, 8:32].sum((1, 2))

    found = _run(function, photo, "xrai", steps=4)
    # Parts of the square are as dense as all of it, so which of them comes first is open.
    best = found.value > found.value.max() / 2
    overlap = float((best & wanted).sum() / (best | wanted).sum())
    assert overlap > 0.8
    assert abs(found.diagnostics["completeness_gap"]) < 1e-9
    assert float(found.value.sum()) == pytest.approx(24 * 24 * (0.9 - 0.5))
    assert sum(region.mask.sum() for region in found.detail) == 64 * 64


def test_xrai_of_a_photo_without_any_segment_border() -> None:
    photo = torch.full((3, 32, 32), 0.2, dtype=torch.float64)
    found = _run(lambda x: x.mean((1, 2, 3)), photo, "xrai", steps=2)
    np.testing.assert_allclose(found.value, (0.2 - 0.5) / 32**2, rtol=1e-9)
    assert len(found.detail) == 1
