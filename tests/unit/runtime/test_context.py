"""Jobs answer the last message of the front end."""

import contextvars

from xaiwidgets.runtime.context import FrontContext

parent: contextvars.ContextVar[str] = contextvars.ContextVar("parent", default="none")


def test_before_any_message_the_callers_context_is_copied() -> None:
    front = FrontContext()
    parent.set("cell")
    assert front.for_job().run(parent.get) == "cell"
    assert front.run(parent.get) == "cell"


def test_the_last_message_outlives_later_cells() -> None:
    front = FrontContext()
    for name in ("first message", "last message"):
        parent.set(name)
        front.capture()
    parent.set("cell")
    assert front.for_job().run(parent.get) == "last message"
    assert front.run(parent.get) == "last message"
    assert parent.get() == "cell"


def test_contexts_can_be_entered_inside_of_each_other() -> None:
    front = FrontContext()
    parent.set("message")
    front.capture()
    outer, inner = front.for_job(), front.for_job()
    assert outer.run(lambda: inner.run(front.run, parent.get)) == "message"


def test_what_a_job_sets_stays_in_the_job() -> None:
    front = FrontContext()
    parent.set("message")
    front.capture()
    front.for_job().run(parent.set, "job")
    assert front.for_job().run(parent.get) == "message"
