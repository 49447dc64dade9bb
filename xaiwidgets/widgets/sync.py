"""A widget whose state several threads may write, and a page that is not trusted with it.

Traits are not safe against threads: ipywidgets and traitlets keep what they are doing in plain
attributes. Messages come in on the main thread or on a subshell's, cells write on the main thread,
and jobs on the worker's. One re-entrant lock keeps updates whole. It is the same for all widgets:
observers run under it, and where they write to another widget, two threads that held a lock each
could wait for the other's. Whoever holds it never waits for the worker, and does what takes long
before where that is possible. A stream has a lock too, which is always the second one taken.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import anywidget
import traitlets as t

from xaiwidgets.runtime.context import FrontContext
from xaiwidgets.widgets.subshell import current_subshell

log = logging.getLogger("xaiwidgets")

SKIP = object()
"""In place of a value that the widget has already."""

_LOCK = threading.RLock()

# What every DOM widget lets a page write; ipywidgets checks these itself.
_OF_THE_PAGE = frozenset({"layout", "tabbable", "tooltip", "_dom_classes"})


class SyncedWidget(anywidget.AnyWidget):
    """Whole updates, checked messages, and sends in the context of the last front-end message."""

    _writable: ClassVar[frozenset[str]] = frozenset()
    """Traits that the page may write."""

    _subshell: str | None

    error = t.Unicode("", help="What went wrong, in short.").tag(sync=True)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Have the lock before anything can be written."""
        made = super().__new__(cls, *args, **kwargs)
        state = made.__dict__
        state["_lock"] = _LOCK
        state["_front"] = FrontContext()
        state["_subshell"] = None
        state["_from_page"] = False
        state["_batches"] = 0
        state["_asked"] = False
        return made

    # --- one writer at a time

    def __setattr__(self, name: str, value: Any) -> None:
        lock = self.__dict__.get("_lock")
        if lock is None or not self.has_trait(name):
            # What is no trait needs no lock, and may be written where the stream is held.
            super().__setattr__(name, value)
            return
        with lock:
            super().__setattr__(name, value)

    def notify_change(self, change: Any) -> None:
        """Tell observers, while nobody else writes."""
        with self._lock:
            super().notify_change(change)

    @contextlib.contextmanager
    def hold_sync(self) -> Iterator[None]:
        """Send all changes made within as one message."""
        with self._lock, super().hold_sync():
            yield

    @contextlib.contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Tell observers of the changes made within at the end; one job does them all."""
        with self._lock, self._batched(), super().hold_trait_notifications():
            yield

    @contextlib.contextmanager
    def _batched(self) -> Iterator[None]:
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            if self._batches == 0 and self._asked:
                self._ask()

    def _ask(self) -> None:
        """Something changed that a job must answer."""
        self._asked = self._batches > 0
        if not self._asked:
            self._post()

    def _post(self, action: str = "explain") -> None:
        raise NotImplementedError

    # --- what the page sends

    def _hear(self) -> None:
        """Remember where the page's message is handled, and have the next one handled there."""
        self._front.capture()
        subshell = current_subshell()
        if subshell is not None and subshell != self._subshell:
            self._subshell = subshell
            self.send({"kind": "hello"})

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the page changed; what it may not change, or not so, is put right there."""
        self._hear()
        with self._lock:
            problems: dict[str, str] = {}
            self._from_page = True
            try:
                accepted = self._sift(sync_data, problems)
                with self._batched():
                    super().set_state(accepted)
            except Exception as error:
                log.info("A change that the page sent could not be made.", exc_info=True)
                problems.update(dict.fromkeys(sync_data, str(error)))
            finally:
                self._from_page = False
            if problems:
                self._refuse(problems)

    def _sift(self, sync_data: dict[str, Any], problems: dict[str, str]) -> dict[str, Any]:
        accepted = {}
        for name, value in sync_data.items():
            try:
                if self._check_from_page(name, value) is not SKIP:
                    accepted[name] = value
            except (TypeError, ValueError, OverflowError, t.TraitError) as error:
                problems[name] = str(error)
        return accepted

    def _check_from_page(self, name: str, value: Any) -> Any:
        if name in _OF_THE_PAGE:
            return value
        if name in self.keys and self._is_now(name, value):
            return SKIP
        if name not in self._writable:
            raise ValueError(f'"{name}" cannot be changed from the page.')
        trait: Any = self.traits()[name]
        return trait.validate(self, value)

    def _is_now(self, name: str, value: Any) -> bool:
        try:
            now = self.get_state(name)[name]
            # True == 1 in Python, but not for a parameter.
            return isinstance(value, bool) == isinstance(now, bool) and bool(now == value)
        except Exception:
            return False

    def _refuse(self, problems: dict[str, str]) -> None:
        known = [name for name in problems if name in self.keys]
        if known:
            self.send_state(known)
        self._complain("; ".join(dict.fromkeys(problems.values())))

    def _complain(self, text: str) -> None:
        self.error = shortened(text)

    def _handle_msg(self, msg: Any) -> None:
        content = msg.get("content")
        data = content.get("data") if isinstance(content, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("state", {}), dict):
            self._complain("The page sent a message that cannot be read.")
            return
        super()._handle_msg(msg)

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        self._hear()
        try:
            if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
                raise ValueError("The page sent a message without a kind.")
            with self._lock:
                self._take_message(content["kind"], content, list(buffers or []))
        except Exception as error:
            log.info("A message from the page was refused.", exc_info=True)
            self._complain(str(error))
        super()._handle_custom_msg(content, buffers)

    def _take_message(self, kind: str, content: dict[str, Any], buffers: list[Any]) -> None:
        raise ValueError(f'The page sent a message of an unknown kind "{shortened(kind, 40)}".')

    # --- what the page is sent

    def _send(self, msg: Any, buffers: Any = None) -> None:
        # Also from a cell: a kernel takes the next message where the last one was sent from, and
        # a running cell would keep the page waiting.
        self._front.run(super()._send, msg, buffers)


def _after_fork() -> None:
    # The child does not have the thread that may hold it, and would wait forever.
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def shortened(text: str, limit: int = 300) -> str:
    """The text on one line, cut off at `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
