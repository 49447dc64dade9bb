"""Widgets that write to each other from several threads, none of which waits forever."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.unit.widgets.conftest import PATIENCE
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
