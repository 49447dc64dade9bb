"""What goes over the kernel's web socket, message by message."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Frame = str | bytes


@dataclass(frozen=True)
class Message:
    """One Jupyter message: its type, content, number of buffers and size on the wire in bytes."""

    type: str
    channel: str
    content: dict[str, Any]
    buffers: int
    size: int

    @property
    def comm_id(self) -> str:
        """The widget model this message is for ("" when it is no comm message)."""
        return str(self.content.get("comm_id", ""))

    @property
    def state(self) -> dict[str, Any]:
        """The traits this message changes ({} when it changes none)."""
        data = self.content.get("data") or {}
        return data.get("state") or {} if data.get("method") in ("update", "echo_update") else {}

    @property
    def custom(self) -> dict[str, Any]:
        """The content of a custom message ({} when it is none)."""
        data = self.content.get("data") or {}
        return data.get("content") or {} if data.get("method") == "custom" else {}


def parse(frame: Frame) -> Message | None:
    """Read one frame of the kernel socket: binary protocol v1, or the older JSON one.

    Returns None for a frame that is no Jupyter message.
    """
    if isinstance(frame, str):
        try:
            parts = json.loads(frame)
            channel, header, content = parts["channel"], parts["header"], parts["content"]
        except (ValueError, KeyError, TypeError):
            return None
        return Message(header["msg_type"], channel, content, 0, len(frame))
    try:
        (count,) = struct.unpack_from("<Q", frame, 0)
        offsets = struct.unpack_from(f"<{count}Q", frame, 8)
        parts = [frame[a:b] for a, b in pairwise(offsets)]
        channel, header, _parent, _metadata, content = parts[:5]
        kind = json.loads(header)["msg_type"]
        buffers = len(parts) - 5
        return Message(kind, channel.decode(), json.loads(content), buffers, len(frame))
    except (struct.error, ValueError, KeyError):
        return None


@dataclass
class Traffic:
    """The messages of one stretch of time, both ways.

    ``sent`` is browser to kernel, ``received`` kernel to browser.
    """

    sent: list[Message] = field(default_factory=list)
    received: list[Message] = field(default_factory=list)

    @property
    def comm(self) -> list[Message]:
        """Widget messages from the browser to the kernel: changed traits and custom ones."""
        return [m for m in self.sent if m.type == "comm_msg"]

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The changed traits of each update that the browser sent."""
        return [m.state for m in self.comm if m.state]

    @property
    def customs(self) -> list[dict[str, Any]]:
        """The content of each custom message that the browser sent, acknowledgments too."""
        return [m.custom for m in self.comm if m.custom]

    @property
    def received_comm(self) -> list[Message]:
        """Widget messages from the kernel to the browser."""
        return [m for m in self.received if m.type == "comm_msg"]

    @property
    def received_bytes(self) -> int:
        """Bytes of widget messages from the kernel to the browser."""
        return sum(m.size for m in self.received_comm)

    def listener(self, received: bool) -> Callable[[Frame], None]:
        """Give a function that files frames here."""

        def listen(frame: Frame) -> None:
            message = parse(frame)
            if message is not None:
                (self.received if received else self.sent).append(message)

        return listen
