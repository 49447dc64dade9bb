"""Questions of the page that are answered beside the runs of a widget."""

from __future__ import annotations

import contextvars
from collections.abc import Callable

from xaiwidgets.runtime.stream import Latest, Packed, Stream
from xaiwidgets.runtime.token import Token
from xaiwidgets.runtime.worker import worker


class Aside:
    """Asks the worker on its own account, so that no run is canceled and nobody waits for it.

    Its turn comes between two steps of a run. Of several questions the last one is answered.

    Args:
        stream: where answers go; one that was not sent yet gives way to the next.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._answers = Latest()
        self._open = True
        stream.attach(self._answers)

    def ask(self, answer: Callable[[], Packed | None], context: contextvars.Context) -> None:
        """Have the worker call `answer` in `context`, and send what it gives."""

        def job(_token: Token) -> None:
            packed = answer()
            with self._stream:
                if self._open and packed is not None:
                    self._answers.put(*packed)

        worker().post(self, job, context)

    def clear(self) -> None:
        """Drop the answer that waits."""
        self._answers.clear()

    def close(self) -> None:
        """Drop the question that waits, and send no answer any more."""
        worker().close(self)
        with self._stream:
            self._open = False
            self._answers.clear()
