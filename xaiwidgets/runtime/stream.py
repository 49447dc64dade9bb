"""What a job shows while it runs, at the pace of whoever looks.

A front end acknowledges every numbered message. At most two are on their way: a browser that falls
behind gets fewer pictures and never a queue of them. Nothing here blocks, and without a front end
nothing grows: a feed keeps the newest message only, or refers to items that are kept anyway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

Message = dict[str, Any]
Packed = tuple[Message, list[bytes]]
Send = Callable[[Message, list[bytes]], None]


class Feed(Protocol):
    """A source of messages."""

    def take(self) -> Packed | None:
        """The next message, or None when there is none now."""
        ...

    def rewind(self) -> None:
        """A page that has seen nothing joined."""
        ...

    def clear(self) -> None:
        """What is still to be sent has become outdated."""
        ...


class Latest:
    """A lossy feed: what is put replaces what was not sent yet."""

    def __init__(self) -> None:
        self._held: Packed | None = None

    def put(self, message: Message, buffers: list[bytes]) -> None:
        """Offer a message instead of the one that waits."""
        self._held = (message, buffers)

    def take(self) -> Packed | None:
        """The message that waits."""
        held, self._held = self._held, None
        return held

    def rewind(self) -> None:
        """Nothing is repeated: the next picture comes soon."""

    def clear(self) -> None:
        """Drop the message that waits."""
        self._held = None


class Stream:
    """The messages of one widget. Every method may be called from any thread.

    Args:
        send: hands a message to the transport; must return at once.
        in_flight: unacknowledged messages allowed.
        rate: progress messages per second.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        send: Send,
        *,
        in_flight: int = 2,
        rate: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._in_flight = in_flight
        self._pause = 1.0 / rate
        self._clock = clock
        self._lock = threading.RLock()  # re-entrant: a transport may acknowledge inside of `send`
        self._feeds: list[Feed] = []
        self._sequence = 0
        self._unacknowledged: set[int] = set()
        self._visible = True
        self._pumping = False
        self._last_progress = -float("inf")
        self._held_progress: Message | None = None

    def __enter__(self) -> None:
        """Hold all sending, to change a feed."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.pump()
        self._lock.release()

    def attach(self, *feeds: Feed) -> None:
        """Send what these feeds have, in turns."""
        with self._lock:
            self._feeds += [feed for feed in feeds if feed not in self._feeds]

    def progress(self, message: Message, *, last: bool = False) -> None:
        """Send a progress message if the last one is long enough ago, or if it is the last."""
        with self._lock:
            now = self._clock()
            if last or (self._visible and now - self._last_progress >= self._pause):
                self._last_progress, self._held_progress = now, None
                self._send(message, [])
            else:
                self._held_progress = message

    def acknowledge(self, sequence: object) -> None:
        """The page has received a message; unknown numbers are of no consequence."""
        with self._lock:
            if isinstance(sequence, int):
                self._unacknowledged.discard(sequence)
            self.pump()

    def ready(self) -> None:
        """A page joined: what an older page still owed will not come; tell the new one all."""
        with self._lock:
            self._unacknowledged.clear()
            for feed in self._feeds:
                feed.rewind()
            self.pump()

    def show(self, visible: bool) -> None:
        """Say whether anybody looks. While nobody does, nothing but the last progress is sent."""
        with self._lock:
            self._visible = visible
            if visible and self._held_progress is not None:
                self.progress(self._held_progress, last=True)
            self.pump()

    def clear(self) -> None:
        """Drop what is still to be sent."""
        with self._lock:
            self._held_progress = None
            for feed in self._feeds:
                feed.clear()

    def pump(self) -> None:
        """Send what may be sent now."""
        with self._lock:
            if self._pumping:  # by an acknowledgement inside of `send`: the loop below goes on
                return
            self._pumping = True
            try:
                self._pump()
            finally:
                self._pumping = False

    def _pump(self) -> None:
        idle = 0
        while (
            self._visible
            and idle < len(self._feeds)
            and len(self._unacknowledged) < self._in_flight
        ):
            feed = self._feeds.pop(0)
            self._feeds.append(feed)
            packed = feed.take()
            if packed is None:
                idle += 1
                continue
            idle = 0
            self._sequence += 1
            self._unacknowledged.add(self._sequence)
            message, buffers = packed
            self._send({**message, "seq": self._sequence}, buffers)
