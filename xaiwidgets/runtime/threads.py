"""Which thread the worker runs on, and whether there are threads at all."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Thread(Protocol):
    """What the worker needs of a thread."""

    daemon: bool

    def start(self) -> None:
        """Begin; RuntimeError when the platform has no thread to give."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""

    def is_alive(self) -> bool:
        """Whether it began and has not ended."""
        ...


ThreadClass = Callable[..., Thread]

_chosen: ThreadClass | None = None


def set_thread_class(thread_class: ThreadClass | None) -> None:
    """Run workers that start from now on on `thread_class`; None chooses by the host again."""
    global _chosen
    _chosen = thread_class


def thread_class() -> ThreadClass:
    """The thread class of the worker.

    In a marimo notebook that is marimo's own: what a plain thread sends is silently dropped there.
    """
    if _chosen is not None:
        return _chosen
    marimo: Any = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        found: ThreadClass = marimo.Thread
        return found
    return threading.Thread


def can_start() -> bool:
    """Whether the platform has threads (Python in the browser has none)."""
    return sys.platform not in ("emscripten", "wasi")
