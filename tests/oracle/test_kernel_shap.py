"""Shapley values against the sum over all subsets, against Captum, and by hand."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum.testing.helpers.basic_models import BasicModel_MultiLayer
from torch import Tensor, nn

import xaiwidgets as xai
from tests.oracle.black_box import NETS, answer, small_task
from tests.toys import Functional, noise, toy_model
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.coalitions import plan
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.methods.halves import correlation
from xaiwidgets.methods.kernel_shap import reshare
from xaiwidgets.methods.partition import partition
from xaiwidgets.methods.scores import scored
from xaiwidgets.methods.segments import segment
from xaiwidgets.model import Model


class Row(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(1))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1, 2], [230 / 3, 590 / 3, 350 / 3]), ([0, 0, 1], [275, 275, 115]), ([0] * 3, [390] * 3)],
)
def test_by_hand(labels: list[int], expected: list[float]) -> None:
    model = Model(
        Row(BasicModel_MultiLayer()), preprocess="identity", device="cpu", dtype=torch.float64
    )
    photo = torch.tensor([20.0, 50, 30], dtype=torch.float64).reshape(1, 1, 3)
    found = xai.explain(
        model, photo, "kernel_shap", 0, segmentation=np.array([labels]), fill="black"
    )
    np.testing.assert_allclose(found.attribution[0], expected, rtol=1e-6)
    assert found.diagnostics["exact"] == found.diagnostics["settled"] == 1


def _brute_force(scores: dict[tuple[int, ...], float], count: int) -> list[float]:
    """The definition: a weighted sum over the subsets without each segment."""
    values = [0.0] * count
    for number in range(count):
        others = [other for other in range(count) if other != number]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for subset in itertools.combinations(others, size):
                with_it = tuple(sorted((*subset, number)))
                values[number] += weight * (scores[with_it] - scores[subset])
    return values


@functools.cache
def _all_logits(name: str) -> tuple[list[tuple[int, ...]], Tensor]:
    """Every subset of six segments, and the plain network's logits of it."""
    task = small_task(name)
    labels = segment(task.prepared.pixels, "grid", 6)
    subsets = [s for size in range(7) for s in itertools.combinations(range(6), size)]
    black = task.model.pixels_to_input(torch.zeros_like(task.prepared.pixels))[None]
    shown = [torch.isin(labels, torch.tensor(s, dtype=torch.long)) for s in subsets]
    images = torch.cat([torch.where(mask, task.x, black) for mask in shown])
    return subsets, answer(name, images, lambda logits: logits, "logit")


@functools.cache
def _ours(name: str) -> Estimate:
    params = {"segmentation": "grid", "segments": 6, "fill": "black", "samples": 63}
    return last_of(estimates(small_task(name), "kernel_shap", params))


@pytest.mark.parametrize("kind", ["logit", "probability"])
@pytest.mark.parametrize("name", NETS)
def test_exact_for_few_segments(name: str, kind: str) -> None:
    task = small_task(name)
    labels = segment(task.prepared.pixels, "grid", 6)
    subsets, logits = _all_logits(name)
    scores = dict(zip(subsets, scored(logits, task.score, kind).tolist(), strict=True))
    last = reshare(_ours(name).detail, task.score, kind)
    assert last.done == 2**6 - 1
    expected = torch.tensor(_brute_force(scores, 6), dtype=torch.float64)
    # What is shared out may be small next to the score, and the score is rounded.
    atol = 1e-9 * float(expected.abs().max()) + 1e-14 * max(map(abs, scores.values()))
    torch.testing.assert_close(last.value, expected[labels], rtol=0, atol=atol)
    total = last.diagnostics["score_photo"] - last.diagnostics["score_baseline"]
    assert float(last.detail.values.sum()) == pytest.approx(total, rel=1e-12)


def test_captum() -> None:
    task = _toy()
    labels = segment(task.prepared.pixels, "grid", 4)
    black = task.model.pixels_to_input(torch.zeros_like(task.prepared.pixels))[None]
    found = captum.attr.ShapleyValues(task.model.net).attribute(
        task.x, black, task.target, feature_mask=labels.repeat(1, 3, 1, 1)
    )
    # Captum gathers in float32.
    ours = _run(task, segments=4).value
    torch.testing.assert_close(ours, found[0, 0].double(), rtol=1e-5, atol=1e-6)


def _toy(seed: int = 0) -> Task:
    return make_task(toy_model(Functional(), dtype=torch.float64), noise(), seed=seed)


def _run(task: Task, **params: Any) -> Estimate:
    given = {"segmentation": "grid", "segments": 12, "fill": "black", **params}
    return last_of(estimates(task, "kernel_shap", given))


def test_samples_converge_and_say_how_far() -> None:
    exact = _run(_toy(), samples=4095)
    assert exact.diagnostics["exact"] == 1
    errors, said, true = {}, [], []
    for samples in (100, 400):
        found = [_run(_toy(seed), samples=samples) for seed in range(8)]
        assert all(one.diagnostics["exact"] == 0 for one in found)
        assert all(one.done <= samples for one in found)
        for one in found:
            total = one.diagnostics["score_photo"] - one.diagnostics["score_baseline"]
            assert float(one.detail.values.sum()) == pytest.approx(total, rel=1e-12)
        errors[samples] = np.mean([float((one.value - exact.value).norm()) for one in found])
        said = [one.diagnostics["settled"] for one in found]
        true = [correlation(one.value, exact.value) for one in found]
        assert np.mean(said) == pytest.approx(np.mean(true), abs=0.05)
    assert errors[400] < 0.6 * errors[100]
    assert errors[400] < 0.1 * float(exact.value.norm())


def test_the_plan() -> None:
    """Sizes that count most are taken whole; what is left is drawn; complements come in pairs."""
    random = _toy().random
    chosen = plan(12, 200, random)
    assert not chosen.kept[0].any()
    sizes = chosen.kept.sum(1)
    whole = len(chosen.kept) - chosen.drawn
    assert sorted(sizes[1:whole].tolist()) == [1] * 12 + [11] * 12
    assert len(chosen.kept[1:whole].unique(dim=0)) == 24
    assert bool((chosen.kept[1::2] ^ chosen.kept[2::2]).all())
    assert sizes[whole:].min() >= 2
    assert len(chosen.kept) == 199
    assert float(chosen.weights[1:whole].sum()) + chosen.left == pytest.approx(1)
    again = plan(12, 300, random)
    torch.testing.assert_close(again.kept[:199], chosen.kept)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_the_plan_of_everything(count: int) -> None:
    chosen = plan(count, 2**count - 1, _toy().random)
    assert chosen.exact
    assert len(chosen.kept.unique(dim=0)) == len(chosen.kept) == 2**count - 1
    assert not chosen.kept.all(1).any()
    for row, weight in zip(chosen.kept[1:], chosen.weights[1:], strict=True):
        size = int(row.sum())
        kernel = (count - 1) / (math.comb(count, size) * size * (count - size))
        first = (count - 1) / (count * (count - 1))
        assert float(weight / chosen.weights[1]) == pytest.approx(kernel / first)


def test_few_samples_share_out_everything() -> None:
    for samples in (3, 4, 7, 20):
        found = _run(_toy(), samples=samples)
        total = found.diagnostics["score_photo"] - found.diagnostics["score_baseline"]
        assert float(found.detail.values.sum()) == pytest.approx(total, rel=1e-9)
        assert float(found.detail.values.abs().max()) < 10 * abs(total)


def test_another_class_costs_nothing() -> None:
    task = _toy()
    other = Task(task.model, task.prepared, 4, task.logits, task.seed)
    expected = _run(other, samples=60, score="probability")
    found = reshare(_run(task, samples=60).detail, lambda logits: logits[:, 4], "probability")
    torch.testing.assert_close(found.value, expected.value, rtol=1e-9, atol=1e-12)
    assert found.diagnostics == pytest.approx(expected.diagnostics)


def _owen(score: Any, groups: Any, there: frozenset[int] = frozenset()) -> dict[int, float]:
    """By definition: in any order of the halves at each level, each half stays together."""
    if isinstance(groups, int):
        return {groups: score(there | {groups}) - score(there)}
    found: dict[int, float] = {}
    for one, other in (groups, groups[::-1]):
        for context in (there, there | _flat(other)):
            for number, value in _owen(score, one, context).items():
                found[number] = found.get(number, 0.0) + value / 2
    return found


def _flat(groups: Any) -> frozenset[int]:
    return frozenset([groups]) if isinstance(groups, int) else _flat(groups[0]) | _flat(groups[1])


@pytest.mark.parametrize("name", NETS)
def test_owen_values(name: str) -> None:
    task = small_task(name)
    labels = segment(task.prepared.pixels, "grid", 6)
    subsets, logits = _all_logits(name)
    known = dict(zip(map(frozenset, subsets), logits[:, task.target].tolist(), strict=True))
    groups = _tree(labels)
    expected = _owen(known.__getitem__, groups)
    params = {"segmentation": "grid", "segments": 6, "fill": "black", "sampling": "partition"}
    last = last_of(estimates(task, "kernel_shap", params))
    assert last.diagnostics["exact"] == last.diagnostics["settled"] == 1
    assert last.done < 2**6 - 1
    values = torch.tensor([expected[number] for number in range(6)], dtype=torch.float64)
    atol = 1e-9 * float(values.abs().max()) + 1e-14 * max(map(abs, known.values()))
    torch.testing.assert_close(last.detail.values, values, rtol=0, atol=atol)


def _tree(labels: Tensor, place: int = 0) -> Any:
    tree = partition(labels, 10_000, _toy().random)
    group = tree.groups[place]
    if not group.halves:
        return int(group.members.nonzero())
    left, right = group.halves
    return [_tree(labels, left), _tree(labels, right)]


def test_the_tree() -> None:
    """Across the longer side first: the wide photo into left and right, then rows."""
    labels = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert _tree(labels) == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    tree = partition(labels, 10_000, _toy().random)
    # Questions about 1 group without, 2 groups with one, 4 groups with two siblings.
    assert len(tree.kept) == 1 + 2 * (1 + 2 * 2 + 4 * 4)
    assert len(tree.kept.unique(dim=0)) == len(tree.kept)
    assert tree.kept[1:3].tolist() == [
        [True, True, False, False] * 2,
        [False, False, True, True] * 2,
    ]


def test_owen_values_of_a_linear_network_are_its_shapley_values() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    model = Model(net, preprocess="identity", device="cpu", dtype=torch.float64)
    photo = torch.arange(1.0, 9.0, dtype=torch.float64).reshape(1, 2, 4)
    given = {"segmentation": np.arange(8).reshape(2, 4), "fill": "black"}
    for samples in (16, 40, 1000):
        last = last_of(
            estimates(
                make_task(model, photo, 1),
                "kernel_shap",
                {**given, "samples": samples, "sampling": "partition"},
            )
        )
        expected = (net[1].weight[1].detach().double() * photo.flatten()).reshape(2, 4)
        torch.testing.assert_close(last.value, expected, rtol=1e-9, atol=1e-12)


def test_owen_values_from_few_samples() -> None:
    exact = _run(_toy(), samples=5000, segments=16, sampling="partition")
    assert exact.diagnostics["exact"] == 1
    errors = {}
    for samples in (3, 8, 40, 100):
        found = [
            _run(_toy(s), samples=samples, segments=16, sampling="partition") for s in range(4)
        ]
        for one in found:
            assert one.done <= samples
            assert one.diagnostics["exact"] == 0
            total = one.diagnostics["score_photo"] - one.diagnostics["score_baseline"]
            assert float(one.detail.values.sum()) == pytest.approx(total, rel=1e-9)
        errors[samples] = np.mean([float((one.value - exact.value).norm()) for one in found])
    assert errors[3] > errors[8] > errors[40] > errors[100]
    assert errors[100] < 0.1 * float(exact.value.norm())


def test_owen_values_say_how_far_they_have_settled() -> None:
    exact = _run(_toy(), samples=5000, segments=48, sampling="partition")
    few = _run(_toy(), samples=120, segments=48, sampling="partition")
    # One answer about each group: nothing tells how much the others would differ.
    assert few.diagnostics["settled"] == 0
    found = [_run(_toy(s), samples=300, segments=48, sampling="partition") for s in range(5)]
    said = np.mean([one.diagnostics["settled"] for one in found])
    true = np.mean([correlation(one.value, exact.value) for one in found])
    assert said == pytest.approx(true, abs=0.02)
