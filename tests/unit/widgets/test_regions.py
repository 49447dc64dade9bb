"""Regions that are painted on the page: state, round trip, classes there, forged messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import xaiwidgets as xai
from tests.unit.widgets.conftest import PATIENCE, Control, Page
from xaiwidgets.model import Model
from xaiwidgets.widgets.deep_dream import DeepDream
from xaiwidgets.widgets.method import MethodWidget
from xaiwidgets.widgets.smoothgrad import SmoothGrad

HEIGHT, WIDTH = 24, 20
PLACES = ["sky", "grass", "cow", "road", "tree", "pond"]


class Maps(nn.Module):
    """Scores of six kinds of places at half the size of the photo; counts the photos it saw."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 6, 1))
        self.control = Control()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.control.enter(len(x))
        return {"out": 20 * self.body(x)}


class Ball(MethodWidget, method="perceptual_ball"):
    """A widget of a method that takes no regions."""


@pytest.fixture
def maps() -> Maps:
    return Maps()


@pytest.fixture
def places(maps: Maps) -> Model:
    model = Model(maps, {"size": (HEIGHT, WIDTH)}, PLACES, "cpu")
    for kind in ("gradient", "forward"):
        model.batcher(kind).size = 4  # numbers to the last digit, whatever the clock says
    return model


@pytest.fixture
def widget(places: Model, photo: Any, page: Page, made: Any) -> Any:
    widget = made(SmoothGrad(places, photo, samples=2))
    widget.wait(PATIENCE)
    return widget


def painted(top: int = 3, left: int = 5) -> NDArray[np.bool_]:
    """Two spots of the frame."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 7, left : left + 6] = True
    mask[-2:, -3:] = True
    return mask


def sent(mask: NDArray[Any], category: Any = None) -> dict[str, Any]:
    """A mask as the page sends it: a buffer that is not bytes."""
    bits = memoryview(np.packbits(mask, bitorder="little").tobytes())
    return {"region": {"bits": bits, "shape": list(mask.shape)}, "category": category}


def shares(model: Model, photo: Any, mask: NDArray[np.bool_]) -> torch.Tensor:
    """Mean probability of each class in a mask of the frame, by a plain loop."""
    with torch.no_grad():
        maps = model.net(model.prepare(photo).input)["out"][0].softmax(0).double()
    total = torch.zeros(len(maps), dtype=torch.float64)
    for y, x in zip(*np.nonzero(mask), strict=True):
        total += maps[:, y // 2, x // 2]
    return total / mask.sum()


def test_where_a_brush_is_offered(
    model: Any, places: Any, photo: Any, page: Page, made: Any
) -> None:
    assert made(SmoothGrad(places, photo, samples=2))._takes_regions is True
    assert made(SmoothGrad(model, photo, samples=2))._takes_regions is False
    assert made(Ball(places, photo, iterations=2))._takes_regions is False
    whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1))
    one_place = Model(whole, {"size": (HEIGHT, WIDTH)}, device="cpu")
    assert made(SmoothGrad(one_place, photo, samples=2))._takes_regions is False
    assert "_takes_regions" not in made(DeepDream(model, photo, iterations=1, size=64)).keys


def test_painted_on_the_page(widget: Any, page: Page, places: Any, photo: Any) -> None:
    page.messages.clear()
    page.set(widget, target=sent(painted()))
    widget.wait(PATIENCE)
    expected = xai.explain(places, photo, "smoothgrad", xai.Region(painted()), samples=2)
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)
    assert widget.target == expected.target == widget.result.target
    # The page hears of the class that was found, once, and its mask comes back bit by bit.
    (answer,) = page.updates("target")
    assert answer == sent(painted(), expected.target.category)
    # Another class of the same place.
    page.set(widget, target=sent(painted(), 4))
    assert widget.target == xai.Region(painted(), "tree").of(4)
    assert widget._target_info["name"] == "tree in a region"
    assert widget._target_info["index"] is None
    widget.wait(PATIENCE)
    other = xai.explain(places, photo, "smoothgrad", xai.Region(painted(), 4), samples=2)
    np.testing.assert_array_equal(widget.result.attribution, other.attribution)
    assert widget.error == ""


def test_the_page_is_told_the_class_also_when_it_stays(widget: Any, page: Page) -> None:
    page.set(widget, target=sent(painted()))
    generation, found = widget._generation, widget.target.category
    page.messages.clear()
    page.set(widget, target=sent(painted()))
    assert page.updates("target") == [sent(painted(), found)]
    assert (widget._generation, widget.error) == (generation, "")


def test_classes_are_those_of_the_region(widget: Any, page: Page, places: Any, photo: Any) -> None:
    of_the_photo = widget._top
    page.set(widget, target=sent(painted(), 5))
    expected = shares(places, photo, painted())
    order = expected.argsort(descending=True).tolist()
    assert [each["index"] for each in widget._top] == order[:5]
    assert [each["name"] for each in widget._top] == [PLACES[k] for k in order[:5]]
    found = [each["probability"] for each in widget._top]
    assert found == pytest.approx(expected[order[:5]].tolist(), abs=1e-6)
    (chosen,) = widget._target_info["why"]
    assert chosen == {"index": 5, "name": "pond", "probability": chosen["probability"]}
    assert chosen["probability"] == pytest.approx(float(expected[5]), abs=1e-6)
    assert page.updates("_top")[-1] == widget._top != of_the_photo
    page.set(widget, target=2)
    assert page.updates("_top")[-1] == widget._top == of_the_photo


def test_strokes_ask_the_network_nothing(widget: Any, maps: Maps, page: Page) -> None:
    widget.close()  # no job runs: only what the handlers ask
    rows = maps.control.rows
    for left in range(1, 9):
        page.set(widget, target=sent(painted(left=left)))
        assert widget.target == xai.Region(painted(left=left)).of(widget.target.category)
    assert maps.control.rows == rows
    page.set(widget, target=1)
    page.set(widget, target=sent(painted(), 1))
    assert maps.control.rows == rows


@pytest.mark.parametrize(
    "region",
    [
        xai.Region((2, 3, 12, 14), "cow"),
        xai.Region(painted(), "cow"),
        xai.Region(np.ones((HEIGHT // 2, WIDTH // 2), bool), "cow"),
        xai.Region(np.random.default_rng(0).random((HEIGHT, WIDTH)) ** 4, "cow"),
        xai.Region(torch.eye(HEIGHT // 2, WIDTH // 2) / 3, "cow"),
    ],
    ids=["box", "mask", "mask of the maps", "weights", "weights of the maps"],
)
def test_round_trip_is_exact(
    places: Any, photo: Any, page: Page, made: Any, region: xai.Region
) -> None:
    widget = made(SmoothGrad(places, photo, region, samples=2))
    # What a page that is opened now is given, and all that it has of it.
    plain = widget.get_state("target")["target"]
    assert plain["category"] == 2
    again = made(SmoothGrad(places, photo, samples=2))
    page.set(again, target=plain)
    assert again.error == ""
    assert again.target == widget.target == region.of(2)
    assert again.get_state("target")["target"] == plain
    for each in (widget, again):
        each.wait(PATIENCE)
    np.testing.assert_array_equal(again.result.attribution, widget.result.attribution)
    # A page that says what is so already asks for nothing.
    generation = again._generation
    page.set(again, target=plain)
    assert (again._generation, again.error) == (generation, "")


GOOD = sent(painted())["region"]
FORGED = [
    ({**GOOD, "shape": [HEIGHT, WIDTH + 9]}, 1, "of 24 x 29 take 87 bytes, not 60"),
    ({**GOOD, "shape": [WIDTH, HEIGHT]}, 1, r"the size of the frame, (24, 20), or of the"),
    ({"bits": bytes(4), "shape": [4, 8]}, 1, "empty: it is 0 everywhere"),
    ({"bits": b"\1" * 4, "shape": [4, 8]}, 1, r"not (4, 8)"),
    ({**GOOD, "bits": bytes(60)}, 1, "empty: it is 0 everywhere"),
    ({**GOOD, "bits": "a" * 60}, 1, "the first of them bytes"),
    ({**GOOD, "bits": [1] * 60}, 1, "the first of them bytes"),
    ({**GOOD, "bits": None}, 1, "the first of them bytes"),
    ({**GOOD, "more": 1}, 1, "the first of them bytes"),
    ({"shape": [HEIGHT, WIDTH]}, 1, "the first of them bytes"),
    ({"bits": GOOD["bits"]}, 1, "the first of them bytes"),
    ({**GOOD, "shape": None}, 1, "two whole numbers"),
    ({**GOOD, "shape": [480]}, 1, "two whole numbers"),
    ({**GOOD, "shape": [24.0, 20]}, 1, "two whole numbers"),
    ({**GOOD, "shape": [True, 480]}, 1, "two whole numbers"),
    ({**GOOD, "shape": [-24, -20]}, 1, "of at least 1"),
    ({**GOOD, "shape": [10**9, 10**9]}, 1, "bytes, not 60"),
    ({"weights": b"\0\0\xc0\x7f" * 480, "shape": [HEIGHT, WIDTH]}, 1, "weights of at least 0"),
    ({"weights": b"\0\0\x80\xbf" * 480, "shape": [HEIGHT, WIDTH]}, 1, "weights of at least 0"),
    ({"weights": bytes(60), "shape": [HEIGHT, WIDTH]}, 1, "take 1920 bytes, not 60"),
    ([0, 0, 99, 99], 1, "over the edge of the frame"),
    ([4, 4, 4, 8], 1, "0 <= top < bottom"),
    ([[1], [1, 0]], 1, "box of four whole numbers"),
    ("mask", 1, "box of four whole numbers"),
    ({}, 1, "the first of them bytes"),
    (None, 1, "box of four whole numbers"),
    (GOOD, 6, "Class 6 is out of range"),
    (GOOD, -1, "Class -1 is out of range"),
    (GOOD, True, "by its index"),
    (GOOD, 1.0, "by its index"),
    (GOOD, "cwo", "no class 'cwo'"),
    (GOOD, {"region": GOOD, "category": 1}, "by its index"),
]


@pytest.mark.parametrize(("region", "category", "text"), FORGED)
def test_forged_regions_are_refused(
    widget: Any, page: Page, region: Any, category: Any, text: str
) -> None:
    page.set(widget, target=sent(painted(), 3))
    widget.wait(PATIENCE)
    before = widget.get_state()
    page.messages.clear()
    page.set(widget, target={"region": region, "category": category})
    assert text in widget.error
    assert len(widget.error) <= 300
    after = widget.get_state()
    assert {**after, "error": ""} == {**before, "error": ""}
    # The page is put right.
    assert page.updates("target") == [sent(painted(), 3)]
    page.set(widget, target=sent(painted(left=1), 3))
    widget.wait(PATIENCE)
    assert (widget.error, widget.status) == ("", "idle")


def test_another_photo(
    widget: Any, page: Page, places: Any, other: Any, photo: Any, png: bytes
) -> None:
    page.set(widget, target=sent(painted()))
    widget.image = other
    # Painted for the photo that was there.
    assert widget.target == int(widget._top[0]["index"])
    widget.target = xai.Region(painted(), "cow")
    widget.image = photo
    assert widget.target == xai.Region(painted(), "cow").of(2)
    widget.wait(PATIENCE)
    expected = xai.explain(places, photo, "smoothgrad", xai.Region(painted(), 2), samples=2)
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)
    assert widget._top[0]["probability"] == pytest.approx(
        float(shares(places, photo, painted()).max()), abs=1e-6
    )


def test_a_photo_that_the_region_does_not_fit(
    maps: Maps, page: Page, made: Any, png: bytes
) -> None:
    """A network whose frame follows the photo, and a region that Python set."""
    model = Model(maps, "identity", PLACES, "cpu")
    first = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    widget = made(SmoothGrad(model, first, xai.Region(painted(), "cow"), samples=2))
    widget.wait(PATIENCE)
    result = widget.result
    page.send(widget, {"kind": "photo", "name": "large.png"}, (png,))
    widget.wait(PATIENCE)
    assert "must have the size of the frame, (60, 50)" in widget.error
    assert (widget.status, widget._photo_name) == ("idle", "")
    assert widget.target == xai.Region(painted(), "cow").of(2)
    np.testing.assert_array_equal(widget.result.attribution, result.attribution)
