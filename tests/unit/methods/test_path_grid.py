"""Grids on a path: exact where they must be, dense where the score moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from xaiwidgets.methods.path_grid import PROBES, Grid, adaptive, gauss_legendre, uniform
from xaiwidgets.model import Model

STEP = [1.0 if index > 4 else 0.0 for index in range(PROBES + 1)]


def _grids(steps: int) -> list[Grid]:
    slope = np.linspace(0, 1, PROBES + 1)
    return [
        uniform(steps),
        gauss_legendre(steps),
        adaptive(steps, slope.tolist()),
        adaptive(steps, STEP),
        adaptive(steps, [2.0] * (PROBES + 1)),
    ]


@pytest.mark.parametrize("steps", [1, 2, 7, 64])
def test_weights_are_of_a_path_of_length_one(steps: int) -> None:
    for grid in _grids(steps):
        assert len(grid.alphas) == len(grid.weights) == steps
        assert sum(grid.weights) == pytest.approx(1, abs=1e-12)
        assert grid.alphas == sorted(grid.alphas)
        # Any such rule integrates a straight line exactly.
        line = sum(a * w for a, w in zip(grid.alphas, grid.weights, strict=True))
        assert line == pytest.approx(0.5, abs=1e-9) or steps < 64


def test_gauss_legendre_is_exact_for_polynomials() -> None:
    grid = gauss_legendre(4)
    for power in range(8):
        found = sum(w * a**power for a, w in zip(grid.alphas, grid.weights, strict=True))
        assert found == pytest.approx(1 / (power + 1), abs=1e-14)


def test_a_score_that_moves_evenly_gives_even_cells() -> None:
    even = adaptive(10, np.linspace(-3, 5, PROBES + 1).tolist())
    np.testing.assert_allclose(even.weights, [0.1] * 10, atol=1e-12)


def test_steps_lie_where_the_score_moves() -> None:
    grid = adaptive(30, STEP)
    # The score moves between the places 4 and 5 of the probe, a 16th of the path.
    inside = sum(4 / PROBES <= alpha <= 5 / PROBES for alpha in grid.alphas)
    # sqrt(1 + c) against 15 times sqrt(c), for c a tenth of the mean change, 1 / 160.
    c = 0.1 / PROBES
    expected = 30 * np.sqrt(1 + c) / (np.sqrt(1 + c) + 15 * np.sqrt(c))
    assert inside == pytest.approx(expected, abs=1)


class Kink(nn.Module):
    """Rises steeply at the start of the path from black, and hardly after it."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.mean((1, 2, 3))
        return torch.stack([torch.tanh(25 * total), -total], 1)


def _explained(**params: object) -> xai.Explanation:
    model = Model(Kink(), "identity", device="cpu", dtype=torch.float64)
    photo = torch.full((3, 8, 8), 0.8, dtype=torch.float64)
    return xai.explain(
        model,
        photo,
        "integrated_gradients",
        0,
        progress=False,
        **params,  # type: ignore[arg-type]
    )


def test_adaptive_needs_fewer_steps_where_the_score_jumps() -> None:
    gaps = {
        grid: _explained(steps=16, grid=grid).diagnostics["completeness_relative"]
        for grid in ("uniform", "adaptive")
    }
    assert gaps["adaptive"] < 0.7 * gaps["uniform"]


@pytest.mark.parametrize("grid", ["uniform", "gauss_legendre", "adaptive"])
def test_every_grid_closes_the_gap(grid: str) -> None:
    found = _explained(steps=256, grid=grid)
    assert found.diagnostics["completeness_relative"] < 1e-3
    assert float(found.attribution.sum()) == pytest.approx(
        found.diagnostics["score_photo"] - found.diagnostics["score_baseline"], rel=1e-3
    )


def test_tolerance_stops_early_and_keeps_its_word() -> None:
    model = Model(Kink(), "identity", device="cpu", dtype=torch.float64)
    photo = torch.full((3, 8, 8), 0.8, dtype=torch.float64)
    options = {"steps": 256, "tolerance": 0.05}
    *_, last = xai.explaining(model, photo, "integrated_gradients", 0, **options)
    assert last.finished
    assert 8 <= last.done < 256
    assert last.diagnostics["completeness_relative"] <= 0.05
    *_, never = xai.explaining(model, photo, "integrated_gradients", 0, steps=32, tolerance=0.0)
    assert never.done == 32
