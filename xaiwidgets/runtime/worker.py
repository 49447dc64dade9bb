"""One worker for the process; of the requests of one owner the latest wins.

One thread, because there is one GPU, and because torch keeps its grad mode and its current device
and stream by thread. A job is a function of a `Token`. It may return an iterator (be a generator
function): then the worker makes one step of it at a time, and owners take turns between steps, so
that a long job of one widget does not freeze another. A job must therefore leave thread-wide
state, such as torch's grad mode, as it was whenever it yields.

A newer request of the same owner cancels the token of the running job; the job decides when to
look. What comes before its first look always happens, however fast requests arrive.
"""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from xaiwidgets.runtime import threads
from xaiwidgets.runtime.token import Cancelled, Token

Job = Callable[[Token], Iterator[None] | None]

log = logging.getLogger("xaiwidgets")

_DONE = object()


class _Request:
    """A job that waits, or that runs when `steps` is set."""

    def __init__(self, job: Job, context: contextvars.Context) -> None:
        self.job = job
        self.context = context
        self.token = Token()
        self.steps: Iterator[None] | None = None

    def advance(self) -> bool:
        """Make one step; whether more follow."""
        if self.token.reason == "closed":
            self.context.run(self._close)
            return False
        return self.context.run(self._step)

    def _step(self) -> bool:
        if self.steps is None:
            started = self.job(self.token)
            if started is None:
                return False
            self.steps = started
        return next(self.steps, _DONE) is not _DONE

    def _close(self) -> None:
        close = getattr(self.steps, "close", None)
        if close is not None:
            close()


class _Slot:
    """What one owner asked for: the job that runs and the newest one that waits."""

    def __init__(self, owner: weakref.ref[Any]) -> None:
        self.owner = owner
        self.running: _Request | None = None
        self.waiting: _Request | None = None

    @property
    def busy(self) -> bool:
        return self.running is not None or self.waiting is not None

    def drop(self) -> None:
        self.waiting = None
        if self.running is not None:
            self.running.token.cancel("closed")


class Worker:
    """Runs jobs one at a time, owners in turn. All methods may be called from any thread."""

    def __init__(self, *, inline: bool = False) -> None:
        self._changed = threading.Condition()  # its lock is re-entrant: weakref callbacks need that
        self._slots: dict[weakref.ref[Any], _Slot] = {}  # in the order of their turns
        self._thread: threads.Thread | None = None
        self._stopped = False
        self._ident: int | None = None  # of the thread that runs jobs now
        self._inline = inline or not threads.can_start()

    @property
    def inline(self) -> bool:
        """Whether `post` runs the job itself, because there are no threads."""
        return self._inline

    def post(self, owner: object, job: Job, context: contextvars.Context | None = None) -> None:
        """Ask for `job` on behalf of `owner`; an older request of the same owner is dropped.

        Args:
            owner: anything that can be weakly referenced; it is not kept alive.
            job: called with its token, in `context`.
            context: must not be in use anywhere else; a copy of the caller's when None.
        """
        request = _Request(job, contextvars.copy_context() if context is None else context)
        with self._changed:
            slot = self._slots.get(weakref.ref(owner))
            if slot is None:
                slot = _Slot(weakref.ref(owner, self._forget))
                self._slots[slot.owner] = slot
            slot.waiting = request
            if slot.running is not None:
                slot.running.token.cancel("superseded")
            if not self._inline:
                self._start()
            self._changed.notify_all()
        if self._inline and self._ident is None:
            self._drain()

    def cancel(self, owner: object) -> bool:
        """Drop the owner's waiting job and cancel its running one.

        Returns:
            Whether one runs, which will then notice.
        """
        with self._changed:
            slot = self._slots.get(weakref.ref(owner))
            if slot is None:
                return False
            slot.waiting = None
            if slot.running is not None:
                slot.running.token.cancel("cancelled")
            self._tidy(slot)
            return slot.running is not None

    def close(self, owner: object) -> None:
        """Drop the owner's waiting job; its running one ends at its next step."""
        with self._changed:
            slot = self._slots.get(weakref.ref(owner))
            if slot is not None:
                slot.drop()
                self._tidy(slot)

    def busy(self, owner: object) -> bool:
        """Whether a job of the owner waits or runs."""
        with self._changed:
            return weakref.ref(owner) in self._slots

    def wait(self, owner: object, timeout: float | None = None) -> bool:
        """Block until no job of the owner waits or runs; False after `timeout` seconds.

        Raises:
            RuntimeError: when called by a job, which would wait for itself.
        """
        if self.is_current_thread() and self.busy(owner):
            raise RuntimeError("wait() was called on the thread that does the work.")
        with self._changed:
            return self._changed.wait_for(lambda: weakref.ref(owner) not in self._slots, timeout)

    def is_current_thread(self) -> bool:
        """Whether the caller is a job."""
        return self._ident == threading.get_ident()

    def shut_down(self, timeout: float) -> None:
        """Drop everything, and wait up to `timeout` seconds for the step that runs to end."""
        with self._changed:
            for slot in list(self._slots.values()):
                slot.drop()
                self._tidy(slot)
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and not self.is_current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopped = False
        try:
            thread = threads.thread_class()(target=self._run, name="xaiwidgets", daemon=True)
            thread.start()
        except RuntimeError as error:  # no threads here, or the interpreter is ending
            log.debug("No thread could be started (%s): jobs run where they are asked for.", error)
            self._inline = True
        else:
            self._thread = thread

    def _run(self) -> None:
        self._ident = threading.get_ident()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slots or self._stopped)
                if not self._slots:
                    return
                slot = next(iter(self._slots.values()))
            self._turn(slot)

    def _drain(self) -> None:
        self._ident = threading.get_ident()
        try:
            while slots := list(self._slots.values()):
                self._turn(slots[0])
        finally:
            self._ident = None

    def _turn(self, slot: _Slot) -> None:
        """Give one owner its turn: one step, plus the end of a job that was superseded."""
        with self._changed:
            if slot.running is None:
                slot.running, slot.waiting = slot.waiting, None
            request = slot.running
        more = wound_up = False
        first = request is None or request.steps is None
        try:
            more = request is not None and request.advance()
        except Cancelled:
            wound_up = not first
        except BaseException as error:
            log.exception("A job failed.")
            if self._inline and not isinstance(error, Exception):
                raise  # the user's Ctrl-C, in the user's own thread
        finally:
            with self._changed:
                if not more:
                    slot.running = None
                if not wound_up:  # that was no work: its owner's turn goes on
                    self._slots.pop(slot.owner, None)
                    self._slots[slot.owner] = slot
                self._tidy(slot)

    def _tidy(self, slot: _Slot) -> None:
        if not slot.busy:
            self._slots.pop(slot.owner, None)
        self._changed.notify_all()

    def _forget(self, owner: weakref.ref[Any]) -> None:
        with self._changed:
            slot = self._slots.get(owner)
            if slot is not None:
                slot.drop()
                self._tidy(slot)


_worker = Worker()


def worker() -> Worker:
    """The worker of this process."""
    return _worker


def set_inline(inline: bool) -> None:
    """Run jobs where they are asked for, without a thread (or with one again)."""
    global _worker
    _worker.shut_down(timeout=5.0)
    _worker = Worker(inline=inline)


def _after_fork() -> None:
    # The child has neither the thread nor a chance to see its locks released.
    global _worker
    _worker = Worker(inline=_worker.inline)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
# A daemon thread inside of torch while the interpreter is taken down can crash the process.
atexit.register(lambda: _worker.shut_down(timeout=5.0))
