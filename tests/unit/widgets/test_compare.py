"""Compare: every cell for itself, nearest first, all of it state."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

import xaiwidgets as xai
from tests.unit.widgets.conftest import CLASSES, PATIENCE, Page, Toy
from xaiwidgets.comparison.plan import Key
from xaiwidgets.model import Model
from xaiwidgets.widgets import compare
from xaiwidgets.widgets.compare import Compare
from xaiwidgets.widgets.smoothgrad import SmoothGrad

METHODS = ["saliency", "grad_cam", ("smoothgrad", {"samples": 3})]


@pytest.fixture
def grid(model: Any, photo: Any, page: Page, made: Any) -> Compare:
    widget: Compare = made(Compare(model, photo, METHODS, [None, "lynx"]))
    widget.wait(PATIENCE)
    return widget


@contextlib.contextmanager
def begun(net: Toy, photo: Any, make: Callable[[], Compare]) -> Iterator[Compare]:
    """A comparison whose network stands still in its first cell."""
    busy = Toy()
    other = SmoothGrad(Model(busy, {"size": (24, 20)}, CLASSES, "cpu"), photo, samples=2)
    other.wait(PATIENCE)
    with contextlib.ExitStack() as stack:
        with busy.control.hold() as first:
            # The worker is kept busy, while the constructor needs the network.
            other.samples = 3
            first.until_entered()
            widget = make()
            held = stack.enter_context(net.control.hold())
        held.until_entered()
        yield widget
    other.close()


def decoded(widget: Compare, index: int) -> Any:
    cell = widget._cells[index]
    height, width = cell["shape"]
    whole = np.frombuffer(widget._result, "<i2", height * width, cell["offset"])
    return whole.reshape(height, width) * (cell["scale"] / 32767)


def test_cells_are_single_explanations(grid: Compare, model: Any, photo: Any) -> None:
    assert (grid.status, grid.error, grid.progress) == ("idle", "", 1.0)
    results = grid.results
    assert len(results) == 6
    assert not results.errors
    for index, (key, found) in enumerate(results.items()):
        params = {"samples": 3} if found.method == "smoothgrad" else {}
        alone = xai.explain(model, photo, found.method, found.target, **params)
        np.testing.assert_allclose(found.attribution, alone.attribution, rtol=1e-5, atol=1e-7)
        state = grid._cells[index]
        assert (state["state"], state["error"]) == ("done", "")
        assert state["category"] == model.category(alone.target)
        # What the page is sent is a map of 16 bits.
        close = np.abs(decoded(grid, index) - found.heatmap).max()
        assert close <= np.abs(found.heatmap).max() / 32767
        assert key.target == ("top class" if index < 3 else "lynx")
    (table,) = grid._similarity
    assert table["cells"] == list(range(6))
    keys, matrix = results.similarity("ssim")
    assert keys == list(results)
    np.testing.assert_allclose(table["values"]["ssim"], matrix, atol=1e-4)
    assert "6 of 6 done" in repr(grid)


def test_a_method_that_refuses_has_its_own_error(
    model: Any, photo: Any, page: Page, made: Any
) -> None:
    methods = ["saliency", ("cam", {"layer": "features.0"}), "grad_cam"]
    widget = made(Compare(model, photo, methods))
    widget.wait(PATIENCE)
    assert [cell["state"] for cell in widget._cells] == ["done", "error", "done"]
    assert "CAM needs" in widget._cells[1]["error"]
    assert (widget.status, widget.error) == ("idle", "")
    ((key, error),) = widget.results.errors.items()
    assert key.method == "cam(layer=features.0)"
    assert error == widget._cells[1]["error"]
    assert len(widget._similarity[0]["cells"]) == 2


def test_a_cell_that_failed_can_be_tried_again(
    net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    with begun(net, photo, lambda: made(Compare(model, photo, "smoothgrad"))) as widget:
        net.control.error = MemoryError("no more")
    widget.wait(PATIENCE)
    assert widget._cells[0]["state"] == "error"
    assert "Lower the parameters" in widget._cells[0]["error"]
    net.control.error = None
    page.send(widget, {"kind": "action", "name": "retry"})
    widget.wait(PATIENCE)
    assert widget._cells[0]["state"] == "done"
    assert widget._cells[0]["error"] == ""


def test_cancel_keeps_what_is_done(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    methods = [("smoothgrad", {"samples": 50}), "saliency"]
    with begun(net, photo, lambda: made(Compare(model, photo, methods))) as widget:
        page.set(widget, _cancel=1)
    widget.wait(PATIENCE)
    assert widget.status == "idle"
    assert [cell["state"] for cell in widget._cells] == ["waiting", "waiting"]
    page.send(widget, {"kind": "action", "name": "retry"})
    widget.wait(PATIENCE)
    assert [cell["state"] for cell in widget._cells] == ["done", "done"]
    assert len(widget.results) == 2


def ended(page: Page) -> list[int]:
    return [m["index"] for m in page.custom("cell") if m["state"] in ("done", "error")]


def test_the_nearest_cells_come_first(
    net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    methods = ["saliency", "smoothgrad", "grad_cam", "deconvnet"]
    with begun(net, photo, lambda: made(Compare(model, photo, methods))) as widget:
        page.join(widget)
        page.send(widget, {"kind": "nearest", "ranks": [300, 200, 0, 100]})
    widget.wait(PATIENCE)
    # The first one had begun.
    assert ended(page) == [0, 2, 3, 1]
    maps = page.custom_buffers("cell")
    assert all(len(buffers) == 1 for buffers in maps)


def test_hidden_it_pauses_and_goes_on_when_seen(
    net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    with begun(net, photo, lambda: made(Compare(model, photo, METHODS))) as widget:
        page.set(widget, _visible=False)
    super(Compare, widget).wait(PATIENCE)  # as somebody who does not ask for the rest
    assert widget.status == "running"
    assert len(widget.results) == 1
    page.set(widget, _visible=True)
    super(Compare, widget).wait(PATIENCE)
    assert widget.status == "idle"
    assert len(widget.results) == 3


def test_hidden_it_goes_on_for_who_waits(
    net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    with begun(net, photo, lambda: made(Compare(model, photo, METHODS))) as widget:
        page.set(widget, _visible=False)
    super(Compare, widget).wait(PATIENCE)
    widget.wait(PATIENCE)
    assert len(widget.results) == 3


def test_a_page_that_joins_late_is_told_all(
    net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    with begun(net, photo, lambda: made(Compare(model, photo, METHODS))) as widget:
        page.set(widget, _visible=False)
    super(Compare, widget).wait(PATIENCE)
    assert ended(page) == []
    page.join(widget)
    page.set(widget, _visible=True)
    widget.wait(PATIENCE)
    assert sorted(set(ended(page))) == [0, 1, 2]


def test_close_in_the_middle(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    with begun(net, photo, lambda: made(Compare(model, photo, METHODS))) as widget:
        widget.close()
    widget.wait(PATIENCE)  # the step that ran when it was closed must end first
    assert not widget._runner._shared


def test_models_with_other_classes(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    other = Model(net, {"size": (24, 20)}, [f"c{i}" for i in range(len(CLASSES))], "cpu")
    widget = made(Compare({"one": model, "two": other}, photo, "saliency", ["lynx", 0]))
    widget.wait(PATIENCE)
    assert [cell["state"] for cell in widget._cells] == ["done", "done", "error", "done"]
    key = Key("saliency", "lynx", "image", "two")
    assert "There is no class 'lynx'" in widget.results.errors[key]
    with pytest.raises(ValueError, match="no class 'lion'"):
        Compare([model, other], photo, "saliency", ["lion"])


def darkness(output: Any) -> Any:
    return output[:, 2] - output[:, 0]


def test_targets_of_every_kind(model: Any, photo: Any, page: Page, made: Any) -> None:
    targets = [("lynx", "tiger"), xai.Difference("lynx", "ant"), darkness]
    widget = made(Compare(model, photo, ["saliency", "grad_cam"], targets))
    widget.wait(PATIENCE)
    assert [cell["state"] for cell in widget._cells] == ["done"] * 6
    told = [(cell["category"], cell["probability"]) for cell in widget._cells]
    assert told[4] == ("darkness", None)
    assert {key.target for key in widget.results} == {"lynx + tiger", "lynx, not ant", "darkness"}
    for key, found in widget.results.items():
        alone = xai.explain(model, photo, key.method, found.target)
        np.testing.assert_allclose(found.attribution, alone.attribution, rtol=1e-5, atol=1e-7)


def test_trust(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    other = Model(net, {"size": (48, 40)}, CLASSES, "cpu", name="fine")
    widget = made(Compare.trust(model, other, photo, ["grad_cam", "saliency"]))
    widget.wait(PATIENCE)
    assert widget.columns == "model"
    assert "trust" in widget._title
    assert len(widget.results) == 4
    # One cursor for all: frames of the same aspect are shown at the same size.
    sizes = {Image.open(io.BytesIO(data)).size for data in widget._photos}
    assert sizes == {(20, 24)}
    _, matrix = widget.results.similarity()
    assert matrix.shape == (4, 4)
    picture = Image.open(io.BytesIO(widget._still()))
    assert picture.size == (2 * (40 + 4) - 4, 2 * (48 + 4) - 4)


def test_large_comparisons_are_kept_coarser(
    model: Any, photo: Any, page: Page, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_MOST_BYTES", 6 * 12 * 10 * 2)
    widget = made(Compare(model, photo, METHODS, [0, 1]))
    widget.wait(PATIENCE)
    assert len(widget._result) <= 6 * 12 * 10 * 2
    assert widget._cells[0]["shape"] == [12, 10]
    found = next(iter(widget.results.values())).heatmap
    assert found.shape == (24, 20)
    mean = found.reshape(12, 2, 10, 2).mean((1, 3))
    np.testing.assert_allclose(decoded(widget, 0), mean, atol=float(np.abs(mean).max()) / 30000)


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "nearest"},
        {"kind": "nearest", "ranks": [0]},
        {"kind": "nearest", "ranks": [True] * 6},
        {"kind": "nearest", "ranks": ["0"] * 6},
        {"kind": "photo", "name": "x"},
        {"kind": "action", "name": "explode"},
    ],
)
def test_forged_messages(grid: Compare, page: Page, message: dict[str, Any]) -> None:
    before = grid._result
    page.send(grid, message)
    assert grid.error
    assert grid._result == before
    assert grid.status == "idle"


@pytest.mark.parametrize(
    "state", [{"columns": "rows"}, {"columns": 3}, {"scale": "huge"}, {"_cells": []}]
)
def test_forged_state(grid: Compare, page: Page, state: dict[str, Any]) -> None:
    before = grid.columns, grid.scale, grid._cells
    page.set(grid, **state)
    assert grid.error
    assert (grid.columns, grid.scale, grid._cells) == before


def test_the_layout_is_no_work(grid: Compare, page: Page) -> None:
    rows = grid._generation
    page.set(grid, columns="target", scale="method")
    assert (grid.columns, grid.scale, grid._generation) == ("target", "method", rows)
    assert grid.error == ""


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"column": "model"}, TypeError, 'mean "columns"'),
        ({"columns": "rows"}, Exception, "columns"),
        ({"methods": []}, ValueError, "no method"),
        ({"targets": "lion"}, ValueError, "lion"),
        ({"seed": -3}, ValueError, "seed"),
    ],
)
def test_bad_arguments(
    model: Any, photo: Any, options: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        Compare(model, photo, **options)
