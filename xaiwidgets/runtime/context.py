"""Which `contextvars` context a job runs in.

A Jupyter kernel keeps in a context variable which message it is answering, and takes the next
message of a widget where the last answer was sent from. A job that answered "from" a running cell
would therefore make the widget's Cancel button wait until that cell has ended. So jobs answer the
last message of the front end, wherever they were asked for.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class FrontContext:
    """Remembers the context of the last front-end message of one widget."""

    def __init__(self) -> None:
        self._last: contextvars.Context | None = None

    def capture(self) -> None:
        """Remember the current context; to be called in the handler of a message."""
        self._last = contextvars.copy_context()

    def for_job(self) -> contextvars.Context:
        """A context for a job: a copy of the remembered one, else of the current one.

        It is a copy each time, because a context can only be entered once at a time.
        """
        return self._last.copy() if self._last is not None else contextvars.copy_context()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the context that `for_job` would give now."""
        if self._last is None:
            return function(*args, **kwargs)
        return self._last.copy().run(function, *args, **kwargs)
