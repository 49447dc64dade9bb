"""Keys of finished results: equal for equal parameters, and for those alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import xaiwidgets as xai
from tests.unit.widgets.conftest import PATIENCE
from xaiwidgets.widgets.cache import fingerprint
from xaiwidgets.widgets.integrated_gradients import IntegratedGradients


def square(value: float) -> np.ndarray[Any, Any]:
    image = np.zeros((100, 100, 3), np.float32)
    image[40:60, 40:60] = value  # where the text of an array has but dots
    return image


def pair(value: float) -> list[Any]:
    """Images of different sizes, which are no array together."""
    return [square(value), np.zeros((90, 90, 3), np.float32)]


def objects(value: float) -> np.ndarray[Any, Any]:
    array = np.empty(2, object)
    array[:] = pair(value)
    return array


def palette(red: int) -> Image.Image:
    image = Image.new("P", (4, 4))
    image.putpalette([red, 0, 0])
    return image


def bfloat16(value: float) -> torch.Tensor:
    return torch.full((2, 3), value, dtype=torch.bfloat16)


MAKERS = [
    pair,
    lambda value: tuple(pair(value)),
    lambda value: {"a": pair(value)},
    lambda value: [[square(value)], "black"],
    objects,
    bfloat16,
    lambda value: torch.full((2,), value, dtype=torch.float64),
    lambda value: torch.full((2,), value).to(torch.float8_e5m2),
    lambda value: palette(int(value)),
    lambda value: Path(f"{value}.png"),
    lambda value: Image.fromarray((square(value) * 9).astype(np.uint8)),
]


@pytest.mark.parametrize("make", MAKERS)
def test_told_by_content(make: Any) -> None:
    assert fingerprint(make(1.0)) == fingerprint(make(1.0))
    assert hash(fingerprint(make(1.0))) == hash(fingerprint(make(1.0)))
    assert fingerprint(make(1.0)) != fingerprint(make(2.0))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (bfloat16(1.0), bfloat16(1.0).float()),
        ([1, 2], (1, 2)),
        ([square(1.0)], square(1.0)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, [("a", 1)]),
    ],
)
def test_of_another_type_is_another(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


class Told:
    """Says the same of all of its kind."""

    def __repr__(self) -> str:
        return "Told()"


def test_what_is_not_known_is_equal_to_itself_alone() -> None:
    one, other = Told(), Told()
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint([one]) == fingerprint([one])
    assert fingerprint(one) != fingerprint(other)
    sparse = torch.eye(3).to_sparse()
    assert fingerprint(sparse) == fingerprint(sparse)


def test_other_baselines_of_several_sizes_are_another_result(
    model: Any, photo: Any, made: Any
) -> None:
    widget = made(xai.ExpectedGradients(model, photo, 0, samples=8, baselines=pair(0.2)))
    widget.wait(PATIENCE)
    widget.baselines = pair(1.0)
    widget.wait(PATIENCE)
    assert not widget._result_info["cached"]
    expected = xai.explain(
        model, photo, "expected_gradients", 0, samples=8, baselines=pair(1.0)
    ).attribution
    np.testing.assert_array_equal(widget.result.attribution, expected)


def test_photo_set_during_the_last_batch_leaves_a_whole_path(
    model: Any, photo: Any, other: Any, page: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = made(IntegratedGradients(model, photo, 0, steps=8, grid="uniform"))
    widget.wait(PATIENCE)
    last, go = threading.Event(), threading.Event()
    deliver = IntegratedGradients._deliver

    def held(self: Any, request: Any, task: Any, estimate: Any, *, first: bool) -> None:
        if estimate.finished and not last.is_set():
            last.set()
            assert go.wait(PATIENCE)
        deliver(self, request, task, estimate, first=first)

    monkeypatch.setattr(IntegratedGradients, "_deliver", held)
    widget.steps = 9
    assert last.wait(PATIENCE)
    widget.image = other
    go.set()
    widget.wait(PATIENCE)
    widget.image = photo
    widget.wait(PATIENCE)
    assert widget._result_info["cached"]
    assert widget._extra_info["alphas"] == [(i + 0.5) / 9 for i in range(9)]
    page.join(widget)
    indices = [index for path in page.custom("path") for index in path["indices"]]
    assert set(indices) == set(range(9))
    widget.close()
    assert widget._path_of.made.items == []
