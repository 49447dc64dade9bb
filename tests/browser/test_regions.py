"""A region of a segmentation network's maps, painted with a brush."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.browser.lab import LabPage
from tests.browser.test_methods import check_looks
from tests.browser.widgets import WidgetPage

SETUP = """
import torch, xaiwidgets as xai

class Places(torch.nn.Module):
    '''Scores of five kinds of places, at half the size of the photo.'''
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 12, 5, 2, 2), torch.nn.ReLU(),
            torch.nn.Conv2d(12, 12, 5, padding=2), torch.nn.ReLU())
        self.head = torch.nn.Conv2d(12, 5, 1)
    def forward(self, x):
        return {"out": 6 * self.head(self.body(x))}

model = xai.Model(Places(), categories=["fur", "eye", "nose", "grass", "sky"], device="cpu")
photo = xai.photo("cat")
"""
FRAME = 224
# Pixels of the outline's color, and of the canvas in all.
OUTLINE = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let i = 0; i < data.length; i += 4) {
    found += data[i] > 235 && Math.abs(data[i + 1] - 205) < 25 && data[i + 2] < 110 ? 1 : 0;
  }
  return found / (data.length / 4);
}"""
COLOR = """(canvas, [x, y]) => [...canvas.getContext("2d")
  .getImageData(x * canvas.width, y * canvas.height, 1, 1).data]"""


def stage(root: Locator) -> Locator:
    return root.locator("canvas.xai-canvas").last


def drag(canvas: Locator, *points: tuple[float, float]) -> None:
    """Move the pressed mouse over points, in shares of the canvas."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    mouse = canvas.page.mouse
    for place, (x, y) in enumerate(points):
        mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if place == 0:
            mouse.down()
    mouse.up()


def share(page: WidgetPage) -> float:
    """Of the photo that the region of the kernel covers."""
    bits = "__import__('numpy').frombuffer(w.target.plain['bits'], 'uint8')"
    return float(page.get(f"int(__import__('numpy').unpackbits({bits}).sum())")) / FRAME**2


def test_region_by_brush(lab: LabPage) -> None:
    lab.page.set_viewport_size({"width": 1400, "height": 2400})
    page = WidgetPage(lab, "xai.Saliency(model, photo)", "w", setup=SETUP)
    other = lab.output(2).locator(".xai-root")
    root, canvas = page.root, stage(page.root)
    button = root.get_by_role("button", name="Region", exact=True)
    bar = root.get_by_role("group", name="Brush", exact=True)
    expect(bar).to_be_hidden()
    lab.page.mouse.move(2, 2)
    first, far = page.picture(-1), canvas.evaluate(COLOR, [0.9, 0.9])
    assert canvas.evaluate(OUTLINE) == 0

    # A stroke is sent once, when it ends; the class is that with the highest mean score there.
    button.click()
    expect(bar).to_contain_text("Nothing painted yet")
    with lab.traffic() as traffic:
        drag(canvas, (0.25, 0.3), (0.4, 0.3), (0.4, 0.45), (0.25, 0.45))
        page.wait()
    (asked,) = [update["target"] for update in traffic.updates if "target" in update]
    assert asked["category"] is None
    assert asked["region"]["shape"] == [FRAME, FRAME]
    expect(bar).to_contain_text(f"{100 * share(page):.1f}% of the photo")
    assert 0.05 < share(page) < 0.15
    assert page.get(
        "w.target.category == xai.explain(model, photo, 'saliency', w.target.of(None))"
        ".target.category"
    )
    assert page.get(
        "bool((w.result.heatmap == xai.explain(model, photo, 'saliency', w.target).heatmap).all())"
    )
    name = page.get("model.category(w.target.category)")
    expect(root.locator(".xai-asked")).to_have_text(f"{name} in a region ✕")
    pressed = root.locator(".xai-chips [aria-pressed=true] .xai-chip-name")
    expect(pressed).to_have_text(["top class", name])
    # Painted on in this view, shown in the other one too.
    assert stage(other).evaluate(OUTLINE) > 0.001

    # Shift takes away, the next stroke adds.
    before = share(page)
    lab.page.keyboard.down("Shift")
    drag(canvas, (0.25, 0.3), (0.3, 0.3))
    lab.page.keyboard.up("Shift")
    page.wait()
    assert share(page) < before

    # The brush is left by keyboard: what stays is the outline, over a map of the region alone.
    canvas.press("Escape")
    expect(bar).to_be_hidden()
    expect(button).to_be_focused()
    lab.page.mouse.move(2, 2)
    page.expect_change(first, -1)
    assert canvas.evaluate(OUTLINE) > 0.001
    assert canvas.evaluate(COLOR, [0.9, 0.9]) != far
    assert page.get("float(abs(w.result.heatmap[180:, 180:]).max())") == 0
    assert page.picture(-1) == page.picture(-1, other)

    # Another class of it, from the other view; and by keyboard a region far from the first.
    before_class, where = page.picture(-1), page.get("w.target.plain['bits'].hex()")
    chip = other.locator(".xai-chips [aria-pressed=false]").filter(has_not_text="top class").last
    chip.click()
    page.wait()
    chosen = page.get("w.target.category")
    assert page.get("model.category(w.target.category)") != name
    expect(root.locator(".xai-chips [aria-pressed=true]")).to_have_count(1)
    assert page.get("w.target.plain['bits'].hex()") == where
    page.expect_change(before_class, -1)
    button.press("Enter")
    # The first picture that shows the photo takes the strokes.
    canvas = root.locator("canvas.xai-canvas").first
    expect(canvas).to_be_focused()
    before = share(page)
    canvas.press("Shift+ArrowRight")
    lab.page.keyboard.down("Space")
    for _ in range(4):
        lab.page.keyboard.press("Shift+ArrowDown")
    lab.page.keyboard.up("Space")
    page.wait()
    assert share(page) > before
    assert page.get("w.target.category") == chosen
    after = share(page)
    canvas.press("Delete")
    page.wait()
    assert share(page) < after
    check_looks(page, "region")
    root.evaluate("(root) => { root.style.width = ''; }")

    # All of it is state: it is there again after a reload.
    canvas.press("Escape")
    lab.theme("light")
    expect(lab.page.locator("#jupyterlab-splash")).to_have_count(0)
    lab.page.mouse.move(2, 2)
    picture = page.picture(-1)
    lab.reload()
    page.root.wait_for()
    lab.page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() === before",
        arg=[stage(page.root).element_handle(), picture],
    )
    assert page.picture(-1, other) == picture

    # Python's regions are shown, and painted further; what is cleared is the class again.
    lab.execute("w.target = xai.Region((20, 30, 60, 120), 'nose')")
    expect(root.locator(".xai-asked")).to_have_text("nose in a region ✕")
    page.wait()
    assert canvas.evaluate(OUTLINE) > 0.001
    button.click()
    drag(canvas, (0.7, 0.7), (0.71, 0.7))
    page.wait()
    assert share(page) > 40 * 90 / FRAME**2
    assert page.get("model.category(w.target.category)") == "nose"
    bar.get_by_role("button", name="Clear").click()
    page.wait()
    assert page.get("w.target") == 2
    canvas.press("Escape")
    lab.page.mouse.move(2, 2)
    page.settle()
    assert canvas.evaluate(OUTLINE) == 0
    expect(root.locator(".xai-asked")).to_be_hidden()
