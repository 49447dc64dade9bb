"""A patch anywhere, asked for by the page beside the runs of an occlusion widget."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xaiwidgets as xai
from tests.unit.widgets.conftest import CLASSES, PATIENCE, Page, Toy
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.model import Model
from xaiwidgets.runtime import worker as runtime
from xaiwidgets.widgets.occlusion import Occlusion

NAN = float("nan")
SIZE = {"patch_size": 8, "stride": 4}


def started(model: Any, photo: Any, page: Page, target: Any = None, **params: Any) -> Occlusion:
    widget = Occlusion(model, photo, target, **{**SIZE, **params})
    widget.wait(PATIENCE)
    page.join(widget)
    return widget


def ask(widget: Any, page: Page, top: Any, left: Any) -> None:
    page.send(widget, {"kind": "action", "name": "cover", "top": top, "left": left})


def answered(widget: Any, page: Page) -> list[dict[str, Any]]:
    """All answers, once there is none to come."""
    assert runtime.worker().wait(widget._aside, PATIENCE)
    return page.custom("covered")


def grid(widget: Any) -> tuple[Any, Any, Any]:
    """Bars, winners and their probabilities at each window, as the page looks them up."""
    info = widget._extra_info
    shape = info["rows"], info["cols"]
    count, kept = int(np.prod(shape)), len(info["classes"])
    values = np.frombuffer(widget._extra, "<f4")
    winners = np.frombuffer(widget._extra, "<i4")[count * kept :][:count].reshape(shape)
    sure = values[count * (kept + 1) :][:count].reshape(shape)
    return values[: count * kept].reshape(*shape, kept), winners, sure


def covered(model: Any, photo: Any, corner: tuple[int, int], size: int, fill: Any) -> torch.Tensor:
    """The network's answer, `(K,)`, by plain indexing."""
    task = make_task(model, photo, None)
    pixels = task.prepared.pixels.clone()
    rows, cols = (slice(max(at, 0), at + size) for at in corner)
    pixels[:, rows, cols] = blank(task, fill)[:, rows, cols]
    logits: torch.Tensor = model.logits(model.pixels_to_input(pixels[None]))[0].clone()
    return logits


class OneByOne(Toy):
    """Cannot be replayed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([super(OneByOne, self).forward(image[None]) for image in x])


@pytest.mark.parametrize("kind", [Toy, OneByOne])
@pytest.mark.parametrize("fill", ["black", "mean", "blur", "noise", 0.25])
def test_on_the_grid_it_is_the_grid(
    kind: type[Toy], fill: Any, photo: Any, page: Page, made: Any
) -> None:
    model = Model(kind(), {"size": (24, 20)}, CLASSES, "cpu")
    widget = made(started(model, photo, page, fill=fill))
    bars, winners, sure = grid(widget)
    for row, top in enumerate(widget._extra_info["tops"]):
        for col, left in enumerate(widget._extra_info["lefts"]):
            ask(widget, page, top, left)
            answer = answered(widget, page)[-1]
            assert (answer["top"], answer["left"]) == (top, left)
            assert answer["probabilities"] == pytest.approx(bars[row, col].tolist(), abs=1e-6)
            assert answer["sure"] == pytest.approx(sure[row, col], abs=1e-6)
            assert answer["winner"] == winners[row, col]


@pytest.mark.parametrize("corner", [(3, 5), (-7, -7), (-3, 9), (23, 19), (11, -1), (20, 6)])
def test_between_the_windows(
    corner: tuple[int, int], model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(started(model, photo, page))
    ask(widget, page, *corner)
    (answer,) = answered(widget, page)
    logits = covered(model, photo, corner, 8, "mean")
    shares = logits.softmax(0)
    told = [float(shares[index]) for index in widget._extra_info["classes"]]
    assert answer["probabilities"] == pytest.approx(told, abs=1e-6)
    assert (answer["winner"], answer["sure"]) == (
        int(logits.argmax()),
        pytest.approx(float(shares.max()), abs=1e-6),
    )


def second_minus_first(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, 1] - logits[:, 0].square()


@pytest.mark.parametrize("target", [second_minus_first, xai.Difference("lynx", "ant"), [2, 5]])
def test_any_target(target: Any, model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(started(model, photo, page, target))
    ask(widget, page, 3, 5)
    (answer,) = answered(widget, page)
    logits = covered(model, photo, (3, 5), 8, "mean")
    if target is second_minus_first:
        expected = [float(target(logits[None]))]
    else:
        expected = [float(logits.softmax(0)[k]) for k in widget._extra_info["classes"]]
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert (answer["winner"] == 0) == (target is second_minus_first or logits.argmax() == 0)


def test_region_of_a_segmentation_network(photo: Any, page: Page, made: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    model = Model(net, {"size": (24, 20)}, ["sky", "grass", "cow", "road"], "cpu")
    widget = made(started(model, photo, page, xai.Region((2, 2, 12, 12), "cow")))
    bars, _, _ = grid(widget)
    ask(widget, page, 4, 8)
    ((chance,),) = [answer["probabilities"] for answer in answered(widget, page)]
    assert chance == pytest.approx(bars[1, 2, 0], abs=1e-6)
    ask(widget, page, 5, 8)
    assert answered(widget, page)[-1]["probabilities"] != [chance]


def test_gray_network(photo: Any, page: Page, made: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 22 * 18, 3))
    model = Model(net, {"size": (24, 20), "mean": [0.5], "std": [0.25]}, device="cpu")
    widget = made(started(model, photo[..., 0], page))
    bars, winners, _ = grid(widget)
    ask(widget, page, 8, 4)
    (answer,) = answered(widget, page)
    assert answer["probabilities"] == pytest.approx(bars[2, 1].tolist(), abs=1e-6)
    assert answer["winner"] == winners[2, 1]


def test_nothing_else_changes(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(started(model, photo, page))
    before, result = widget.get_state(), widget.result
    page.messages.clear()
    ask(widget, page, 3, 5)
    assert len(answered(widget, page)) == 1
    assert widget.get_state() == before
    assert widget.result is result
    # The answer is all that was sent, and the network saw one photo, as often as it is timed.
    assert len(page.messages) == 1
    rows = net.control.rows
    for left in range(6):
        ask(widget, page, 3, left)
        answered(widget, page)
    assert net.control.rows - rows <= 6


def test_beside_a_run(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    """A run goes on as if nothing was asked; what is asked is about what is still shown."""
    widget = made(started(model, photo, page))
    with net.control.hold() as held:
        page.set(widget, patch_size=3, stride=3)
        held.until_entered()
        generation = widget._generation
        ask(widget, page, 3, 5)
        assert widget.status == "running"
    (answer,) = answered(widget, page)
    logits = covered(model, photo, (3, 5), 8, "mean")
    assert answer["sure"] == pytest.approx(float(logits.softmax(0).max()), abs=1e-6)
    widget.wait(PATIENCE)
    assert widget._result_info["generation"] == widget._generation == generation
    expected = xai.explain(model, photo, "occlusion", patch_size=3, stride=3)
    np.testing.assert_allclose(widget.result.attribution, expected.attribution, atol=1e-6)


def test_latest_wins(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(started(model, photo, page))
    with net.control.hold() as held:
        ask(widget, page, 0, 0)
        held.until_entered()
        for left in range(1, 9):
            ask(widget, page, 0, left)
    assert [answer["left"] for answer in answered(widget, page)] == [0, 8]


FORGED = [
    *[(at, 0) for at in (None, True, NAN, 1.0, "3", [1], {}, -8, 24, 10**400, float("inf"))],
    *[(0, at) for at in (None, False, NAN, 0.5, "0", -8, 20, -(10**9))],
]


@pytest.mark.parametrize("corner", FORGED, ids=[str(corner)[:20] for corner in FORGED])
def test_forged_place(corner: Any, model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(started(model, photo, page))
    ask(widget, page, *corner)
    assert "asked for a patch at row" in widget.error
    assert "must lie on the photo" in widget.error
    assert answered(widget, page) == []
    assert widget.status == "idle"
    page.send(widget, {"kind": "action", "name": "cover"})
    assert "None" in widget.error
    ask(widget, page, -7, 19)
    assert len(answered(widget, page)) == 1


def test_before_the_first_result(model: Any, photo: Any, page: Page, made: Any) -> None:
    gate, owner = threading.Event(), Toy()
    runtime.worker().post(owner, lambda _token: gate.wait(PATIENCE) and None)
    widget = made(Occlusion(model, photo, **SIZE))
    ask(widget, page, 0, 0)
    assert "no run has finished" in widget.error
    gate.set()
    widget.wait(PATIENCE)
    ask(widget, page, 0, 0)
    page.join(widget)
    assert len(answered(widget, page)) == 1


def test_a_network_that_fails_is_told_of(
    net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(started(model, photo, page))
    result = widget.result
    net.control.error = RuntimeError("the cable is out")
    ask(widget, page, 3, 5)
    (answer,) = answered(widget, page)
    # So that the page waits no longer.
    assert {name: answer[name] for name in ("top", "left")} == {"top": 3, "left": 5}
    assert "probabilities" not in answer
    assert "the cable is out" in widget.error
    assert (widget.status, widget.result) == ("idle", result)
    net.control.error = None
    ask(widget, page, 3, 6)
    assert "probabilities" in answered(widget, page)[-1]


def test_about_another_result(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    """A patch that is not on the photo any more, as it has become smaller, is not answered."""
    widget = made(started(model, photo, page, patch_size=4))
    page.set(widget, patch_size=8)
    widget.wait(PATIENCE)
    with net.control.hold() as held:
        ask(widget, page, 0, 0)
        held.until_entered()
        page.set(widget, patch_size=4)
        ask(widget, page, -6, 0)
    assert [answer["top"] for answer in answered(widget, page)] == [0]
    widget.wait(PATIENCE)
    assert widget._result_info["cached"]
    assert widget.error == ""


@pytest.mark.parametrize("changes", [False, True])
def test_an_answer_that_waits_is_not_sent_after_another_result(
    changes: bool, model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(Occlusion(model, photo, **SIZE))
    widget.wait(PATIENCE)
    # Nobody acknowledges: what was streamed fills the wire.
    widget.patch_size = 7
    widget.wait(PATIENCE)
    ask(widget, page, 0, 0)
    assert answered(widget, page) == []
    if changes:
        widget.score = "logit"
        widget.wait(PATIENCE)
    page.join(widget)
    assert len(page.custom("covered")) == (0 if changes else 1)


def test_closed_meanwhile(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(started(model, photo, page))
    with net.control.hold() as held:
        ask(widget, page, 0, 0)
        held.until_entered()
        ask(widget, page, 1, 1)
        widget.close()
    assert answered(widget, page) == []


def test_inline(model: Any, photo: Any, page: Page, made: Any) -> None:
    """Where there are no threads, the answer is there when the message was handled."""
    runtime.set_inline(True)
    try:
        widget = made(started(model, photo, page))
        ask(widget, page, 3, 5)
        assert len(page.custom("covered")) == 1
    finally:
        runtime.set_inline(False)
