"""Traits from Python, messages from a page that is not trusted, and several writers at once."""

import contextvars
import threading
from typing import Any

import ipywidgets
import numpy as np
import pytest

import xaiwidgets as xai
from tests.unit.widgets.conftest import PATIENCE, Page
from xaiwidgets.widgets.integrated_gradients import IntegratedGradients
from xaiwidgets.widgets.occlusion import Occlusion
from xaiwidgets.widgets.smoothgrad import SmoothGrad

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [-0.1, 0.6, NAN, INF, 1e300])
def test_bad_value_raises_and_the_old_one_stays(widget: Any, value: float) -> None:
    generation = widget._generation
    with pytest.raises(ValueError, match=r"noise must be a number from 0 to 0\.5"):
        widget.noise = value
    assert (widget.noise, widget._generation, widget.status) == (0.15, generation, "idle")


@pytest.mark.parametrize("value", ["0.2", None, True, [0.2]])
def test_bad_type_raises(widget: Any, value: Any) -> None:
    with pytest.raises(TypeError, match="noise must be a number"):
        widget.noise = value
    assert widget.noise == 0.15


def test_numbers_are_cleaned(widget: Any) -> None:
    widget.samples = np.int64(6)
    widget.noise = np.float32(0.25)
    assert (type(widget.samples), type(widget.noise)) == (int, float)
    widget.samples = 7.0
    assert type(widget.samples) is int


def test_unknown_keyword_lists_the_parameters(model: Any, photo: Any) -> None:
    with pytest.raises(TypeError, match=r'no parameter "noize".*"noise".*samples'):
        SmoothGrad(model, photo, noize=0.2)
    with pytest.raises(ValueError, match="steps"):
        IntegratedGradients(model, photo, steps=0)
    with pytest.raises(TypeError, match=r"xaiwidgets\.Model"):
        SmoothGrad("resnet18", photo)  # type: ignore[arg-type]


def test_target_by_index_name_or_none(widget: Any, model: Any, photo: Any) -> None:
    best = widget.target
    widget.target = "LYNX"
    assert widget.target == 2
    assert widget._target_info["name"] == "lynx"
    widget.target = np.int64(3)
    assert widget.target == 3
    for bad, error in (("linx", ValueError), (99, ValueError), (-1, ValueError), (2.5, TypeError)):
        with pytest.raises(error):
            widget.target = bad
        assert widget.target == 3
    widget.target = None
    assert widget.target == best
    widget.wait(PATIENCE)
    assert widget.result.target == best


def test_class_set_in_python_stays_with_the_next_photo(
    widget: Any, page: Page, model: Any, other: Any
) -> None:
    widget.target = 5
    widget.image = other
    assert widget.target == 5
    page.set(widget, target=6)
    widget.image = other
    assert widget.target == model.predict(other, 1)[0].index
    widget.wait(PATIENCE)
    expected = xai.explain(model, other, "smoothgrad", samples=4)
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)


def test_bad_image_raises_and_the_old_one_stays(widget: Any, photo: Any) -> None:
    shown, generation = widget._photo, widget._generation
    for bad, error in (
        ("nowhere.png", FileNotFoundError),
        (np.full((5, 5, 3), NAN), ValueError),
        (np.zeros((5, 5, 7), np.uint8), ValueError),
        (3, TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error):
            widget.image = bad
    assert widget.image is photo
    assert (widget._photo, widget._generation) == (shown, generation)


def test_same_array_with_other_content_runs_again(widget: Any, photo: Any, other: Any) -> None:
    first = widget.result
    photo[:] = other
    widget.image = photo
    widget.wait(PATIENCE)
    assert not np.array_equal(widget.result.attribution, first.attribution)


def test_dropped_photo(widget: Any, page: Page, model: Any, other: Any, png: bytes) -> None:
    page.send(widget, {"kind": "photo", "name": "my <b>cat</b>.png"}, (png,))
    widget.wait(PATIENCE)
    expected = xai.explain(model, other, "smoothgrad", samples=4)
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)
    assert widget.target == expected.target
    assert widget._photo_name == "my <b>cat</b>.png"
    assert widget.image.size == (50, 60)
    assert page.updates("_top")


def test_dropped_photo_is_not_lost_when_a_slider_moves(
    widget: Any, net: Any, page: Page, png: bytes
) -> None:
    with net.control.hold() as held:
        widget.samples = 5
        held.until_entered()
        page.send(widget, {"kind": "photo", "name": "a.png"}, (png,))
        page.set(widget, samples=6)
    widget.wait(PATIENCE)
    assert (widget._photo_name, widget.result.params["samples"]) == ("a.png", 6)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_dropped_file_that_is_no_photo(widget: Any, page: Page, content: bytes) -> None:
    shown, first = widget._photo, widget.result
    page.send(widget, {"kind": "photo", "name": "x"}, (content,))
    widget.wait(PATIENCE)
    assert widget.error
    assert (widget.status, widget._photo) == ("idle", shown)
    np.testing.assert_array_equal(widget.result.attribution, first.attribution)
    widget.samples = 5
    widget.wait(PATIENCE)
    assert widget.error == ""


def test_image_as_baseline(model: Any, photo: Any, other: Any, page: Page, made: Any) -> None:
    widget = made(IntegratedGradients(model, photo, steps=4, baseline=other))
    widget.wait(PATIENCE)
    expected = xai.explain(model, photo, "integrated_gradients", steps=4, baseline=other)
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)
    assert widget.get_state("baseline") == {"baseline": "custom"}
    page.set(widget, baseline="custom", steps=5)
    assert (widget.error, widget.steps) == ("", 5)
    page.set(widget, baseline="other")
    assert "baseline" in widget.error
    widget.baseline = "white"
    widget.wait(PATIENCE)
    assert widget.result.params["baseline"] == "white"


def test_observers_and_links(widget: Any) -> None:
    seen: list[Any] = []
    slider = ipywidgets.FloatSlider(value=0.1, min=0, max=0.5)
    widget.observe(lambda change: seen.append(change["new"]), "status")
    ipywidgets.link((slider, "value"), (widget, "noise"))
    assert widget.noise == 0.1
    slider.value = 0.4
    widget.wait(PATIENCE)
    assert widget.result.params["noise"] == 0.4
    assert seen[-2:] == ["running", "idle"]
    slider.close()


def test_result_is_there_when_status_becomes_idle(widget: Any) -> None:
    seen: list[Any] = []

    def observer(change: Any) -> None:
        if change["new"] == "idle":
            seen.append(widget.result.params["samples"])

    widget.observe(observer, "status")
    widget.samples = 9
    widget.wait(PATIENCE)
    assert seen == [9]


def test_updates_from_two_threads_are_whole(widget: Any, page: Page) -> None:
    problems: list[BaseException] = []
    torn: list[tuple[float, float]] = []
    widget.observe(
        lambda change: (
            torn.append((widget.noise, widget.samples / 100))
            if (abs(widget.noise - widget.samples / 100) > 1e-9)
            else None
        ),
        "noise",
    )
    page.set(widget, noise=0.04, samples=4)

    def write(low: int) -> None:
        try:
            for number in range(300):
                samples = low + number % 10
                page.set(widget, noise=samples / 100, samples=samples)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(low,)) for low in (1, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    widget.wait(PATIENCE)
    assert problems == []
    assert torn == []
    assert widget.error == ""
    assert widget.result.params["samples"] == widget.samples
    states = [m["state"] for m in page.messages if m.get("method") == "update"]
    finals = [state for state in states if "_result" in state]
    assert finals
    assert all({"_result", "_result_info", "_extra", "status"} <= set(state) for state in finals)


def test_jobs_answer_the_last_message_of_the_front_end(
    model: Any, photo: Any, page: Page, made: Any
) -> None:
    parent: contextvars.ContextVar[str] = contextvars.ContextVar("parent", default="none")
    seen: list[tuple[bool, str]] = []
    publish, main = page.publish, threading.get_ident()

    def noting(data: Any, buffers: Any) -> None:
        seen.append((threading.get_ident() == main, parent.get()))
        publish(data, buffers)

    page.publish = noting  # type: ignore[method-assign]
    parent.set("first cell")
    widget = made(SmoothGrad(model, photo, samples=4))
    widget.wait(PATIENCE)
    assert {name for on_main, name in seen if not on_main} == {"first cell"}
    seen.clear()
    parent.set("front end")
    page.send(widget, {"kind": "ready"})
    parent.set("second cell")
    widget.samples = 5
    widget.wait(PATIENCE)
    assert {name for on_main, name in seen if not on_main} == {"front end"}
    seen.clear()
    parent.set("front end again")
    page.set(widget, samples=6)
    widget.wait(PATIENCE)
    assert {name for _, name in seen} == {"front end again"}


def test_buffers_are_bytes_that_nobody_writes_to(
    model: Any, photo: Any, page: Page, made: Any
) -> None:
    for kind in (SmoothGrad, IntegratedGradients, Occlusion):
        widget = made(kind(model, photo))
        page.join(widget)
        widget.wait(PATIENCE)
    sent = [buffer for buffers in page.buffers for buffer in buffers]
    assert sent
    assert all(isinstance(buffer, bytes) for buffer in map(_bare, sent))


def _bare(buffer: Any) -> Any:
    return buffer.obj if isinstance(buffer, memoryview) else buffer


def test_nothing_is_streamed_while_hidden(widget: Any, page: Page) -> None:
    page.join(widget)
    page.set(widget, _visible=False)
    page.messages.clear()
    widget.samples = 40
    widget.wait(PATIENCE)
    assert page.custom("map") == []
    assert page.updates("_result")
    page.set(widget, _visible=True)
    assert page.custom("map") == []  # the final result is newer


def test_at_most_two_pictures_on_their_way(widget: Any, page: Page) -> None:
    page.send(widget, {"kind": "ready"})
    page.messages.clear()
    widget.samples = 60
    widget.wait(PATIENCE)
    assert len(page.custom("map")) == 2


def test_repr_and_still_picture(widget: Any) -> None:
    text = repr(widget)
    assert text.startswith("SmoothGrad(toy, target=")
    assert "noise=0.15, samples=4" in text
    assert text.endswith("idle)")
    data, _ = widget._repr_mimebundle_()
    assert data["text/plain"]
    assert data["image/png"].startswith("iVBOR")
    assert "application/vnd.jupyter.widget-view+json" in data


def test_works_without_any_comm(model: Any, photo: Any, made: Any) -> None:
    widget = made(Occlusion(model, photo, patch_size=8, stride=8))
    widget.wait(PATIENCE)
    assert widget.result.attribution.shape == (24, 20)
