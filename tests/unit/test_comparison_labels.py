"""Labels of a comparison occur once, whatever models and images are called."""

from __future__ import annotations

import pytest

import xaiwidgets as xai
from tests.toys import Functional, noise, toy_model
from xaiwidgets.comparison.plan import make_plan
from xaiwidgets.model import Model


def named(name: str) -> Model:
    return toy_model(Functional(), name=name)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["A", "A", "B"], ["A", "A (2)", "B"]),
        (["A", "A", "A (2)"], ["A", "A (3)", "A (2)"]),
        (["A (2)", "A", "A", "A"], ["A (2)", "A", "A (3)", "A (4)"]),
        (["A", "A", "A (2)", "A (2)"], ["A", "A (3)", "A (2)", "A (2) (2)"]),
    ],
)
def test_labels_are_told_apart(names: list[str], labels: list[str]) -> None:
    plan = make_plan([named(name) for name in names], noise(), "saliency", None)
    assert [item.label for item in plan.axes["model"]] == labels
    assert [item.title for item in plan.axes["model"]] == labels


def test_no_map_is_overwritten() -> None:
    models = [named(name) for name in ("A", "A", "A (2)")]
    assert len(xai.compare(models, noise(), "saliency")) == 3
