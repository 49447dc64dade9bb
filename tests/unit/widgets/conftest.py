"""A small network, a photo, and a page that is no browser."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import comm
import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _put_buffers
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from xaiwidgets.model import Model
from xaiwidgets.widgets.smoothgrad import SmoothGrad

PATIENCE = 60.0
CLASSES = ["tabby", "Egyptian cat", "lynx", "toaster", "tiger", "ant", "<img onerror=x>"]


class Toy(nn.Module):
    """Seven classes of 24 x 20 photos; can be held, counted and broken."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(8, len(CLASSES))
        self.control = Control()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.control.enter(len(x))
        return self.head(self.features(x).mean((-2, -1)))


class Control:
    """What a test does to the network while it runs; copies of the network share it."""

    def __init__(self) -> None:
        self.rows = 0
        self.error: BaseException | None = None
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def __deepcopy__(self, memo: Any) -> Control:
        return self

    def enter(self, rows: int) -> None:
        self.rows += rows
        if self.gate is not None:
            self.entered.set()
            assert self.gate.wait(PATIENCE)
        if self.error is not None:
            raise self.error

    def hold(self) -> Held:
        return Held(self)


class Held:
    """Within it the network stands still."""

    def __init__(self, control: Control) -> None:
        self.control = control

    def __enter__(self) -> Held:
        self.gate = threading.Event()
        self.control.entered.clear()
        self.control.gate = self.gate
        return self

    def until_entered(self) -> None:
        assert self.control.entered.wait(PATIENCE)

    def __exit__(self, *_: object) -> None:
        self.control.gate = None
        self.gate.set()


class Page:
    """Records every message of the kernel, and speaks to widgets as a browser does."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.buffers: list[list[Any]] = []
        self.threads: list[int] = []
        self.acknowledges: Any = None
        self.arrived = threading.Condition()

    def publish(self, data: dict[str, Any], buffers: Any) -> None:
        if data.get("method") == "update":
            state = dict(data["state"])
            _put_buffers(state, data["buffer_paths"], buffers)
            data = {**data, "state": state}
        with self.arrived:
            self.messages.append(data)
            self.buffers.append(list(buffers or []))
            self.threads.append(threading.get_ident())
            self.arrived.notify_all()
        content = data.get("content") or {}
        if self.acknowledges is not None and "seq" in content:
            self.send(self.acknowledges, {"kind": "ack", "seq": content["seq"]})

    def custom(self, kind: str) -> list[dict[str, Any]]:
        with self.arrived:
            found = [m["content"] for m in self.messages if m.get("method") == "custom"]
        return [content for content in found if content["kind"] == kind]

    def custom_buffers(self, kind: str) -> list[list[Any]]:
        with self.arrived:
            return [
                buffers
                for message, buffers in zip(self.messages, self.buffers, strict=True)
                if message.get("method") == "custom" and message["content"]["kind"] == kind
            ]

    def updates(self, name: str) -> list[Any]:
        with self.arrived:
            found = [m["state"] for m in self.messages if m.get("method") == "update"]
        return [state[name] for state in found if name in state]

    def await_custom(self, kind: str, enough: Callable[[list[dict[str, Any]]], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: enough(self.custom(kind)), PATIENCE)

    def join(self, widget: Any) -> None:
        """Open a page that acknowledges every message at once."""
        self.acknowledges = widget
        self.send(widget, {"kind": "ready"})

    def set(self, widget: Any, **state: Any) -> None:
        self._handle(widget, {"method": "update", "state": state, "buffer_paths": []}, [])

    def send(self, widget: Any, content: Any, buffers: tuple[bytes, ...] = ()) -> None:
        self._handle(widget, {"method": "custom", "content": content}, list(buffers))

    def _handle(self, widget: Any, data: dict[str, Any], buffers: list[bytes]) -> None:
        widget._handle_msg({"content": {"data": data}, "buffers": buffers})


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    page = Page()

    class Recorder(comm.DummyComm):
        def publish_msg(
            self,
            msg_type: Any,
            data: Any = None,
            metadata: Any = None,
            buffers: Any = None,
            **keys: Any,
        ) -> None:
            page.publish(data or {}, buffers)

    monkeypatch.setattr(comm, "create_comm", Recorder)
    return page


@pytest.fixture
def net() -> Toy:
    return Toy()


@pytest.fixture
def model(net: Toy) -> Model:
    made = Model(net, {"size": (24, 20)}, CLASSES, "cpu", name="toy")
    for kind in ("gradient", "forward"):
        # The last bits hang on how many images go together; the clock must not choose it here.
        made.batcher(kind).size = 2
    return made


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return (np.random.default_rng(0).random((60, 50, 3)) * 255).astype(np.uint8)


@pytest.fixture
def other() -> NDArray[np.uint8]:
    return (np.random.default_rng(1).random((60, 50, 3)) ** 3 * 255).astype(np.uint8)


@pytest.fixture
def png(other: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(other).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def made() -> Iterator[Callable[[Any], Any]]:
    """Hands on a widget, and closes it in the end."""
    widgets: list[Any] = []

    def keep(widget: Any) -> Any:
        widgets.append(widget)
        return widget

    yield keep
    for widget in widgets:
        widget.close()


@pytest.fixture
def widget(model: Any, photo: Any, page: Any, made: Any) -> Any:
    widget = made(SmoothGrad(model, photo, samples=4))
    widget.wait(PATIENCE)
    return widget
