"""Sliders under a hand that does not wait: the last value wins, and pictures come meanwhile."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.lab import LabPage
from tests.browser.widgets import CALLS, HEAD, WidgetPage

# Widget, label, trait, the slider's way in 100 inputs.
DRAGS = [
    ("smoothgrad", "Noise", "noise", [round(0.005 * (k + 1), 4) for k in range(100)]),
    ("occlusion", "Patch size", "patch_size", [128 - k // 2 for k in range(100)]),
    ("deep_dream", "Iterations", "iterations", [1 + (37 * k) % 29 for k in range(99)] + [9]),
]


@pytest.mark.parametrize(("kind", "label", "trait", "values"), DRAGS, ids=[d[0] for d in DRAGS])
def test_flood(lab: LabPage, kind: str, label: str, trait: str, values: list[float]) -> None:
    page = WidgetPage(lab, CALLS[kind])
    before = page.picture(-1)
    with lab.traffic() as during:
        page.drag(label, values)
    assert 0 < len(during.updates) <= 100
    page.wait()
    last = page.get(f"w.{trait}")
    assert last == pytest.approx(values[-1], abs=0.006)
    expect(page.slider(label)).to_have_value(f"{last:g}")
    kinds = [message.custom.get("kind") for message in during.received_comm]
    # Pictures came while the hand was still moving.
    assert kinds.count("map") + kinds.count("frame") >= 2
    page.expect_change(before, -1)
    if kind == "deep_dream":
        assert page.get("len(w.result.objective)") == last
    else:
        assert page.get(f"w.result.params['{trait}']") == last
    # Nothing is left in a queue: another round trip brings no picture and no change.
    still = page.pictures()
    with lab.traffic() as after:
        page.get("w.status")
    assert [m.custom.get("kind") for m in after.received_comm] == []
    assert page.pictures() == still


def test_same_numbers_as_a_call(lab: LabPage) -> None:
    # The last bits hang on how many images go together, which else the clock chooses.
    setup = f"{HEAD}\nmodel.batcher('gradient').size = 4"
    page = WidgetPage(lab, CALLS["smoothgrad"], setup=setup)
    page.drag("Noise", [0.2, 0.3, 0.4])
    page.wait()
    same = "xai.explain(model, photo, 'smoothgrad', samples=8, noise=w.noise, progress=False)"
    assert page.get(f"bool((w.result.attribution == {same}.attribution).all())")


def test_flood_of_alpha_is_local(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["integrated_gradients"])
    before = page.pictures()
    values = [round(1 - 0.005 * (k + 1), 4) for k in range(100)]
    with lab.traffic() as traffic:
        page.slider("Alpha").evaluate(
            """(slider, values) => { for (const value of values) {
              slider.value = String(value);
              slider.dispatchEvent(new Event("input", { bubbles: true }));
            } }""",
            values,
        )
        page.settle()
        after = page.pictures()
    assert traffic.comm == []
    assert page.get("w.alpha") == 1.0
    for one, other in zip(before, after, strict=True):
        assert one != other
    with lab.traffic() as traffic:
        page.slider("Alpha").dispatch_event("change")
    assert traffic.updates == [{"alpha": 0.5}]
    assert page.get("w.alpha") == 0.5
    # Python moves it too.
    lab.execute("w.alpha = 0.25")
    expect(page.slider("Alpha")).to_have_value("0.25")


def test_arrow_keys_in_command_mode(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["smoothgrad"])
    lab.command_mode()
    slider = page.slider("Noise")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowUp")
    expect(slider).to_have_value("0.17")
    slider.press("PageDown")
    expect(slider).to_have_value("0.12")
    slider.press("End")
    expect(slider).to_have_value("0.5")
    slider.press("Home")
    expect(slider).to_have_value("0")
    expect(slider).to_be_focused()
    # Letters are commands of the notebook: none may reach it from here.
    slider.press("b")
    assert lab.page.locator(".jp-Notebook .jp-CodeCell").count() == 2
    page.wait()
    assert page.get("w.noise") == 0


def test_typed_number(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["smoothgrad"])
    field = page.root.get_by_label("Noise, value")
    field.fill("33")
    field.press("Enter")
    expect(page.slider("Noise")).to_have_value("0.33")
    field.fill("nonsense")
    field.press("Enter")
    expect(field).to_have_value("33")
    page.wait()
    assert page.get("w.noise") == 0.33


def test_visited_level_comes_back_at_once(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["smoothgrad"])
    first = page.picture(1)
    for value in (0.4, 0.15):
        page.drag("Noise", [value])
        page.wait()
    expect(page.root.locator(".xai-status-text")).to_have_text("Kept from before")
    page.lab.page.wait_for_function(
        "([canvas, first]) => canvas.toDataURL() === first",
        arg=[page.root.locator("canvas.xai-canvas").nth(1).element_handle(), first],
    )
