"""A page that is not trusted: nothing it sends breaks a widget or changes what it may not."""

from typing import Any

import pytest

from tests.unit.widgets.conftest import PATIENCE, Page

NAN, INF = float("nan"), float("inf")


FORGED = [
    *[{"noise": value} for value in (-1, 0.51, NAN, INF, "0.2", None, True, [1], {}, 1e400)],
    *[{"samples": value} for value in (0, -5, 10**9, 10**400, 2.5, NAN, "many")],
    *[{"base": value} for value in ("", "__class__", 3, None)],
    *[{"target": value} for value in (-1, 7, 10**400, NAN, "nobody", [], True)],
    *[{"_cancel": "1"}, {"_visible": "yes"}],
    *[{"_result": b"1234"}, {"_top": []}, {"status": "error"}, {"error": "gotcha"}],
    *[{"_kind": "x"}, {"_esm": "alert(1)"}, {"_params": []}, {"progress": 1}, {"image": "x"}],
    *[{"close": 1}, {"_lock": 1}, {"nonsense": 1}, {"": 1}],
]


@pytest.mark.parametrize("state", FORGED, ids=[str(state)[:30] for state in FORGED])
def test_forged_state_is_refused(widget: Any, page: Page, state: dict[str, Any]) -> None:
    (name,) = state
    before = widget.get_state()
    page.messages.clear()
    page.set(widget, **state)
    after = widget.get_state()
    assert widget.error
    assert {**after, "error": ""} == {**before, "error": ""}
    if name in before and name != "error":
        assert page.updates(name)[-1] == before[name]
    page.set(widget, noise=0.3)
    widget.wait(PATIENCE)
    assert (widget.result.params["noise"], widget.error, widget.status) == (0.3, "", "idle")


@pytest.mark.parametrize(
    "content",
    [
        *(None, 3, "ready", [], {}, {"kind": None}, {"kind": "boo" * 1000}, {"kind": "photo"}),
        *({"kind": "action"}, {"kind": "action", "name": "close"}, {"kind": "action", "name": []}),
        *({"kind": "path", "gen": 1}, {"kind": "map"}),
    ],
)
def test_forged_message_is_refused(widget: Any, page: Page, content: Any) -> None:
    page.send(widget, content)
    assert widget.error
    assert len(widget.error) <= 300
    widget.noise = 0.3
    widget.wait(PATIENCE)
    assert (widget.error, widget.status) == ("", "idle")


def test_unreadable_messages(widget: Any) -> None:
    for message in ({}, {"content": {}}, {"content": {"data": {"method": "update", "state": 3}}}):
        widget._handle_msg({"buffers": [], **message})
    assert widget.error


def test_good_part_of_a_message_counts(widget: Any, page: Page) -> None:
    page.set(widget, noise=0.3, samples=-1)
    assert (widget.noise, widget.samples) == (0.3, 4)
    assert "samples" in widget.error


def test_nothing_is_said_of_what_did_not_change(widget: Any, page: Page) -> None:
    page.set(widget, _top=widget._top, status="idle", noise=widget.noise)
    assert widget.error == ""
