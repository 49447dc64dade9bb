"""The latest wins, previews are always shown, and no end of a job is the end of the widget."""

import logging
import threading
from typing import Any

import numpy as np
import pytest
import torch

import xaiwidgets as xai
from tests.unit.widgets.conftest import PATIENCE
from xaiwidgets.runtime import worker as runtime
from xaiwidgets.widgets.integrated_gradients import IntegratedGradients
from xaiwidgets.widgets.occlusion import Occlusion
from xaiwidgets.widgets.smoothgrad import SmoothGrad


def test_flood_of_slider_inputs(model: Any, photo: Any, page: Any, made: Any) -> None:
    widget = made(SmoothGrad(model, photo, samples=40))
    widget.wait(PATIENCE)
    page.join(widget)
    page.messages.clear()
    page.buffers.clear()
    values = [round(0.01 + 0.0045 * number, 4) for number in range(100)]
    for number, value in enumerate(values):
        page.set(widget, noise=value)
        if number % 10 == 0:  # a hand is not infinitely fast
            asked = widget._generation
            page.await_custom(
                "map",
                lambda maps, asked=asked: any(
                    each["gen"] >= asked and each["stage"] == "preview" for each in maps
                ),
            )
    widget.wait(PATIENCE)
    assert widget.result.params["noise"] == values[-1]
    expected = xai.explain(model, photo, "smoothgrad", samples=40, noise=values[-1])
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)
    maps = page.custom("map")
    assert sum(message["stage"] == "preview" for message in maps) >= 10
    generations = [message["gen"] for message in maps]
    assert generations == sorted(generations)
    assert widget._result_info["generation"] == widget._generation
    seqs = [message["seq"] for message in maps]
    assert len(set(seqs)) == len(seqs)
    finals = page.updates("_result_info")
    assert finals[-1]["params"]["noise"] == values[-1]


def test_superseded_job_shows_its_preview_and_no_result(
    net: Any, model: Any, photo: Any, page: Any, made: Any
) -> None:
    widget = made(IntegratedGradients(model, photo, steps=30))
    widget.wait(PATIENCE)
    page.join(widget)
    with net.control.hold() as held:
        widget.steps = 31
        held.until_entered()
        widget.steps = 32
    widget.wait(PATIENCE)
    previews = [message for message in page.custom("map") if message["stage"] == "preview"]
    assert [message["total"] for message in previews][-2:] == [31, 32]
    assert [info["total"] for info in page.updates("_result_info")] == [30, 32]


def test_two_widgets_share_the_worker(model: Any, photo: Any, page: Any, made: Any) -> None:
    one = made(SmoothGrad(model, photo, samples=500))
    two = made(IntegratedGradients(model, photo, steps=4))
    two.wait(PATIENCE)
    assert one.status == "running"
    one.close()


def test_cancel_keeps_the_last_result(
    net: Any, model: Any, photo: Any, page: Any, made: Any
) -> None:
    widget = made(SmoothGrad(model, photo, samples=5))
    widget.wait(PATIENCE)
    first = widget.result
    with net.control.hold() as held:
        widget.samples = 50
        held.until_entered()
        page.set(widget, _cancel=1)
    widget.wait(PATIENCE)
    assert (widget.status, widget.error) == ("idle", "")
    assert widget.result is first
    assert page.custom("progress")[-1]["text"] == "Canceled at 1 of 50"
    page.send(widget, {"kind": "action", "name": "retry"})
    widget.wait(PATIENCE)
    assert widget.result.params["samples"] == 50


def test_cancel_of_a_superseded_and_of_a_waiting_job(
    net: Any, model: Any, photo: Any, page: Any, made: Any
) -> None:
    widget = made(SmoothGrad(model, photo, samples=5))
    other = made(SmoothGrad(model, photo, samples=5))
    for each in (widget, other):
        each.wait(PATIENCE)
    with net.control.hold() as held:
        widget.samples = 50
        held.until_entered()
        widget.samples = 60
        page.set(widget, _cancel=1)
        other.samples = 50
        page.set(other, _cancel=1)
        assert other.status == "idle"
    widget.wait(PATIENCE)
    other.wait(PATIENCE)
    assert (widget.status, other.status) == ("idle", "idle")
    assert other.result.params["samples"] == 5


@pytest.mark.parametrize("kind", [IntegratedGradients, SmoothGrad, Occlusion])
def test_error_then_recovery(
    net: Any,
    model: Any,
    photo: Any,
    page: Any,
    made: Any,
    kind: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "xaiwidgets")
    widget = made(kind(model, photo))
    widget.wait(PATIENCE)
    first = widget.result
    net.control.error = ZeroDivisionError("in the middle")
    widget._finished.clear()
    page.send(widget, {"kind": "action", "name": "retry"})
    with pytest.raises(RuntimeError, match="in the middle") as raised:
        widget.wait(PATIENCE)
    assert raised.value.__cause__ is not None
    assert widget.status == "error"
    assert "in the middle" in widget.error
    assert "Traceback" in widget._error_details
    assert "in the middle" in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records)
    assert widget.result is first
    net.control.error = None
    page.send(widget, {"kind": "action", "name": "retry"})
    widget.wait(PATIENCE)
    assert (widget.status, widget.error, widget._error_details) == ("idle", "", "")
    np.testing.assert_array_equal(widget.result.attribution, first.attribution)


@pytest.mark.parametrize("error", [MemoryError("no more"), torch.OutOfMemoryError("CUDA out of")])
def test_out_of_memory_says_what_to_do(
    net: Any, model: Any, photo: Any, made: Any, error: Exception
) -> None:
    widget = made(SmoothGrad(model, photo))
    widget.wait(PATIENCE)
    net.control.error = error
    widget.samples = 7
    with pytest.raises(RuntimeError, match="Lower the parameters"):
        widget.wait(PATIENCE)
    net.control.error = None
    widget.samples = 8
    widget.wait(PATIENCE)


def test_model_that_fails_at_once_raises_in_the_constructor(
    net: Any, model: Any, photo: Any
) -> None:
    net.control.error = ValueError("broken network")
    with pytest.raises((ValueError, RuntimeError), match="broken network"):
        SmoothGrad(model, photo)


def test_wait_gives_up_in_time_and_the_work_goes_on(
    net: Any, model: Any, photo: Any, made: Any
) -> None:
    widget = made(SmoothGrad(model, photo, samples=4))
    widget.wait(PATIENCE)
    with net.control.hold() as held:
        widget.samples = 6
        held.until_entered()
        with pytest.raises(TimeoutError, match="SmoothGrad"):
            widget.wait(0.01)
    widget.wait(PATIENCE)
    assert widget.result.params["samples"] == 6


def test_interrupt_during_wait_cancels_nothing(
    net: Any, model: Any, photo: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = made(SmoothGrad(model, photo, samples=4))
    widget.wait(PATIENCE)
    widget.samples = 6
    worker = runtime.worker()
    with monkeypatch.context() as patch:

        def interrupted(owner: object, timeout: float | None) -> bool:
            raise KeyboardInterrupt

        patch.setattr(worker, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            widget.wait(PATIENCE)
    widget.wait(PATIENCE)
    assert widget.result.params["samples"] == 6


def test_wait_inside_of_an_observer_is_refused(net: Any, model: Any, photo: Any, made: Any) -> None:
    widget, seen = made(SmoothGrad(model, photo, samples=4)), []
    widget.wait(PATIENCE)

    def observer(change: Any) -> None:
        with pytest.raises(RuntimeError, match="observer"):
            widget.wait(PATIENCE)
        seen.append(change["new"])

    widget.observe(observer, "samples")
    with net.control.hold():
        widget.samples = 6
    assert seen == [6]


def test_inline_gives_the_same_numbers(model: Any, photo: Any, page: Any, made: Any) -> None:
    runtime.set_inline(True)
    try:
        widget = made(SmoothGrad(model, photo, samples=6))
        assert (widget.status, widget.result.params["samples"]) == ("idle", 6)
        page.set(widget, noise=0.3, samples=7)
        assert widget.result.params == {**widget.result.params, "noise": 0.3, "samples": 7}
        widget.wait(0.0)
        assert set(page.threads) == {threading.get_ident()}
    finally:
        runtime.set_inline(False)
    expected = xai.explain(model, photo, "smoothgrad", samples=7, noise=0.3)
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)


def test_inline_interrupt_leaves_the_widget_usable(
    net: Any, model: Any, photo: Any, made: Any
) -> None:
    runtime.set_inline(True)
    try:
        widget = made(SmoothGrad(model, photo, samples=6))
        net.control.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            widget.samples = 8
        net.control.error = None
        assert widget.status == "idle"
        widget.samples = 9
        assert widget.result.params["samples"] == 9
    finally:
        runtime.set_inline(False)


def test_several_changes_make_one_job(model: Any, photo: Any, page: Any, made: Any) -> None:
    widget = made(SmoothGrad(model, photo, samples=4))
    widget.wait(PATIENCE)
    before = widget._generation
    with widget.hold_trait_notifications():
        widget.noise, widget.samples = 0.3, 5
    page.set(widget, noise=0.2, samples=6, target=1)
    assert widget._generation == before + 2
    widget.wait(PATIENCE)
    assert (widget.result.params["samples"], widget.result.target) == (6, 1)


def test_close_frees_and_stops(
    net: Any, model: Any, photo: Any, page: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    widget = IntegratedGradients(model, photo, steps=8)
    widget.wait(PATIENCE)
    with net.control.hold() as held:
        widget.steps = 9
        held.until_entered()
        widget.close()
    widget.wait(PATIENCE)
    assert len(widget._finished) == widget._finished.nbytes == 0
    assert widget._path.items == []
    assert widget._result == b""
    assert widget.result.params["steps"] == 8
    widget.steps = 10
    widget.close()
    assert not runtime.worker().busy(widget)
    survivor = SmoothGrad(model, photo, samples=4)
    survivor.wait(PATIENCE)
    survivor.close()
    assert caplog.text == ""


def test_memory_of_finished_results_is_bounded(model: Any, photo: Any, made: Any) -> None:
    widget = made(SmoothGrad(model, photo, samples=4))
    widget._finished.limit = 50_000
    for samples in range(5, 15):
        widget.samples = samples
        widget.wait(PATIENCE)
    assert 0 < widget._finished.nbytes <= 50_000
    assert len(widget._finished) < 10
