"""Targets other than one class: in Python, from the page, and what the page is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xaiwidgets as xai
from tests.unit.widgets.conftest import PATIENCE, Page
from xaiwidgets.model import Model
from xaiwidgets.widgets.integrated_gradients import IntegratedGradients
from xaiwidgets.widgets.method import MethodWidget
from xaiwidgets.widgets.occlusion import Occlusion
from xaiwidgets.widgets.smoothgrad import SmoothGrad

KINDS = [
    (IntegratedGradients, {"steps": 5}),
    (SmoothGrad, {"samples": 3}),
    (Occlusion, {"patch_size": 8, "stride": 8}),
]
every_kind = pytest.mark.parametrize(("kind", "params"), KINDS)


def second_minus_first(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, 1] - logits[:, 0].square()


@pytest.fixture
def model(model: Model) -> Model:
    return fixed(model)


def fixed(model: Model) -> Model:
    """Numbers that can be compared to the last digit: a measured batch size goes by the clock."""
    for kind in ("gradient", "forward"):
        model.batcher(kind).size = 4
    return model


def _same(widget: Any, model: Model, photo: Any, target: Any, params: dict[str, Any]) -> None:
    widget.wait(PATIENCE)
    expected = xai.explain(model, photo, widget._kind, target, **params)
    found = widget.result
    np.testing.assert_array_equal(found.attribution, expected.attribution)
    assert (found.target, found.category) == (expected.target, expected.category)
    assert found.score == pytest.approx(expected.score)
    assert widget.target == expected.target
    assert widget._result_info["category"] == widget._target_info["name"] == expected.category


@every_kind
def test_set_in_python(
    model: Any, photo: Any, page: Page, made: Any, kind: Any, params: Any
) -> None:
    widget = made(kind(model, photo, ["lynx", "ant"], **params))
    _same(widget, model, photo, ["lynx", "ant"], params)
    assert widget.get_state("target")["target"] == [2, 5]
    assert [each["name"] for each in widget._target_info["why"]] == ["lynx", "ant"]
    widget.target = xai.Difference("lynx", "ant")
    _same(widget, model, photo, xai.Difference("lynx", "ant"), params)
    assert page.updates("target")[-1] == {"why": 2, "why_not": 5}
    assert widget._target_info["name"] == "lynx, not ant"
    assert "lynx, not ant" in repr(widget)
    widget.target = second_minus_first
    _same(widget, model, photo, second_minus_first, params)
    assert page.updates("target")[-1] == {"function": "second_minus_first"}
    widget.target = "lynx"
    _same(widget, model, photo, "lynx", params)
    assert widget.target == 2


@every_kind
def test_picked_on_the_page(
    model: Any, photo: Any, other: Any, page: Page, made: Any, kind: Any, params: Any
) -> None:
    widget = made(kind(model, photo, "lynx", **params))
    page.set(widget, target={"why": 2, "why_not": 5})
    assert widget.target == xai.Difference(2, 5)
    _same(widget, model, photo, xai.Difference(2, 5), params)
    for bad, text in (
        ({"why": 2, "why_not": 2}, "named twice"),
        ({"why": 2, "why_not": 99}, "out of range"),
        ({"function": "eval"}, "index"),
        ([1, True], "index"),
        ({"region": [0, 0, 4, 4], "category": 1}, "maps of scores"),
    ):
        page.set(widget, target=bad)
        assert text in widget.error
        assert widget.target == xai.Difference(2, 5)
    widget.image = other
    _same(widget, model, other, None, params)


def test_stays_with_the_next_photo_when_python_set_it(
    model: Any, photo: Any, other: Any, page: Page, made: Any
) -> None:
    widget = made(SmoothGrad(model, photo, xai.Difference("lynx", "ant"), samples=3))
    widget.image = other
    _same(widget, model, other, xai.Difference("lynx", "ant"), {"samples": 3})


def test_a_difference_is_not_taken_for_one_of_its_classes(
    model: Any, photo: Any, page: Page, made: Any
) -> None:
    """Results are kept by target: each finds its own again."""
    widget = made(Occlusion(model, photo, "lynx", patch_size=8, stride=8))
    params = {"patch_size": 8, "stride": 8}
    for target in (2, xai.Difference(2, 5), [2, 5], second_minus_first, 5, second_minus_first, 2):
        widget.target = target
        _same(widget, model, photo, target, params)


class Ball(MethodWidget, method="perceptual_ball"):
    """A widget of a method that is not defined for every target."""


def test_a_method_that_does_not_take_it_says_so(
    model: Any, photo: Any, page: Page, made: Any
) -> None:
    with pytest.raises(ValueError, match="not for a list of classes"):
        Ball(model, photo, [1, 2], iterations=2)
    widget = made(Ball(model, photo, "lynx", iterations=2))
    assert widget._targets == ["class", "difference"]
    page.set(widget, target=[1, 2])
    assert "is defined for one class or a difference of classes" in widget.error
    assert widget.target == 2


def test_region(photo: Any, page: Page, made: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    model = fixed(Model(net, {"size": (24, 20)}, ["sky", "grass", "cow", "road"], "cpu"))
    for kind, params in KINDS:
        widget = made(kind(model, photo, xai.Region((2, 2, 12, 12), "cow"), **params))
        _same(widget, model, photo, xai.Region((2, 2, 12, 12), "cow"), params)
        assert widget._target_info["index"] is None
        page.set(widget, target={"region": [0, 0, 6, 8], "category": 1})
        _same(widget, model, photo, xai.Region((0, 0, 6, 8), "grass"), params)
        assert widget.get_state("target")["target"] == {"region": [0, 0, 6, 8], "category": 1}
