"""How a map is shown is the page's affair: the picture changes, and the kernel hears nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import LabPage
from tests.browser.widgets import CALLS, HEAD, WidgetPage


def _press(name: str) -> Callable[[WidgetPage], None]:
    def act(page: WidgetPage) -> None:
        page.root.get_by_role("button", name=name, exact=True).click()

    return act


def _slide(label: str, value: float) -> Callable[[WidgetPage], None]:
    def act(page: WidgetPage) -> None:
        page.slider(label).evaluate(
            """(slider, value) => {
              slider.value = String(value);
              slider.dispatchEvent(new Event("input", { bubbles: true }));
              slider.dispatchEvent(new Event("change", { bubbles: true }));
            }""",
            value,
        )

    return act


def _check(label: str) -> Callable[[WidgetPage], None]:
    def act(page: WidgetPage) -> None:
        box = page.root.get_by_label(label, exact=True)
        box.set_checked(not box.is_checked())

    return act


def _choose(label: str, value: str) -> Callable[[WidgetPage], None]:
    def act(page: WidgetPage) -> None:
        page.root.get_by_role("combobox", name=label, exact=True).select_option(value)

    return act


def _key(key: str) -> Callable[[WidgetPage], None]:
    def act(page: WidgetPage) -> None:
        page.root.locator("canvas.xai-canvas").first.press(key)

    return act


CONTROLS: dict[str, Callable[[WidgetPage], None]] = {
    "absolute": _press("Absolute value"),
    "positive": _press("Positive only: for the class"),
    "negative": _press("Negative only: against the class"),
    "signed": _press("Signed: for and against"),
    "colors": _choose("Colors", "PuOr_r"),
    "opacity": _slide("Opacity", 0.3),
    "clip": _slide("Clip", 92),
    "threshold": _check("Threshold"),
    "smooth": _check("Smooth"),
    "zoom": _press("Zoom in"),
    "cursor by key": _key("ArrowRight"),
    "zoom by key": _key("+"),
}


def test_view_controls_send_nothing(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["occlusion"])
    for name, act in CONTROLS.items():
        before = page.picture()
        with lab.traffic() as traffic:
            act(page)
            page.expect_change(before, told=name)
        assert traffic.comm == [], name
    whole = page.picture()
    page.root.get_by_role("button", name="Whole picture").click()
    page.expect_change(whole)


def test_threshold_boxes_the_largest_part(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["occlusion"])
    _check("Threshold")(page)
    _slide("Threshold level", 0.5)(page)
    canvas = page.root.locator("canvas.xai-canvas").first
    expect(canvas).to_have_attribute("aria-label", re.compile("Largest part from"))


def test_value_under_the_cursor(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["occlusion"])
    canvas = page.root.locator("canvas.xai-canvas").first
    bounds = canvas.bounding_box()
    assert bounds is not None
    with lab.traffic() as traffic:
        canvas.hover(position={"x": bounds["width"] * 0.3, "y": bounds["height"] * 0.6})
        readout = page.root.locator(".xai-readout").first
        expect(readout).to_have_text(re.compile(r"[−\d.]+% at x \d+, y \d+"))
    assert traffic.comm == []
    found = re.match(r"([−\d.]+)% at x (\d+), y (\d+)", readout.inner_text())
    assert found
    value, x, y = found.groups()
    assert page.get(f"float(w.result.heatmap[{y}, {x}])") == pytest.approx(
        float(value.replace("−", "-")) / 100, abs=0.0006
    )


def test_cursor_over_occlusion_changes_the_bars(lab: LabPage) -> None:
    page = WidgetPage(lab, "xai.Occlusion(model, photo, patch_size=56, stride=56)")
    canvas = page.root.locator("canvas.xai-canvas").first
    bounds = canvas.bounding_box()
    assert bounds is not None
    bars = page.root.locator(".xai-bars")
    texts = []
    with lab.traffic() as traffic:
        for row, col in ((0, 0), (2, 1), (3, 3)):
            before = page.picture()
            x, y = ((place + 0.5) / 4 for place in (col, row))
            canvas.hover(position={"x": bounds["width"] * x, "y": bounds["height"] * y})
            page.expect_change(before)
            expect(page.root.get_by_text(f"column {56 * col}, row {56 * row}")).to_be_visible()
            texts.append(bars.inner_text())
    assert traffic.comm == []
    assert len(set(texts)) == 3
    name = page.get("model.category(w.target)")
    shown = re.search(rf"{re.escape(name)}\s+([\d.]+)% → ([\d.]+)%", texts[2])
    assert shown
    # What the bar says is what the network says of the covered photo.
    code = """
import torch
from xaiwidgets.methods.baselines import blank
from xaiwidgets.explanation import make_task
task = make_task(model, photo)
x = task.x.clone()
fill = model.pixels_to_input(blank(task, 'mean'))[None]
x[..., 168:224, 168:224] = fill[..., 168:224, 168:224]
with torch.inference_mode():
    told = float(model.logits(x).softmax(1)[0, w.target])
"""
    lab.execute(code)
    assert float(shown[2]) == pytest.approx(100 * page.get("told"), abs=0.06)


# What the network says of the photo with a patch of 56 pixels there, as percentages.
FREE = """
import torch
from xaiwidgets.methods.baselines import blank
from xaiwidgets.explanation import make_task
task = make_task(model, photo)
fill = model.pixels_to_input(blank(task, 'mean'))[None]
def told(top, left):
    x, window = task.x.clone(), (..., slice(max(top, 0), top + 56), slice(max(left, 0), left + 56))
    x[window] = fill[window]
    with torch.inference_mode():
        shares = model.logits(x).softmax(1)[0]
    return [100 * float(shares[index]) for index in w._extra_info['classes']]
"""


# Not while the bars are still those of the nearest window.
ANSWERED = "; the lines mark the whole photo"


def _shown(bars: Locator) -> list[float]:
    return [float(chance) for chance in re.findall(r"→ ([\d.]+)%", bars.inner_text())]


def test_free_patch_is_asked_of_the_network(lab: LabPage) -> None:
    page = WidgetPage(lab, "xai.Occlusion(model, photo, patch_size=56, stride=56)")
    lab.execute(FREE)
    canvas = page.root.locator("canvas.xai-canvas").first
    bounds = canvas.bounding_box()
    assert bounds is not None
    bars = page.root.locator(".xai-bars")
    heading = bars.locator(".xai-told")
    before = page.get("(w.status, w._result_info, w._generation)")
    # Away from the middle of any window; the photo is 224 pixels wide.
    x, y = bounds["width"] * 60.5 / 224, bounds["height"] * 120.5 / 224
    with lab.traffic() as traffic:
        canvas.hover(position={"x": x, "y": y})
        expect(heading).to_have_text(f"Patch at column 56, row 112{ANSWERED}")
    assert traffic.comm == []
    snapped, picture = _shown(bars), page.picture()
    box = page.root.get_by_label("Free patch")
    expect(box).not_to_be_checked()
    with lab.traffic() as traffic:
        box.check()
        canvas.hover(position={"x": x, "y": y})
        expect(heading).to_have_text(f"Patch at column 32, row 92{ANSWERED}")
        expect(bars).to_have_attribute("aria-busy", "false")
    asked = [each for each in traffic.customs if each.get("name") == "cover"]
    assert asked[-1] == {"kind": "action", "name": "cover", "top": 92, "left": 32}
    page.expect_change(picture)
    free = _shown(bars)
    assert len(free) == 5
    assert max(abs(a - b) for a, b in zip(free, snapped, strict=True)) > 0.5
    assert free == pytest.approx(page.get("told(92, 32)"), abs=0.06)
    # By keyboard, pixel by pixel; and cut off in the corner.
    canvas.press("ArrowRight")
    canvas.press("Shift+ArrowUp")
    expect(heading).to_have_text(f"Patch at column 33, row 82{ANSWERED}")
    assert _shown(bars) == pytest.approx(page.get("told(82, 33)"), abs=0.06)
    canvas.hover(position={"x": 2, "y": 2})
    expect(heading).to_have_text(f"Patch at column 0, row 0{ANSWERED}")
    column, row = (int(2 / bounds[side] * 224) - 28 for side in ("width", "height"))
    assert _shown(bars) == pytest.approx(page.get(f"told({row}, {column})"), abs=0.06)
    # A hand that moves on: never more than one question without an answer.
    with lab.traffic() as traffic:
        for step in range(40):
            canvas.hover(position={"x": x + 4 * step, "y": y + step})
        expect(heading).to_have_text(re.compile(rf"^Patch at column \d+, row \d+{ANSWERED}$"))
    asked = [each for each in traffic.customs if each.get("name") == "cover"]
    answers = [m for m in traffic.received_comm if m.custom.get("kind") == "covered"]
    assert 0 < len(asked) == len(answers) <= 40
    assert page.get("(w.status, w._result_info, w._generation)") == before
    box.uncheck()
    with lab.traffic() as traffic:
        canvas.hover(position={"x": x, "y": y})
        expect(heading).to_have_text(f"Patch at column 56, row 112{ANSWERED}")
    assert traffic.comm == []
    assert _shown(bars) == snapped


def test_class_name_is_text(lab: LabPage) -> None:
    bad = "<img src=x onerror=window.hacked=1>"
    setup = (
        f"{HEAD}\nfrom xaiwidgets.model import Model\n"
        f"names = list(model.categories); names[282] = {bad!r}\nmodel.categories = tuple(names)"
    )
    page = WidgetPage(lab, CALLS["smoothgrad"], setup=setup)
    expect(page.root.get_by_text(bad).first).to_be_visible()
    search = page.root.get_by_role("combobox", name="Search a class")
    search.fill("<img")
    expect(page.root.locator(".xai-options li")).to_contain_text(bad)
    assert lab.page.evaluate("window.hacked") is None
    assert page.root.locator("img").count() == 0


def test_class_by_chip_and_by_search(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["occlusion"])
    before = page.picture()
    page.root.get_by_role("button", name=re.compile("^tabby")).click()
    page.wait()
    page.expect_change(before)
    assert page.get("w.target") == 281
    search = page.root.get_by_role("combobox", name="Search a class")
    search.fill("golden retr")
    search.press("Enter")
    page.wait()
    assert page.get("w.target") == 207
    assert page.get("w.result.category") == "golden retriever"
    chip = page.root.get_by_role("button", name=re.compile("^golden retriever"))
    expect(chip).to_have_attribute("aria-pressed", "true")


def test_why_this_class_and_not_that_one(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["integrated_gradients"])
    best = page.get("w.result.category")
    before = page.picture(2)
    search = page.root.get_by_role("combobox", name="Search the class to set against it")
    search.fill("golden retr")
    search.press("Enter")
    page.wait()
    page.expect_change(before, 2)
    told = f"{best}, not golden retriever"
    assert page.get("w.result.category") == told
    assert page.get("w.target.why_not") == 207
    whole = page.root.get_by_role("button", name=told)
    expect(whole).to_be_visible()
    # The same numbers as in Python.
    code = "other = xai.explain(model, photo, 'integrated_gradients', w.target, steps=12)"
    lab.execute(code)
    gap = (
        "float(abs(w.result.attribution - other.attribution).max() / abs(other.attribution).max())"
    )
    assert page.get(gap) < 0.05
    whole.click()
    page.wait()
    assert page.get("w.result.category") == best
    expect(whole).to_be_hidden()
