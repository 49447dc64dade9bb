"""Where integrated gradients steps, how much each step counts, and when it may end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import roots_legendre
from torch import Tensor, nn

from tests.toys import Residual, noise, toy_model
from xaiwidgets.engine.batching import Batcher
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.methods.halves import correlation, half_of
from xaiwidgets.methods.integrated_gradients import _Closing, spread
from xaiwidgets.methods.path_grid import (
    GRIDS,
    PROBES,
    Grid,
    adaptive,
    chosen,
    gauss_legendre,
    uniform,
)
from xaiwidgets.model import Model


class Of(nn.Module):
    """A network written as a function of the pixels, with a second class that is zero."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        score = self.function(x)
        return torch.stack([score, score * 0], 1)


def _task(function: Any, *pixels: float) -> Task:
    model = Model(Of(function), preprocess="identity", device="cpu", dtype=torch.float64)
    return make_task(model, torch.tensor(pixels, dtype=torch.float64).reshape(1, 1, -1), 0)


def _toy() -> Task:
    return make_task(toy_model(Residual(), dtype=torch.float64), noise(), 1)


def _run(task: Task, **params: Any) -> Estimate:
    return last_of(estimates(task, "integrated_gradients", params))


def _bend(start: float) -> Any:
    """All that happens, happens on a fifth of the path: the score rises from 0 to 1."""
    return lambda x: (x.mean((1, 2, 3)) - start).clamp(0, 0.2) * 5


# -- grids --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 512])
@pytest.mark.parametrize(
    "make", [uniform, gauss_legendre, lambda n: adaptive(n, np.sin(np.arange(17.0)).tolist())]
)
def test_grids(make: Any, steps: int) -> None:
    grid: Grid = make(steps)
    assert len(grid.alphas) == len(grid.weights) == steps
    assert sum(grid.weights) == pytest.approx(1, abs=1e-12)
    assert min(grid.weights) > 0
    assert 0 < grid.alphas[0]
    assert grid.alphas[-1] < 1
    assert all(one < other for one, other in pairwise(grid.alphas))


def test_gauss_legendre_is_that_of_another_library() -> None:
    nodes, weights = roots_legendre(50)
    grid = gauss_legendre(50)
    np.testing.assert_allclose(grid.alphas, (nodes + 1) / 2, atol=1e-13)
    np.testing.assert_allclose(grid.weights, weights / 2, atol=1e-13)


def test_adaptive_cells_by_hand() -> None:
    """Change 1 in the first half and 4 in the second, and their floor: 1.25 and 4.25."""
    one, other = 1.25**0.5, 4.25**0.5
    share = one / (one + other)
    grid = adaptive(3, [0, 1, -3])
    # The first of three cells reaches as far as a third of what there is, and so on.
    first = 0.5 * (1 / 3) / share
    second = 0.5 + 0.5 * (2 / 3 - share) / (1 - share)
    np.testing.assert_allclose(grid.weights, [first, second - first, 1 - second], atol=1e-12)
    np.testing.assert_allclose(
        grid.alphas, [first / 2, (first + second) / 2, (second + 1) / 2], atol=1e-12
    )


@pytest.mark.parametrize("scores", [[3.0] * 17, np.linspace(-2, 5, 17).tolist()])
def test_adaptive_is_uniform_where_the_score_moves_evenly(scores: list[float]) -> None:
    grid = adaptive(12, scores)
    np.testing.assert_allclose(grid.alphas, uniform(12).alphas, atol=1e-12)
    np.testing.assert_allclose(grid.weights, uniform(12).weights, atol=1e-12)


def test_adaptive_stands_where_the_score_moves_and_leaves_nothing_out() -> None:
    grid = adaptive(64, [max(0.0, min(index / 16, 0.75) - 0.5) for index in range(17)])
    inside = sum(0.5 < alpha < 0.75 for alpha in grid.alphas)
    assert inside > 64 / 2
    assert sum(alpha < 0.5 for alpha in grid.alphas) > 8
    assert sum(alpha > 0.75 for alpha in grid.alphas) > 4


# -- the method on them -------------------------------------------------------------------------


def test_gauss_legendre_is_exact_for_polynomials() -> None:
    """The gradient of y^4 + z^2 y is of degree three along the path: two steps are enough."""

    def score(x: Tensor) -> Tensor:
        y, z = x.flatten(1).unbind(1)
        return y**4 + z**2 * y

    found = _run(_task(score, 0.5, 0.8), grid="gauss_legendre", steps=2)
    y, z = 0.5, 0.8
    torch.testing.assert_close(
        found.value.flatten(),
        torch.tensor([y**4 + z**2 * y / 3, z * 2 * z * y / 3], dtype=torch.float64),
        rtol=1e-12,
        atol=0,
    )
    assert abs(found.diagnostics["completeness_gap"]) < 1e-12


@pytest.mark.parametrize("grid", GRIDS)
def test_linear_network(grid: str) -> None:
    found = _run(_task(lambda x: x.flatten(1) @ torch.tensor([2.0, -1.0]).to(x), 0.5, 1), grid=grid)
    torch.testing.assert_close(
        found.value.flatten(), torch.tensor([1.0, -1.0]).double(), rtol=1e-12, atol=0
    )


def test_adaptive_narrows_the_gap_where_the_score_moves_in_one_place() -> None:
    def gap(grid: str) -> float:
        # By chance a single place can suit any rule.
        found = [
            _run(_task(_bend(start), 1, 1), grid=grid, steps=32).diagnostics["completeness_gap"]
            for start in np.linspace(0.1, 0.7, 13)
        ]
        return float(np.abs(found).mean())

    assert gap("adaptive") < 0.5 * min(gap("uniform"), gap("gauss_legendre"))


def test_probe_is_of_the_score_along_the_path() -> None:
    asked: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            asked.append(x.detach().mean((1, 2, 3)))
        return x.mean((1, 2, 3)) ** 2

    task = _task(score, 1, 1)
    asked.clear()
    steps = estimates(task, "integrated_gradients", {"grid": "adaptive"})
    next(steps)
    assert len(torch.cat(asked)) == 1  # the baseline
    next(steps)
    places = torch.cat(asked).sort().values
    # What the photo itself gives is known, and from the first estimate what the middle does.
    expected = [index / PROBES for index in range(PROBES) if index != PROBES // 2]
    torch.testing.assert_close(places, torch.tensor(expected).double())


def test_a_first_picture_comes_before_the_probe() -> None:
    task = _toy()
    params = {"grid": "adaptive", "steps": 11}
    first, second, *_ = estimates(task, "integrated_gradients", params)
    expected = _gradients(task, "black", [0.5])[0]
    torch.testing.assert_close(first.value, expected, rtol=1e-9, atol=1e-12)
    assert (first.done, first.total, first.detail) == (0, 11, None)
    assert first.diagnostics.keys() == second.diagnostics.keys()


@pytest.mark.parametrize(
    ("baseline", "kind"),
    [("black", "adaptive"), ("blur", "uniform"), ("noise", "uniform"), ("white", "uniform")],
)
def test_auto_is_adaptive_where_that_is_better(baseline: object, kind: str) -> None:
    assert chosen("auto", baseline) == kind
    auto, other = (
        _run(_toy(), steps=9, baseline=baseline, grid=grid).value for grid in ("auto", kind)
    )
    assert torch.equal(auto, other)


def _gradients(task: Task, baseline: str, alphas: Sequence[float]) -> Tensor:
    """One by one, in plain torch."""
    start = task.model.pixels_to_input(blank(task, baseline)).reshape(task.x.shape)
    found = []
    for alpha in alphas:
        x = (start + alpha * (task.x - start)).requires_grad_(True)
        found.append(torch.autograd.grad(task.model.net(x)[0, task.target], x)[0][0])
    return torch.stack(found) * (task.x - start)


@pytest.mark.parametrize("baseline", ["black", "blur"])
@pytest.mark.parametrize("grid", GRIDS)
def test_every_estimate_is_the_weighted_mean_of_the_steps_so_far(grid: str, baseline: str) -> None:
    task = _toy()
    params = {"grid": grid, "steps": 11, "baseline": baseline}
    seen: list[int] = []
    for estimate in estimates(task, "integrated_gradients", params):
        chunk = estimate.detail
        if chunk is None:
            continue  # before the path is probed
        seen += chunk.indices
        alphas = [chunk.grid.alphas[index] for index in seen]
        weights = torch.tensor([chunk.grid.weights[index] for index in seen], dtype=torch.float64)
        integrands = _gradients(task, baseline, alphas)
        expected = (integrands * weights.reshape(-1, 1, 1, 1)).sum(0) / weights.sum()
        torch.testing.assert_close(estimate.value, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            chunk.integrands, integrands[-len(chunk.indices) :].sum(1), rtol=1e-9, atol=1e-12
        )
        halves = [
            sum(
                weights[row] * integrands[row].sum(0)
                for row in range(len(seen))
                if half_of(row) == half
            )
            for half in (0, 1)
        ]
        if len(seen) > 1:
            split = correlation(*(torch.as_tensor(half) for half in halves))
            assert estimate.diagnostics["split_half"] == pytest.approx(split, abs=1e-9)
    assert sorted(seen) == list(range(11))
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)


# -- an early end -------------------------------------------------------------------------------


def _ends(changes: Sequence[float], tolerance: float) -> int | None:
    """The step at which a path of score rise 1 ends whose steps of weight 1 rise like that."""
    closing = _Closing(tolerance, 1.0)
    for number, change in enumerate(changes, 1):
        if closing.closed(change, 1.0):
            return number
    return None


def test_a_closed_gap_ends_the_path_after_the_fewest_steps() -> None:
    assert _ends([1.0] * 50, 0.01) == 16
    assert _ends([1.0] * 50, 0.0) is None


def test_a_gap_must_stay_closed_while_the_steps_double() -> None:
    # Open until step 20, whatever it was before.
    changes = [1.0] * 10 + [3.0] * 5 + [-1.0] * 5 + [1.0] * 60
    assert _ends(changes, 0.1) == 38
    means = np.cumsum(changes) / np.arange(1, len(changes) + 1)
    (outside,) = np.nonzero(np.abs(means - 1) > 0.1)
    assert outside[-1] + 1 == 19


def test_a_gap_that_passes_through_zero_ends_nothing() -> None:
    # The mean is 1 at step 16 exactly, and nowhere else.
    changes = [2.0] * 8 + [0.0] * 8 + [0.0] * 200
    assert _ends(changes, 0.05) is None


@pytest.mark.parametrize("size", [1, 3, 8, 64])
def test_the_end_does_not_depend_on_the_batch_size(size: int) -> None:
    task = _toy()
    task.model._batchers["gradient"] = Batcher(task.model.device, size)
    found = list(estimates(task, "integrated_gradients", EVEN | {"tolerance": 0.05}))
    last = found[-1]
    assert last.finished
    assert last.diagnostics["completeness_relative"] <= 0.05
    whole = _run(_toy(), **EVEN)
    assert 16 <= last.done < whole.done
    expected = _end_by_hand(0.05)
    assert last.done == expected
    assert sum(len(estimate.detail.indices) for estimate in found) == expected
    assert len(last.detail.scores) == len(last.detail.gradients) == len(last.detail.indices)


EVEN = {"steps": 200, "grid": "uniform"}


def _end_by_hand(tolerance: float) -> int:
    """From the gap after every single step."""
    task = _toy()
    task.model._batchers["gradient"] = Batcher(task.model.device, 1)
    gaps = [
        estimate.diagnostics["completeness_relative"]
        for estimate in estimates(task, "integrated_gradients", EVEN)
    ]
    for done in range(16, 200):
        if all(gap <= tolerance for gap in gaps[done // 2 : done]):
            return done
    raise AssertionError("the gap never closes")


def test_tolerance_of_zero_takes_all_steps() -> None:
    assert _run(_task(_bend(0.5), 1, 1), steps=40).done == 40


# -- how settled it is --------------------------------------------------------------------------


def test_halves_interleave() -> None:
    """After each power of two, of two neighbors one goes to each half."""
    for power in range(1, 8):
        count = 2**power
        halves = [0] * count
        for number, index in enumerate(spread(count)):
            halves[index] = half_of(number)
        assert all({halves[i], halves[i + 1]} == {0, 1} for i in range(0, count, 2))


def test_settled_comes_near_what_it_foretells() -> None:
    task = _toy()
    final = _run(task, steps=512).value.sum(0)
    for estimate in estimates(task, "integrated_gradients", {"steps": 64}):
        if estimate.done >= 16:
            truth = correlation(estimate.value.sum(0), final)
            assert estimate.diagnostics["settled"] <= truth + 0.02
    assert estimate.diagnostics["settled"] > 0.9
