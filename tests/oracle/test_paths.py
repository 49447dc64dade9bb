"""Path methods against loops in plain float64 code, and against PAIR's saliency library."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from saliency.core import GuidedIG
from saliency.core import xrai as pair_xrai
from scipy.ndimage import gaussian_filter
from torch import Tensor

from tests.oracle import nets
from tests.oracle.small import SIDE, every_net, pair_of, task_of
from xaiwidgets.explanation import estimates
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.methods.regions import painted, ranked, segments


def _ours(name: str, method: str, **params: object) -> Tensor:
    return last_of(estimates(task_of(name), method, params)).value


def _slope(name: str, x: Tensor) -> tuple[float, Tensor]:
    """The class's logit and its gradient at one input `(C, H, W)`."""
    x = x.clone().requires_grad_()
    score = pair_of(name)[0](x[None])[0, task_of(name).target]
    (found,) = torch.autograd.grad(score, x)
    return float(score.detach()), found


def _turned(task: Task) -> Tensor:
    """A baseline, pixels `(C, H, W)`: the photo upside down.

    On a plain color all inputs of a max-pooling are equal but for rounding, and which of them gets
    the gradient is another matter on each processor.
    """
    return task.prepared.pixels.flip(1, 2)


def _start(task: Task) -> Tensor:
    return task.model.pixels_to_input(blank(task, _turned(task)))


@every_net
def test_idgi(name: str) -> None:
    task, steps = task_of(name), 4
    start, end = _start(task), task.x[0]
    expected = torch.zeros_like(end)
    for step in range(steps):
        here, slope = _slope(name, start + (end - start) * step / steps)
        there, _ = _slope(name, start + (end - start) * (step + 1) / steps)
        expected += slope * slope * (there - here) / (slope * slope).sum()
    assert nets.distance(_ours(name, "idgi", steps=steps, baseline=_turned(task)), expected) < 1e-9


@pytest.mark.parametrize("grid", ["linear", "sqrt"])
@every_net
def test_blur_ig(name: str, grid: str) -> None:
    """The derivative of the blur by differences of SciPy's filter."""
    task, steps, largest = task_of(name), 3, 12.0
    x = task.x[0]

    def blurred(sigma: float) -> Tensor:
        sigmas = (0, sigma, sigma)
        return torch.from_numpy(gaussian_filter(x.numpy(), sigmas, mode="reflect", truncate=9))

    expected = torch.zeros_like(x)
    for step in range(steps):
        share = (step + 0.5) / steps
        if grid == "linear":
            sigma, weight = largest * share, largest / steps
        else:
            sigma, weight = largest * math.sqrt(share), largest / steps / 2 / math.sqrt(share)
        # A fourth-order difference: its own error is below 1e-10.
        h = 1e-3 * sigma
        near, far = (blurred(sigma + k * h) - blurred(sigma - k * h) for k in (1, 2))
        rate = (8 * near - far) / (12 * h)
        expected -= _slope(name, blurred(sigma))[1] * rate * weight
    ours = _ours(name, "blur_ig", steps=steps, sigma_max=largest, grid=grid)
    assert nets.distance(ours, expected) < 1e-9


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """PAIR's guided IG between two inputs."""
    quantile = np.quantile

    def renamed(values: Any, share: float, interpolation: str) -> Any:
        return quantile(values, share, method=interpolation)

    # Its last release calls numpy by a name that is gone.
    monkeypatch.setattr(np, "quantile", renamed)

    def guided(name: str, start: Tensor, end: Tensor, **options: Any) -> Tensor:
        def call(x: NDArray[np.float64], call_model_args: Any, expected_keys: Any) -> Any:
            found = [_slope(name, torch.from_numpy(row))[1].numpy() for row in x]
            return {"INPUT_OUTPUT_GRADIENTS": np.stack(found)}

        found = GuidedIG().GetMask(end.numpy(), call, x_baseline=start.numpy(), **options)
        return torch.from_numpy(found)

    return guided


@pytest.mark.parametrize(("fraction", "distance"), [(0.25, 0.02), (0.1, 0.3), (0.5, 1.0)])
@every_net
def test_guided_ig(
    name: str, fraction: float, distance: float, pair: Callable[..., Tensor]
) -> None:
    task = task_of(name)
    options = {"fraction": fraction, "max_dist": distance}
    expected = pair(name, _start(task), task.x[0], x_steps=6, **options)
    ours = _ours(name, "guided_ig", steps=6, baseline=_turned(task), **options)
    assert nets.distance(ours, expected) < 1e-9


@every_net
def test_guided_ig_with_an_anchor_is_a_chain_of_two(name: str, pair: Callable[..., Tensor]) -> None:
    task = task_of(name)
    start, end = _start(task), task.x[0]
    middle, options = (start + end) / 2, {"fraction": 0.2, "max_dist": 1.0}
    expected = pair(name, start, middle, x_steps=3, **options)
    expected += pair(name, middle, end, x_steps=3, **options)
    options["baseline"] = _turned(task)
    ours = _ours(name, "guided_ig", steps=6, anchors=1, **options)
    assert nets.distance(ours, expected) < 1e-9


def test_xrai_regions_are_those_of_pair() -> None:
    """Its segments of a photo, and its ranking of coarser ones of a small photo."""
    pixels = torch.from_numpy(np.array(nets.photo()[:224, :224])).permute(2, 0, 1).double() / 255
    theirs = pair_xrai._get_segments_felzenszwalb(pixels.permute(1, 2, 0).numpy())
    ours = segments(pixels, 150)
    assert {mask.tobytes() for mask in ours} == {mask.tobytes() for mask in theirs}


def test_xrai_ranking_is_that_of_pair() -> None:
    generator = np.random.default_rng(1)
    attribution = gaussian_filter(generator.normal(size=(60, 60)), 2)
    labels = [(np.add.outer(np.arange(60) // k, 100 * (np.arange(60) // k))) for k in (7, 12, 25)]
    masks = np.stack([labels_of == v for labels_of in labels for v in np.unique(labels_of)])
    options = pair_xrai.XRAIParameters(return_xrai_segments=True)
    theirs = pair_xrai.XRAI().GetMaskWithDetails(
        np.zeros((60, 60, 1)),
        None,
        segments=list(masks),
        base_attribution=attribution[..., None],
        extra_parameters=options,
    )
    ours = ranked(torch.from_numpy(attribution), masks, 50)
    np.testing.assert_allclose(painted(ours), theirs.attribution_mask, atol=1e-12)


@every_net
def test_xrai(name: str) -> None:
    task, steps = task_of(name), 3
    total = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    for color in (torch.zeros_like, torch.ones_like):
        start = task.model.pixels_to_input(color(task.prepared.pixels))
        way = task.x[0] - start
        for step in range(steps):
            slope = _slope(name, start + way * (step + 0.5) / steps)[1]
            total += (slope * way).sum(0) / steps / 2
    values, expected = total.numpy().ravel(), np.zeros(SIDE * SIDE)
    masks, left = segments(task.prepared.pixels, 150).reshape(-1, SIDE * SIDE), expected == 0
    least = round(50 * SIDE**2 / 224**2)
    while wide := [mask & left for mask in masks if (mask & left).sum() >= least]:
        best = max(wide, key=lambda mask: values[mask].mean())
        expected[best] = values[best].mean()
        left &= ~best
    if left.any():
        expected[left] = values[left].mean()
    assert nets.distance(_ours(name, "xrai", steps=steps), torch.from_numpy(expected)) < 1e-9
