"""Segments that are switched by hand; masks that are seen while they form."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import xaiwidgets as xai
from tests.unit.widgets.conftest import PATIENCE, Page, Toy
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.segments import segment
from xaiwidgets.runtime import worker as runtime

LIME = {"samples": 17, "segments": 6, "segmentation": "grid"}
SHAP = {"samples": 40, "segments": 6, "segmentation": "grid"}
every_kind = pytest.mark.parametrize(("name", "params"), [("LIME", LIME), ("KernelSHAP", SHAP)])


def started(kind: str, params: dict[str, Any], model: Any, photo: Any, page: Page) -> Any:
    widget = getattr(xai, kind)(model, photo, "lynx", **params)
    widget.wait(PATIENCE)
    page.join(widget)
    return widget


def pixels_of(jpeg: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(jpeg)), dtype=float) / 255


def chance(model: Any, photo: Any, kept: list[int]) -> float:
    """The probability of class 2 with only these segments, by plain indexing."""
    task = make_task(model, photo, 2)
    pixels = task.prepared.pixels.clone()
    labels = segment(pixels, "grid", 6)
    mean = pixels.mean((1, 2), keepdim=True)
    for number in range(int(labels.max()) + 1):
        if number not in kept:
            pixels = torch.where(labels == number, mean, pixels)
    logits = model.logits(model.pixels_to_input(pixels[None]))
    return float(logits.softmax(1)[0, 2])


@every_kind
def test_shown_at_first(
    name: str, params: Any, model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(started(name, params, model, photo, page))
    info = widget._extra_info
    labels = np.frombuffer(info["labels"], "<i4").reshape(24, 20)
    assert (labels == segment(widget._task.prepared.pixels, "grid", 6).numpy()).all()
    assert info["count"] == labels.max() + 1
    weights = [widget.result.heatmap[labels == k][0] for k in range(info["count"])]
    if name == "LIME":
        assert info["kept"] == list(np.argsort(-np.abs(weights), kind="stable"))
    else:
        assert info["kept"] == [k for k, weight in enumerate(weights) if weight > 0]
    assert info["probability"] == pytest.approx(chance(model, photo, info["kept"]), abs=1e-6)
    assert pixels_of(widget._extra).shape == (24, 20, 3)


@every_kind
def test_switched_by_hand(
    name: str, params: Any, net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(started(name, params, model, photo, page))
    before, rows = widget._result, net.control.rows
    for kept in ([0, 3], [], [5, 4, 3, 2, 1, 0]):
        page.messages.clear()
        page.buffers.clear()
        page.send(widget, {"kind": "action", "name": "toggle", "kept": kept})
        assert runtime.worker().wait(widget._aside, PATIENCE)
        (answer,) = page.custom("picture")
        assert answer["kept"] == kept
        assert answer["probability"] == pytest.approx(chance(model, photo, kept), abs=1e-6)
        ((picture,),) = page.custom_buffers("picture")
        assert pixels_of(picture).shape == (24, 20, 3)
    assert widget._target_info["probability"] == pytest.approx(answer["probability"], abs=1e-6)
    # One pass each, and two of `chance`; the explanation stays.
    assert net.control.rows == rows + 9
    assert (widget._result, widget.status, widget.error) == (before, "idle", "")


def test_latest_switch_wins(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(started("LIME", LIME, model, photo, page))
    page.messages.clear()
    with net.control.hold() as held:
        page.send(widget, {"kind": "action", "name": "toggle", "kept": [0]})
        held.until_entered()
        for last in range(6):
            page.send(widget, {"kind": "action", "name": "toggle", "kept": [last, 0]})
    assert runtime.worker().wait(widget._aside, PATIENCE)
    answers = [each["kept"] for each in page.custom("picture")]
    assert answers[-1] == [5, 0]
    assert len(answers) <= 2


def test_switched_beside_a_run(net: Toy, model: Any, photo: Any, page: Page, made: Any) -> None:
    """The run goes on; segments that are not shown any more are not answered for."""
    widget = made(started("LIME", LIME, model, photo, page))
    expected = chance(model, photo, [0, 3])
    with net.control.hold() as held:
        page.set(widget, samples=60)
        held.until_entered()
        generation = widget._generation
        page.send(widget, {"kind": "action", "name": "toggle", "kept": [0, 3]})
        assert widget.status == "running"
    assert runtime.worker().wait(widget._aside, PATIENCE)
    (answer,) = page.custom("picture")
    assert answer["probability"] == pytest.approx(expected, abs=1e-6)
    widget.wait(PATIENCE)
    assert widget._result_info["generation"] == widget._generation == generation


def test_a_switch_that_fails_is_told_of(
    net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(started("LIME", LIME, model, photo, page))
    result = widget.result
    net.control.error = RuntimeError("the cable is out")
    page.send(widget, {"kind": "action", "name": "toggle", "kept": [0]})
    assert runtime.worker().wait(widget._aside, PATIENCE)
    net.control.error = None
    assert "the cable is out" in widget.error
    assert (widget.status, widget.result) == ("idle", result)
    (answer,) = page.custom("picture")
    assert "probability" not in answer


@pytest.mark.parametrize("kept", [None, 3, "0", [6], [-1], [True], [0.0], ["0"], [[0]]])
def test_forged_switch(kept: Any, model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(started("LIME", LIME, model, photo, page))
    page.send(widget, {"kind": "action", "name": "toggle", "kept": kept})
    assert "segments that are not there" in widget.error
    assert runtime.worker().wait(widget._aside, PATIENCE)
    assert page.custom("picture") == []


@every_kind
def test_another_class_or_fit_asks_nothing(
    name: str, params: Any, net: Toy, model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(started(name, params, model, photo, page))
    rows = net.control.rows
    changes: list[dict[str, Any]] = [{"target": "tiger"}, {"score": "logit"}]
    if name == "LIME":
        changes += [{"features": 2}, {"select": "lasso"}, {"alpha": 7.0}, {"width": 0.2}]
    given = dict(params)
    for change in changes:
        given |= {key: value for key, value in change.items() if key != "target"}
        page.set(widget, **change)
        widget.wait(PATIENCE)
        assert widget._result_info["cached"]
    # A pass for the picture of each change that changes something; no sample is asked again.
    assert net.control.rows - rows <= len(changes)
    expected = xai.explain(model, photo, widget._spec.name, "tiger", **given)
    np.testing.assert_allclose(widget.result.attribution, expected.attribution, atol=1e-7)
    if name == "LIME":
        assert len(widget._extra_info["kept"]) <= 2
    rows = net.control.rows
    page.set(widget, samples=21)
    widget.wait(PATIENCE)
    assert net.control.rows - rows >= 21


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("MeaningfulPerturbation", ["objective", "score through the mask"]),
        ("ExtremalPerturbation", ["distance from the area", "score through the mask"]),
        ("PhangMask", ["objective", "probability through the mask"]),
        ("PerceptualBall", ["objective", "lead of the class"]),
    ],
)
def test_mask_while_it_forms(
    kind: str, labels: list[str], model: Any, photo: Any, page: Page, made: Any
) -> None:
    widget = made(started(kind, {"iterations": 4}, model, photo, page))
    page.set(widget, iterations=6)
    widget.wait(PATIENCE)
    frames, buffers = page.custom("map"), page.custom_buffers("map")
    # The last one comes as state.
    assert len(frames) >= 5
    for frame, (_, picture, curves) in zip(frames, buffers, strict=True):
        assert frame["buffers_names"] == ["map", "picture", "curves"]
        assert pixels_of(picture).shape == (24, 20, 3)
        told = json.loads(bytes(curves))
        assert list(told) == labels
        assert len(told[labels[0]]) >= 1
    assert {name: len(points) for name, points in widget._extra_info["curves"].items()} == (
        dict.fromkeys(labels, 6)
    )
    # What is shown is the photo where the map is high, gray where it is low.
    value = widget.result.heatmap[..., None]
    share = value / value.max() if kind == "PerceptualBall" else value
    photo_seen = np.moveaxis(widget.result.pixels, 0, -1)
    expected = 0.5 + share * (photo_seen - 0.5)
    assert np.abs(pixels_of(widget._extra) - expected).mean() < 0.1
