"""One widget of each kind that methods share, as a person uses it."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.axe import violations
from tests.browser.lab import LabPage
from tests.browser.pictures import set_width
from tests.browser.test_looks import CONTRAST, OVERFLOW, THEMES
from tests.browser.widgets import WidgetPage


def opened(lab: LabPage, call: str) -> WidgetPage:
    """The widget as a whole, in the light theme: JupyterLab remembers the last one."""
    lab.page.set_viewport_size({"width": 1400, "height": 1600})
    page = WidgetPage(lab, call)
    lab.theme("light")
    page.settle()
    return page


def check_looks(page: WidgetPage, name: str) -> None:
    """Take pictures in both themes; colors, names and a narrow cell are as they should be."""
    for theme in THEMES:
        page.lab.theme(theme)
        # JupyterLab covers the page while it changes.
        expect(page.lab.page.locator("#jupyterlab-splash")).to_have_count(0)
        page.settle()
        page.lab.screenshot(f"{name}-{theme}", page.root)
        assert page.root.evaluate(CONTRAST) == []
        found = violations(page.root)
        assert not found, f"{theme}:\n" + "\n".join(found)
    set_width(page, 480)
    page.lab.screenshot(f"{name}-narrow", page.root)
    assert page.root.evaluate(OVERFLOW) == []


def test_cam_through_the_depth(lab: LabPage) -> None:
    page = opened(lab, "xai.GradCAM(model, photo)")
    depth = page.slider("Depth")
    expect(depth).to_have_attribute("aria-valuetext", "automatic")
    expect(page.root.locator(".xai-layer-told")).to_contain_text("7 × 7")
    first = page.picture(-1)
    # Arrow keys step through the network; each step is another layer.
    depth.focus()
    now = page.root.locator(".xai-layer-now")
    names: list[str] = []
    for _ in range(3):
        before = now.inner_text()
        depth.press("ArrowLeft")
        expect(now).not_to_have_text(before)
        told = now.inner_text()
        expect(depth).to_have_attribute("aria-valuetext", told)
        page.wait()
        names.append(page.get("w.layer"))
        assert told == names[-1] == page.get("w.result.params['layer']")
    assert len(set(names)) == 3
    # Not of each step: a convolution of 1 x 1 changes nothing for Grad-CAM.
    page.expect_change(first, -1)
    # A hand that runs through all of it ends where it let go.
    high = int(depth.get_attribute("max") or 0)
    assert high > 30
    page.drag("Depth", [float(value) for value in range(high, 0, -5)] + [1.0])
    page.wait()
    assert page.get("w.layer") == page.get("w._layers[0]['name']")
    expect(page.root.locator(".xai-layer-told")).to_contain_text("112 × 112")
    # By name, and back to the method's own choice.
    page.root.locator(".xai-layers summary").click()
    search = page.root.get_by_role("combobox", name="Search layers")
    search.fill("blocks.10")
    search.press("Enter")
    page.wait()
    assert page.get("w.layer") == "_blocks.10"
    depth.press("End")
    page.wait()
    assert page.get("w.layer") is None
    check_looks(page, "grad_cam")


def test_segments_by_hand(lab: LabPage) -> None:
    page = opened(lab, "xai.LIME(model, photo, samples=100, segments=20, segmentation='grid')")
    told = page.root.locator(".xai-side .xai-told").first
    expect(told).to_have_text(
        re.compile(r"With 10 of \d+ segments: tiger cat [\d.]+% \(whole photo 39.5%\)")
    )
    second = page.root.locator("canvas.xai-canvas").nth(1)
    text, before = told.inner_text(), page.picture(1)
    second.click(position={"x": 30, "y": 30})
    expect(told).to_have_text(re.compile(r"With (9|11) of .* tiger cat [\d.]+%"))
    page.expect_change(before, 1)
    assert told.inner_text() != text
    # The same segment again, by keyboard: the cursor stands where it was clicked.
    second.press("Enter")
    expect(told).to_have_text(text)
    # With everything on it is the photo that the network saw.
    page.root.get_by_role("button", name="All on").click()
    expect(told).to_have_text(re.compile("tiger cat 39.5% "))
    # Another number of features asks the network nothing about samples again.
    page.drag("Features", [3.0])
    page.wait()
    expect(told).to_have_text(re.compile("With 3 of"))
    assert page.get("w._result_info['cached']")
    assert len(page.get("w._extra_info['kept']")) == 3
    check_looks(page, "lime")


def test_mask_forms(lab: LabPage) -> None:
    page = opened(lab, "xai.ExtremalPerturbation(model, photo, iterations=12)")
    before = page.pictures()
    with lab.traffic() as traffic:
        page.drag("Area", [0.25])
        page.wait()
    frames = [m.custom for m in traffic.received_comm if m.custom.get("kind") == "map"]
    assert len(frames) >= 3
    assert [f["done"] for f in frames] == sorted({f["done"] for f in frames})
    for index, picture in enumerate(before):
        page.expect_change(picture, index)
    # About a quarter of the photo shines through, the rest is gray.
    gray = (
        page.root.locator("canvas.xai-canvas")
        .nth(1)
        .evaluate(
            """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let gray = 0;
          for (let i = 0; i < data.length; i += 4) {
            gray += [0, 1, 2].every((c) => Math.abs(data[i + c] - 128) < 12) ? 1 : 0;
          }
          return gray / (data.length / 4);
        }"""
        )
    )
    assert 0.4 < gray < 0.9
    chart = page.root.locator(".xai-chart")
    expect(chart).to_contain_text("score through the mask")
    points = chart.locator("polyline").first.get_attribute("points") or ""
    assert len(points.split()) == 12
    expect(page.root.locator(".xai-facts")).to_contain_text("Distance from the area")
    check_looks(page, "extremal")


def test_rectgrad_percentile(lab: LabPage) -> None:
    page = opened(lab, "xai.RectGrad(model, photo)")
    expect(page.root.locator(".xai-facts")).to_contain_text(
        "Operations under the rule33 (33 relu6)"
    )
    seen = {page.picture(-1)}
    for q in (60.0, 90.0, 0.0):
        before = page.picture(-1)
        page.drag("Percentile", [q])
        page.expect_change(before, -1)
        page.wait()
        assert page.get("w.result.params['q']") == q
        seen.add(page.picture(-1))
    assert len(seen) == 4
    check_looks(page, "rectgrad")


def test_refusal_is_told(lab: LabPage) -> None:
    setup = (
        "import torch, xaiwidgets as xai\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(3 * 64, 5)\n"
        "    def forward(self, x):\n"
        "        x = torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1)\n"
        "        return self.head(x)\n"
        "model = xai.Model(Net(), {'size': 32}, device='cpu')\nphoto = xai.photo('cat')"
    )
    lab.open(setup, "w = xai.ViTCX(model, photo)\nw")
    lab.run_all()
    box = lab.output(1).locator(".xai-error-text")
    expect(box).to_contain_text("has no layer with spatial extent")
    lab.errors.clear()
