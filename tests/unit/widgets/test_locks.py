"""Widgets that write to each other from several threads, none of which waits forever."""

import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xaiwidgets as xai
from tests.unit.widgets.conftest import PATIENCE, Page
from xaiwidgets.runtime.stream import Stream
from xaiwidgets.widgets import sync
from xaiwidgets.widgets.smoothgrad import SmoothGrad

SHORT = 5.0


def test_observers_of_two_widgets_write_to_the_other_one(model: Any, photo: Any, page: Any) -> None:
    # Not closed by a fixture: that would wait for the locks of threads that are stuck.
    one, two = (SmoothGrad(model, photo, samples=2) for _ in range(2))
    for widget in (one, two):
        widget.wait(PATIENCE)
    inside = {widget: threading.Event() for widget in (one, two)}

    def writes(this: Any, that: Any) -> Callable[[Any], None]:
        def observer(_change: Any) -> None:
            inside[this].set()
            inside[that].wait(0.5)  # so that both are here at once, if they can be
            that.tabbable = True

        return observer

    threads = []
    for this, that in ((one, two), (two, one)):
        this.observe(writes(this, that), "tooltip")
        set_it = (this, "tooltip", "written")
        threads.append(threading.Thread(target=setattr, args=set_it, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SHORT)
    assert not any(thread.is_alive() for thread in threads)
    assert one.tabbable
    assert two.tabbable
    for widget in (one, two):
        widget.close()


def test_while_a_photo_is_read_other_widgets_go_on(
    net: Any, model: Any, photo: Any, other: Any, widget: Any, made: Any
) -> None:
    second = made(SmoothGrad(model, photo, samples=2))
    second.wait(PATIENCE)
    with net.control.hold() as held:
        reader = threading.Thread(target=setattr, args=(widget, "image", other))
        reader.start()
        held.until_entered()
        writer = threading.Thread(target=setattr, args=(second, "tooltip", "written"))
        writer.start()
        writer.join(SHORT)
        written = second.tooltip
    for thread in (reader, writer):
        thread.join(PATIENCE)
    assert written == "written"
    assert widget.image is other
    widget.wait(PATIENCE)
    alone = made(SmoothGrad(model, other, samples=4))
    alone.wait(PATIENCE)
    np.testing.assert_array_equal(widget.result.attribution, alone.result.attribution)


@pytest.mark.parametrize("write", [setattr, lambda widget, name, x: widget.set_trait(name, x)])
def test_photo_asks_once_and_is_told_to_observers(widget: Any, other: Any, write: Any) -> None:
    seen: list[Any] = []
    before, generation = widget.image, widget._generation
    widget.observe(lambda change: seen.append((change["old"], change["new"])), "image")
    write(widget, "image", other)
    widget.wait(PATIENCE)
    ((old, new),) = seen
    assert old is before
    assert new is other
    assert widget._generation == generation + 1


def test_photo_that_cannot_be_read_leaves_the_old_one(widget: Any, photo: Any) -> None:
    generation = widget._generation
    with pytest.raises(TypeError, match="image"):
        widget.image = object()
    assert widget.image is photo
    assert widget._generation == generation


if hasattr(os, "fork"):

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_fork_gives_the_child_a_lock_that_nobody_holds() -> None:
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with sync._LOCK:
                held.set()
                done.wait(PATIENCE)

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(PATIENCE)
        child = os.fork()
        if child == 0:  # pragma: no cover (not measured there)
            os._exit(0 if sync._LOCK.acquire(timeout=SHORT) else 1)
        _, status = os.waitpid(child, 0)
        done.set()
        holder.join(PATIENCE)
        assert os.waitstatus_to_exitcode(status) == 0


class Watched:
    """The lock of all widgets; notes who takes it while already holding a stream."""

    def __init__(self, streams: list[Stream]) -> None:
        self._lock: Any = threading.RLock()
        self._streams = streams
        self.wrong: list[str] = []

    def acquire(self, *args: Any) -> bool:
        streams: list[Any] = self._streams
        if not self._lock._is_owned() and any(each._lock._is_owned() for each in streams):
            self.wrong.append("".join(traceback.format_stack(limit=6)))
        return bool(self._lock.acquire(*args))

    def release(self) -> None:
        self._lock.release()

    def _is_owned(self) -> bool:
        return bool(self._lock._is_owned())

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (lambda *given: xai.IntegratedGradients(*given, steps=4), {"steps": 6}),
        (lambda *given: SmoothGrad(*given, samples=3), {"noise": 0.3}),
        (lambda *given: xai.Occlusion(*given, patch_size=8, stride=8), {"patch_size": 6}),
        (
            lambda *given: xai.DeepDream(*given, "features.0", iterations=2, octaves=1),
            {"iterations": 4},
        ),
        (lambda *given: xai.LIME(*given, samples=8, segments=4), {"features": 2}),
        (lambda *given: xai.Compare(*given, ["saliency", "grad_cam"]), {}),
    ],
    ids=["integrated_gradients", "smoothgrad", "occlusion", "deep_dream", "lime", "compare"],
)
def test_a_stream_is_held_last(
    model: Any, photo: Any, other: Any, page: Page, made: Any, monkeypatch: Any, make: Any,
    changes: dict[str, Any],
) -> None:  # fmt: skip
    streams: list[Stream] = []
    begin = Stream.__init__

    def noted(self: Stream, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        streams.append(self)

    watched = Watched(streams)
    monkeypatch.setattr(Stream, "__init__", noted)
    monkeypatch.setattr(sync, "_LOCK", watched)
    widget = made(make(model, photo))

    def answer() -> None:
        widget.wait(PATIENCE)
        for message in list(page.messages):
            content = message.get("content") or {}
            if "seq" in content:
                page.send(widget, {"kind": "ack", "seq": content["seq"]})

    page.send(widget, {"kind": "ready"})
    answer()
    for name, value in changes.items():
        page.set(widget, **{name: value})
        answer()
    if changes:
        old = widget.image
        widget.image = other
        answer()
        widget.image = old  # from the cache
        answer()
    widget.close()
    assert streams
    assert page.messages
    assert watched.wrong == []
