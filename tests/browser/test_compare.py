"""Compare: a grid of maps under one view."""

from __future__ import annotations

import io

from PIL import Image
from playwright.sync_api import Locator, expect

from tests.browser.axe import violations
from tests.browser.lab import LabPage
from tests.browser.pictures import set_width
from tests.browser.test_looks import CONTRAST, OVERFLOW, THEMES
from tests.browser.widgets import WidgetPage

# CAM does not exist for a layer that far from the head.
CALL = """xai.Compare(
    model, photo, ["saliency", "grad_cam", ("cam", {"layer": "_blocks.5"})], [None, "lynx"]
)"""


def drawn(page: WidgetPage) -> Locator:
    return page.root.locator(".xai-cell[data-state=done] canvas.xai-canvas")


def pictures(page: WidgetPage) -> list[str]:
    page.settle()
    found: list[str] = drawn(page).evaluate_all("(all) => all.map((one) => one.toDataURL())")
    return found


def test_compare(lab: LabPage) -> None:
    lab.page.set_viewport_size({"width": 1400, "height": 1800})
    page = WidgetPage(lab, CALL)
    root = page.root
    lab.theme("light")
    expect(drawn(page)).to_have_count(4)
    for canvas in range(4):
        picture = Image.open(io.BytesIO(drawn(page).nth(canvas).screenshot()))
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50, "a blank picture"
    first = pictures(page)
    assert len(set(first)) == 4, "two cells show the same"

    # What a method refused stands in its own cell.
    refused = root.locator(".xai-cell[data-state=error] .xai-note")
    expect(refused).to_have_count(2)
    expect(refused.first).to_contain_text("CAM needs a layer that is followed by global average")
    assert page.get("[len(w.results), len(w.results.errors), w.error]") == [4, 2, ""]

    expect(root.get_by_role("button", name="Go on")).to_be_hidden()

    # One view for all, without a word to the kernel.
    with lab.traffic() as traffic:
        drawn(page).first.focus()
        drawn(page).first.press("+")
        zoomed = pictures(page)
        for one, other in zip(first, zoomed, strict=True):
            assert one != other
        drawn(page).nth(2).hover(position={"x": 60, "y": 40})
        for readout in root.locator(".xai-cell[data-state=done] output").all():
            expect(readout).to_contain_text("x ")
        drawn(page).first.press("0")
        drawn(page).first.press("Escape")
        root.get_by_role("button", name="Positive only").click()
        assert all(one != other for one, other in zip(first, pictures(page), strict=True))
        root.get_by_role("button", name="Signed").click()
    assert traffic.comm == []

    # One scale for all colors.
    ends = root.locator(".xai-cell[data-state=done] .xai-legend canvas + span")
    assert len(set(ends.all_text_contents())) == 4
    root.get_by_label("Color scale").select_option("all")
    page.lab.page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before",
        arg=[drawn(page).first.element_handle(), first[0]],
    )
    page.settle()
    assert len(set(ends.all_text_contents())) == 1
    assert page.get("w.scale") == "all"

    # Numbers between maps.
    table = root.get_by_role("table", name="Similarity")
    expect(table.locator("td", has_text="1.00")).to_have_count(4)
    before = table.inner_text()
    root.get_by_label("Similarity", exact=True).select_option("ssim")
    expect(table).not_to_have_text(before)

    root.get_by_label("Columns").select_option("target")
    expect(root.locator(".xai-head").nth(1)).to_have_text("top class")
    expect(root.locator(".xai-row")).to_have_text(["Saliency", "Grad-CAM", "CAM, layer _blocks.5"])
    root.get_by_label("Columns").select_option("method")

    for theme in THEMES:
        lab.theme(theme)
        page.settle()
        lab.screenshot(f"compare-{theme}", root)
        assert root.evaluate(CONTRAST) == []
        found = violations(root)
        assert not found, f"{theme}:\n" + "\n".join(found)
    set_width(page, 600)
    lab.screenshot("compare-narrow", root)
    assert root.evaluate(OVERFLOW) == []

    # Everything is state.
    root.get_by_label("Color scale").select_option("own")
    page.lab.evaluate("w.wait(60) or 0")
    lab.reload()
    expect(drawn(page)).to_have_count(4)
    expect(refused.first).to_contain_text("CAM needs")
    page.lab.page.wait_for_function(
        """() => [...document.querySelectorAll(".xai-cell[data-state=done] canvas")]
          .every((one) => one.width > 50)"""
    )
    assert len(set(pictures(page))) == 4
    expect(table.locator("td", has_text="1.00")).to_have_count(4)
