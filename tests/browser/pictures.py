"""The README's pictures: ``python -m tests.browser.pictures docs`` writes them into a folder."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from tests.browser.find_browser import find_browser
from tests.browser.lab import LabPage
from tests.browser.server import Server
from tests.browser.widgets import WidgetPage

CALLS = {
    "integrated_gradients": "xai.IntegratedGradients(model, photo, steps=64)",
    "smoothgrad": "xai.SmoothGrad(model, photo, samples=48)",
    "occlusion": "xai.Occlusion(model, photo, patch_size=48, stride=16)",
    "deep_dream": "xai.DeepDream(model, photo, iterations=40, size=384)",
    "lime": "xai.LIME(model, photo, samples=500, features=8)",
    "compare": (
        "xai.Compare(model, photo, ['grad_cam', 'lrp', 'integrated_gradients'], [None, 'lynx'])"
    ),
}
WIDTH = 1000
BYTES = 250_000


def set_width(page: WidgetPage, width: int) -> None:
    """Give the widget this width in CSS pixels, and let it be painted so."""
    page.root.evaluate("(root, width) => { root.style.width = `${width}px`; }", width)
    page.settle()


def save_small(picture: Image.Image, file: Path) -> None:
    """Save a picture as a PNG of 256 colors, as wide as fits into `BYTES`."""
    picture = picture.convert("RGB")
    for share in (1, 0.9, 0.8, 0.7):
        size = (round(picture.width * share), round(picture.height * share))
        small = picture if share == 1 else picture.resize(size, Image.Resampling.LANCZOS)
        # Keeps the few strong colors of controls and maps, then fits the many of the photo.
        few = small.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1)
        few.save(file, optimize=True)
        if file.stat().st_size <= BYTES:
            return


def take(lab: LabPage, kind: str, folder: Path) -> Path:
    """Take the picture of one widget and give the file it went to."""
    page = WidgetPage(lab, CALLS[kind])
    set_width(page, WIDTH)
    # The path's steps may come after the result.
    expect(page.root).not_to_contain_text("steps so far")
    if kind == "occlusion":
        page.root.locator("canvas.xai-canvas").first.hover(position={"x": 230, "y": 160})
        page.settle()
    file = folder / f"{kind}.png"
    save_small(Image.open(lab.screenshot(kind, page.root)), file)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="*", help="which widgets; all when none is named")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        server = Server(Path(work))
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            for kind in arguments.kinds or CALLS:
                page = browser.new_page(viewport={"width": 1500, "height": 1600})
                lab = LabPage(page, server, Path(work) / "screenshots")
                print(take(lab, kind, arguments.folder), flush=True)
                page.close()
                server.end_sessions()
        finally:
            browser.close()
            server.close()


if __name__ == "__main__":
    main()
