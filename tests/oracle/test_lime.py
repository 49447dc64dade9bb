"""LIME against scikit-learn's ridge, against lime 0.2, and by hand."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor, nn

import xaiwidgets as xai
from tests.oracle.black_box import NETS, answer, small_task
from tests.toys import Functional, noise, toy_model
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.methods.least_squares import lasso_choice, moments, ridge
from xaiwidgets.methods.lime import coin_flips, proximity, refit
from xaiwidgets.methods.scores import scored
from xaiwidgets.methods.segments import segment
from xaiwidgets.methods.toggling import toggle
from xaiwidgets.model import Model

SAMPLES, SEGMENTS = 60, 12


@functools.cache
def _ours(name: str) -> Estimate:
    params = {"samples": SAMPLES, "segments": SEGMENTS}
    return last_of(estimates(small_task(name), "lime", params))


@functools.cache
def _plain(name: str) -> tuple[Tensor, Tensor]:
    """The samples, and the logits of the photos that they stand for, from the plain network."""
    task = small_task(name)
    gray = task.prepared.pixels.mean((1, 2))[:, None, None].expand(task.x.shape[1:])
    filling = task.model.pixels_to_input(gray)[None]
    labels = segment(task.prepared.pixels, "slic", SEGMENTS)
    kept = coin_flips(task, SAMPLES, int(labels.max()) + 1)
    images = torch.cat([torch.where(row[labels], task.x, filling) for row in kept])
    return kept, answer(name, images, lambda logits: logits, "logit")


def _refit(name: str, **params: Any) -> Estimate:
    return refit(_ours(name).detail.toggled, small_task(name).score, **params)


@pytest.mark.parametrize("kind", ["probability", "logit"])
@pytest.mark.parametrize("name", NETS)
def test_ridge_of_scikit_learn(name: str, kind: str) -> None:
    kept, logits = _plain(name)
    weights = torch.exp(-((1 - kept.double().mean(1).sqrt()) ** 2) / 0.4**2).numpy()
    scores = scored(logits, small_task(name).score, kind)
    model = Ridge(alpha=0.7).fit(kept.numpy(), scores, sample_weight=weights)
    last = _refit(name, alpha=0.7, width=0.4, score=kind)
    expected = model.coef_[last.detail.toggled.labels]
    scale = np.abs(expected).max()
    # What is explained may be small next to the score, and the score is rounded.
    atol = 1e-9 * scale + 1e-14 * float(scores.abs().max())
    np.testing.assert_allclose(last.value, expected, rtol=0, atol=atol)
    r2 = model.score(kept.numpy(), scores, sample_weight=weights)
    assert last.diagnostics["r2"] == pytest.approx(r2, abs=1e-6)
    # scikit-learn predicts the score, ours its difference from that of the photo.
    assert last.detail.fit.intercept + float(scores[0]) == pytest.approx(model.intercept_)


@pytest.mark.parametrize("select", ["all", "lasso"])
@pytest.mark.parametrize("name", NETS)
def test_the_authors_fit(name: str, select: str) -> None:
    """The same samples and scores, handed to lime 0.2."""
    width = 0.25
    kept, logits = _plain(name)
    scores = scored(logits, small_task(name).score, "probability")
    # Below 1e-7 the lasso path of lime 0.2 takes everything for zero, and so chooses everything.
    scale = float(scores.std())
    data = kept.double().numpy()
    theirs = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / width**2)))
    features = 5 if select == "lasso" else data.shape[1]
    _, found, r2, _ = theirs.explain_instance_with_data(
        data,
        scores[:, None].numpy() / scale,
        1 - np.sqrt(data.mean(1)),
        0,
        features,
        feature_selection="lasso_path" if select == "lasso" else "none",
    )
    expected = np.zeros(data.shape[1])
    for number, weight in found:
        expected[number] = weight
    last = _refit(name, features=features, select=select, width=width * 2**0.5)
    ours = last.detail.fit.weights / scale
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert last.diagnostics["r2"] == pytest.approx(r2, abs=1e-6)
    assert last.detail.strongest(features).tolist() == [number for number, _ in found]


def test_the_authors_images() -> None:
    """Which pixels lime 0.2 covers, with what, and how samples count: its flips, our answers."""
    task = make_task(toy_model(Functional(), dtype=torch.float64), noise())
    labels = segment(task.prepared.pixels, "grid", 9)
    image = task.prepared.pixels.permute(1, 2, 0).double().numpy()

    black = task.model.pixels_to_input(torch.zeros_like(task.prepared.pixels))[None]

    def asked(images: NDArray[Any]) -> NDArray[Any]:
        # Our input was normalized in float32; normalizing theirs in float64 would differ by 1e-8.
        kept = torch.from_numpy(np.stack(list(images)) == image).permute(0, 3, 1, 2)
        with torch.no_grad():
            return task.model.logits(torch.where(kept, task.x, black)).softmax(1).numpy()

    found = LimeImageExplainer(kernel_width=0.25, random_state=0).explain_instance(
        image,
        asked,
        labels=(task.target,),
        top_labels=None,
        hide_color=0,
        num_samples=50,
        num_features=9,
        random_seed=0,
        segmentation_fn=lambda _: labels.numpy(),
    )
    expected = [weight for _, weight in sorted(found.local_exp[task.target])]
    flips = np.random.RandomState(0).randint(0, 2, 50 * 9).reshape(50, 9)
    flips[0] = 1
    *_, (_, _, toggled) = toggle(task, labels, torch.from_numpy(flips).bool(), "black")
    ours = refit(toggled, task.score, width=0.25 * 2**0.5).detail.fit
    np.testing.assert_allclose(ours.weights, expected, rtol=1e-9)
    assert ours.r2 == pytest.approx(found.score, abs=1e-9)


def test_of_a_linear_network() -> None:
    """f is linear in the segments, so without a penalty the weights are its differences."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    model = Model(net, preprocess="identity", device="cpu", dtype=torch.float64)
    photo = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(1, 2, 3)
    labels = np.array([[0, 0, 1], [2, 1, 1]])
    task = make_task(model, photo, 1)
    params = {"segmentation": labels, "samples": 40, "fill": "black", "score": "logit"}
    last = last_of(estimates(task, "lime", {**params, "alpha": 0.01}))
    by_pixel = (net[1].weight[1].detach().double() * photo.flatten()).reshape(2, 3)
    expected = [float(by_pixel[torch.from_numpy(labels) == number].sum()) for number in range(3)]
    np.testing.assert_allclose(last.detail.fit.weights, expected, rtol=0.01, atol=0.01)
    assert last.diagnostics["r2"] > 0.999
    assert last.diagnostics["settled"] > 0.99
    np.testing.assert_array_equal(last.value[0, 0], last.value[0, 1])
    # With everything off the score changes by minus the sum.
    assert last.detail.fit.intercept == pytest.approx(-sum(expected), rel=0.01)


def test_refit_runs_nothing() -> None:
    task = small_task("efficientnet_lite0")
    params = {"samples": 30, "segments": 8}
    last = last_of(estimates(task, "lime", params))
    other = Task(task.model, task.prepared, 7, task.logits, task.seed)
    more: dict[str, Any] = {
        "select": "lasso",
        "features": 3,
        "alpha": 2.0,
        "width": 0.6,
        "score": "logit",
    }
    expected = last_of(estimates(other, "lime", {**params, **more}))
    found = refit(last.detail.toggled, lambda logits: logits[:, 7], **more)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-9, atol=1e-12)
    assert found.diagnostics == pytest.approx(expected.diagnostics)
    assert int((found.detail.fit.weights != 0).sum()) == 3


def test_the_weight_of_a_sample() -> None:
    kept = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    # Cosine distances 0, 1 - 1/2, and 1 for a photo that is gone altogether.
    expected = torch.tensor([0, -1, -4]).double().exp()
    torch.testing.assert_close(proximity(kept, 0.5), expected)


def test_a_network_that_says_the_same_of_everything() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3))[:, None] * 0 + torch.tensor([1.0, 2.0])

    model = Model(Constant(), preprocess="identity", device="cpu")
    for select in ("all", "lasso"):
        found = xai.explain(
            model, torch.rand(3, 9, 9), "lime", segmentation="grid", segments=4, select=select
        )
        assert not found.attribution.any()
        assert found.diagnostics["r2"] == found.diagnostics["settled"] == 0


def test_sums_of_halves_are_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(20, 5, generator=generator).double()
    y, weights = z @ torch.arange(5.0).double() + 3, torch.rand(20, generator=generator)
    whole = moments(z, y, weights)
    parts = moments(z[:7], y[:7], weights[:7]) + moments(z[7:], y[7:], weights[7:])
    torch.testing.assert_close(parts, whole)
    fit = ridge(whole, 1e-9)
    torch.testing.assert_close(fit.weights, torch.arange(5.0).double(), rtol=0, atol=1e-6)
    assert fit.intercept == pytest.approx(3, abs=1e-6)
    assert fit.r2 == pytest.approx(1)
    assert sorted(lasso_choice(whole, 2).tolist()) == [3, 4]
