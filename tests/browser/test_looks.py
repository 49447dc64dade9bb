"""What a widget looks like: in both themes, narrow, and to those who cannot see it."""

from __future__ import annotations

import io
from typing import Literal

import pytest
from PIL import Image

from tests.browser.axe import violations
from tests.browser.lab import LabPage
from tests.browser.pictures import set_width
from tests.browser.widgets import WidgetPage

CALLS = {
    "integrated_gradients": "xai.IntegratedGradients(model, photo, steps=16)",
    "smoothgrad": "xai.SmoothGrad(model, photo, samples=12)",
    "occlusion": "xai.Occlusion(model, photo, patch_size=64, stride=32)",
    "deep_dream": "xai.DeepDream(model, photo, iterations=12, size=256)",
}
KINDS = list(CALLS)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

# Contrast of the text with what lies behind it, as WCAG defines it; axe-core skips text it
# cannot place, and this does not.
CONTRAST = """(root) => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (color, ground) => {
    pen.fillStyle = `rgb(${ground.join(",")})`;
    pen.fillRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92
      : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(getComputedStyle(e));
    return chain.reduce((below, style) => over(style.backgroundColor, below), [255, 255, 255]);
  };
  const found = [];
  for (const element of root.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, :disabled")) continue;
    const behind = ground(element);
    const [a, b] = [light(over(getComputedStyle(element).color, behind)), light(behind)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${element.className} ${element.textContent}`);
  }
  return found;
}"""

# Whatever reaches past the widget's right edge, unless it is cut off or scrolled on purpose.
OVERFLOW = """(root) => {
  const edge = root.getBoundingClientRect().right + 0.5;
  const found = root.scrollWidth > root.clientWidth ? ["the widget scrolls sideways"] : [];
  for (const element of root.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.closest(".xai-hidden, svg")) continue;
    const { right, width } = element.getBoundingClientRect();
    if (width > 0 && right > edge) found.push(`${element.tagName} ${element.className}: ${right}`);
  }
  return found;
}"""


def shown(lab: LabPage, kind: str) -> WidgetPage:
    """The widget as a whole, in the light theme: JupyterLab remembers the last one."""
    lab.page.set_viewport_size({"width": 1400, "height": 1600})
    page = WidgetPage(lab, CALLS[kind])
    lab.theme("light")
    page.settle()
    return page


@pytest.mark.parametrize("kind", KINDS)
def test_looks(lab: LabPage, kind: str) -> None:
    page = shown(lab, kind)
    root = page.root
    pictures = page.pictures()
    assert len(pictures) >= (1 if kind == "deep_dream" else 2)
    assert len(set(pictures)) == len(pictures), "two panels show the same"
    for canvas in range(len(pictures)):
        picture = Image.open(io.BytesIO(root.locator("canvas.xai-canvas").nth(canvas).screenshot()))
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50, "a blank picture"
    grounds = []
    for theme in THEMES:
        lab.theme(theme)
        page.settle()
        file = lab.screenshot(f"{kind}-{theme}", root)
        assert Image.open(file).width > 600
        grounds.append(root.evaluate("(root) => getComputedStyle(root).backgroundColor"))
        assert root.evaluate(CONTRAST) == []
        found = violations(root)
        assert not found, f"{theme}:\n" + "\n".join(found)
    assert len(set(grounds)) == len(THEMES)


@pytest.mark.parametrize("kind", KINDS)
def test_narrow(lab: LabPage, kind: str) -> None:
    page = shown(lab, kind)
    set_width(page, 480)
    lab.screenshot(f"{kind}-narrow", page.root)
    assert page.root.evaluate(OVERFLOW) == []
