"""A widget that has a job: asking for it, its end in each of the ways it can end, its progress."""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import traitlets as t

from xaiwidgets.engine.batching import is_out_of_memory
from xaiwidgets.runtime.stream import Latest, Stream
from xaiwidgets.runtime.token import Cancelled, Token
from xaiwidgets.runtime.worker import worker
from xaiwidgets.widgets.sync import SyncedWidget, shortened

log = logging.getLogger("xaiwidgets")


@dataclass(frozen=True)
class Request:
    """What a job answers: the state of the widget when it was asked for."""

    generation: int
    action: str
    params: dict[str, Any]


class RunningWidget(SyncedWidget):
    """Handlers only check and post; a job on the worker answers the latest request.

    Attributes:
        status: "idle", "running" or "error".
        progress: 0 to 1.
        error: what went wrong, in short; "" when nothing did.
    """

    status = t.Unicode("idle").tag(sync=True)
    progress = t.Float(0.0)

    _error_details = t.Unicode("").tag(sync=True)
    _cancel = t.Int(0).tag(sync=True)
    _visible = t.Bool(True).tag(sync=True)

    _place: tuple[int, int, int]
    """Generation, done and total of the last progress."""
    _failure: Exception | None = None

    _request_traits: ClassVar[tuple[str, ...]] = ()
    """Parameters that a request carries."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Set up what jobs need before anything can be written."""
        made = super().__new__(cls, *args, **kwargs)
        state = made.__dict__
        state.update(_open=False, _generation=0, _cancelled_at=0, _place=(0, 0, 0))
        maps, stream = Latest(), Stream(made._send_message)
        stream.attach(maps)
        state.update(_maps=maps, _stream=stream)
        return made

    def _start(self) -> None:
        """From now on changes are answered."""
        self.observe(self._on_cancel, "_cancel")
        self.observe(lambda change: self._stream.show(change["new"]), "_visible")
        self._open = True
        self._post()

    def _work(self, request: Request, token: Token) -> Iterator[None]:
        """Answer a request. What comes before the first `token.check()` always happens."""
        raise NotImplementedError

    def _free(self) -> None:
        """Give up what takes memory."""

    # --- for the user

    def wait(self, timeout: float | None = None) -> None:
        """Block until the result answers the last change.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            TimeoutError: when it takes longer. The work goes on.
            RuntimeError: when it failed, with the text of `error`; or when called by an observer
                (of any widget), which the work itself waits for: observe `status` there instead.
        """
        lock: Any = self._lock
        if worker().busy(self) and not worker().inline and lock._is_owned():
            raise RuntimeError(
                "wait() inside an observer would wait forever. Observe `status` instead, and read "
                '`result` when it becomes "idle".'
            )
        if not worker().wait(self, timeout):
            raise TimeoutError(
                f"{type(self).__name__} is not done after {timeout:g} s; the work goes on. "
                "Wait longer, or lower its parameters."
            )
        if self._failure is not None:
            raise RuntimeError(self.error or str(self._failure)) from self._failure

    def close(self) -> None:
        """Stop the work, free its memory and remove the views. `result` stays."""
        if sys.is_finalizing():
            return  # threads were stopped wherever they were, perhaps with a lock in their hands
        if self.__dict__.get("_open"):
            self._open = False
            worker().close(self)
            with self._stream:
                self._stream.clear()
            self._free()
        super().close()

    # --- asking

    def _post(self, action: str = "explain") -> None:
        # All under the lock: requests must reach the worker in the order of their generations.
        with self._lock:
            if not self._open:
                return
            self._generation += 1
            self._failure = None
            self._place = (self._generation, 0, 0)
            params = {name: getattr(self, name) for name in self._request_traits}
            request = Request(self._generation, action, params)
            with self.hold_sync():
                self.error = self._error_details = ""
                self.progress = 0.0
                self.status = "running"
            job = functools.partial(self._job, request)
            worker().post(self, job, self._front.for_job())

    def _on_cancel(self, change: Any) -> None:
        self._cancelled_at = self._generation
        if not worker().cancel(self):
            self._settle()

    # --- ending

    def _is_current(self, request: Request) -> bool:
        return bool(self._open and request.generation == self._generation)

    def _job(self, request: Request, token: Token) -> Iterator[None]:
        try:
            yield from self._work(request, token)
        except Cancelled:
            pass
        except GeneratorExit:
            raise
        except Exception as error:
            self._failed(request, error)
        except BaseException:  # the user's interrupt, where there are no threads
            self._cancelled_at = self._generation
            self._settle()
            raise
        finally:
            if not self._open:  # closed meanwhile: what the last step made goes too
                self._free()
        self._settle()

    def _settle(self) -> None:
        """If the user canceled and nothing was asked for since, say so."""
        with self._lock:
            ended = self._cancelled_at == self._generation and self.status == "running"
            if self._open and ended:
                self.status = "idle"
                _, done, total = self._place
                at = f" at {done} of {total}" if total else ""
                self._say(self._generation, done, total, f"Canceled{at}", last=True)

    def _failed(self, request: Request, error: Exception) -> None:
        # No warning: that would be printed below the widget, which shows it already.
        log.info("%s failed.", type(self).__name__, exc_info=error)
        with self._lock:
            if not self._is_current(request):
                return
            self._failure = error
            details = "".join(traceback.format_exception(error))
            with self.hold_sync():
                self.error = explained(error)
                self._error_details = details[-20_000:]
                self.status = "error"

    # --- messages

    def _send_message(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.send(message, buffers)

    def _say(
        self, generation: int, done: int, total: int, text: str = "", *, last: bool = False
    ) -> None:
        self._place = (generation, done, total)
        fraction = done / total if total else 0.0
        if self.status == "running":
            self.progress = fraction
        message = {"kind": "progress", "gen": generation, "done": done, "total": total}
        text = text or (f"{done} of {total}" if total else "")
        self._stream.progress({**message, "fraction": fraction, "text": text}, last=last)

    def _take_message(self, kind: str, content: dict[str, Any], buffers: list[Any]) -> None:
        if kind == "ready":
            self._stream.ready()
            self._say(*self._place, last=True)
        elif kind == "ack":
            self._stream.acknowledge(content.get("seq"))
        elif kind == "action":
            self._act(content.get("name"))
        else:
            super()._take_message(kind, content, buffers)

    def _act(self, name: Any) -> None:
        if name != "retry":
            raise ValueError(f'{type(self).__name__} has no action "{shortened(str(name), 40)}".')
        self._post()


def explained(error: Exception) -> str:
    """The error in a line or two, for people."""
    text = shortened(str(error))
    if is_out_of_memory(error):
        return shortened(
            "Memory ran out. Lower the parameters, take a smaller photo or network, or free memory "
            f"by closing other widgets or notebooks. ({text})"
        )
    if text and isinstance(error, ValueError | RuntimeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
