"""Expected gradients against a plain loop, and against the integral."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from tests.oracle.black_box import NETS, small_task
from tests.oracle.nets import distance, raw
from tests.toys import Functional, noise, toy_model
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods import registry
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.methods.halves import correlation
from xaiwidgets.model import Model

GOLDEN = (math.sqrt(5) - 1) / 2


def _unit(task: Task, index: int) -> float:
    return float(torch.rand((), generator=task.random(index), dtype=torch.float64))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", ["black+white", "images"])
def test_plain_loop(name: str, kind: str) -> None:
    task, samples = small_task(name), 6
    shape = task.prepared.pixels.shape
    images = [torch.zeros(shape), torch.ones(shape)]
    if kind == "images":
        random = torch.Generator().manual_seed(1)
        images = [torch.rand(shape, generator=random) for _ in range(3)]
    starts = [task.model.prepare(image).input for image in images]
    if kind == "black+white":
        starts = [task.model.pixels_to_input(image)[None] for image in images]
    net, offset = raw(name, torch.float64), _unit(task, -1)
    expected = torch.zeros_like(task.x)
    chosen = set()
    for sample in range(samples):
        pick = int(_unit(task, sample) * len(starts))
        chosen.add(pick)
        alpha = (offset + sample * GOLDEN) % 1
        point = (starts[pick] + alpha * (task.x - starts[pick])).requires_grad_(True)
        (found,) = torch.autograd.grad(net(point)[0, task.target], point)
        expected += found * (task.x - starts[pick]) / samples
    assert len(chosen) > 1
    given = images if kind == "images" else kind
    last = last_of(estimates(task, "expected_gradients", {"samples": samples, "baselines": given}))
    assert distance(last.value, expected[0]) < 1e-9
    with torch.no_grad():
        scores = net(torch.cat([*starts, task.x]))[:, task.target]
    gap = expected.sum() - (scores[-1] - scores[:-1].mean())
    assert last.diagnostics["completeness_gap"] == pytest.approx(float(gap), rel=1e-7)


def test_of_a_linear_network() -> None:
    """With one baseline every sample is the same: weight times difference."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    model = Model(net, preprocess="identity", device="cpu", dtype=torch.float64)
    photo, start = torch.tensor([[[1.0, 2, 3]], [[0.5, 0, 1]]], dtype=torch.float64)[:, None]
    found = xai.explain(model, photo, "expected_gradients", 1, baselines=start, samples=5)
    expected = net[1].weight[1].detach() * (photo - start).flatten()
    np.testing.assert_allclose(found.attribution.flatten(), expected, rtol=1e-6)
    assert found.diagnostics["completeness_gap"] == pytest.approx(0, abs=1e-6)
    assert found.diagnostics["settled"] == pytest.approx(1)


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 0, 0, 0] * x[:, 0, 0, 1])[:, None]


def test_of_a_product() -> None:
    """f = x y from (0, 0) and from (1, 1) to (2, 3): by hand (3 + 1 * 2, 3 + 2 * 1.5) / 2."""
    model = Model(Product(), preprocess="identity", device="cpu", dtype=torch.float64)
    photo = torch.tensor([[[2.0, 3.0]]], dtype=torch.float64)
    images = [torch.zeros(1, 1, 2).double(), torch.ones(1, 1, 2).double()]
    found = xai.explain(model, photo, "expected_gradients", 0, baselines=images, samples=2000)
    np.testing.assert_allclose(found.attribution[0, 0], [2.5, 3], rtol=0.03)
    assert found.diagnostics["score_baseline"] == pytest.approx(0.5)


def test_it_converges_to_the_mean_of_integrated_gradients_and_says_how_far() -> None:
    model = toy_model(Functional(), dtype=torch.float64)
    ends = [
        last_of(
            estimates(
                make_task(model, noise()),
                "integrated_gradients",
                {"baseline": kind, "steps": 256},
            )
        ).value
        for kind in ("black", "white")
    ]
    limit = (ends[0] + ends[1]) / 2
    said, true = [], []
    for seed in range(10):
        task = make_task(model, noise(), seed=seed)
        given = {"baselines": "black+white", "samples": 24}
        last = last_of(estimates(task, "expected_gradients", given))
        said.append(last.diagnostics["settled"])
        true.append(correlation(last.value, limit))
    assert np.mean(said) == pytest.approx(np.mean(true), abs=0.04)
    given = {"baselines": "black+white", "samples": 1500}
    last = last_of(estimates(make_task(model, noise()), "expected_gradients", given))
    assert distance(last.value, limit) < 0.05
    assert last.diagnostics["settled"] > 0.99


def test_baselines_that_are_none() -> None:
    parameter = registry.get("expected_gradients").parameters["baselines"]
    with pytest.raises(ValueError, match="there is no image in it"):
        parameter.check([])
    with pytest.raises(TypeError, match="a list of images"):
        parameter.check([3])
    with pytest.raises(ValueError, match='one of "noise", "black\\+white"'):
        parameter.check("black")
    model = Model(Product(), preprocess="identity", device="cpu")
    with pytest.raises(ValueError, match="fed to the model as 1 x 2 x 2, the photo as 1 x 1 x 2"):
        xai.explain(
            model, torch.ones(1, 1, 2), "expected_gradients", baselines=[torch.ones(1, 2, 2)]
        )
