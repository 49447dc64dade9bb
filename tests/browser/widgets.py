"""A widget of the package in JupyterLab, and what a person sees of it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.lab import LabPage

HEAD = "import xaiwidgets as xai\nmodel = xai.load(device='cpu')\nphoto = xai.photo('cat')"
CALLS = {
    "integrated_gradients": "xai.IntegratedGradients(model, photo, steps=12)",
    "smoothgrad": "xai.SmoothGrad(model, photo, samples=8)",
    "occlusion": "xai.Occlusion(model, photo, patch_size=64, stride=64)",
    "deep_dream": "xai.DeepDream(model, photo, iterations=6, size=128, octaves=2)",
}
# Moves a slider as a drag does: one input event a frame, one change event at the end.
DRAG = """async (slider, values) => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (const value of values) {
    slider.value = String(value);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await frame();
  }
  slider.dispatchEvent(new Event("change", { bubbles: true }));
}"""


class WidgetPage:
    """One widget in a notebook of its own, its first result finished."""

    def __init__(self, lab: LabPage, call: str, *more: str, setup: str = HEAD) -> None:
        self.lab = lab
        lab.open(setup, f"w = {call}\nw", *more)
        lab.run_all()
        self.root = lab.output(1).locator(".xai-root")
        self.root.wait_for()
        self.wait()

    def wait(self) -> None:
        """Wait until the kernel has finished and the page shows it."""
        self.lab.evaluate("w.wait(120) or 0")
        expect(self.root.get_by_role("button", name="Cancel")).to_be_hidden()

    def slider(self, label: str, root: Locator | None = None) -> Locator:
        return (root or self.root).get_by_role("slider", name=label, exact=True)

    def drag(self, label: str, values: list[float]) -> None:
        self.slider(label).evaluate(DRAG, values)

    def picture(self, index: int = 0, root: Locator | None = None) -> str:
        """The pixels of a canvas, once it has been painted."""
        canvas = (root or self.root).locator("canvas.xai-canvas").nth(index)
        self.settle()
        return str(canvas.evaluate("(canvas) => canvas.toDataURL()"))

    def pictures(self) -> list[str]:
        count = self.root.locator("canvas.xai-canvas").count()
        return [self.picture(index) for index in range(count)]

    def settle(self) -> None:
        """Let everything that was asked for be painted."""
        self.lab.page.evaluate(
            """() => new Promise((done) =>
              requestAnimationFrame(() => requestAnimationFrame(() => done())))"""
        )

    def expect_change(self, before: str, index: int = 0, told: str = "") -> None:
        """Wait until a canvas shows something else than before `told` was done."""
        self.lab.page.wait_for_function(
            "([canvas, before, told]) => canvas.toDataURL() !== before",
            arg=[self.root.locator("canvas.xai-canvas").nth(index).element_handle(), before, told],
        )

    def get(self, expression: str) -> Any:
        return self.lab.evaluate(expression)
