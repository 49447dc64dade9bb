"""How long a hand on a slider waits for a picture, in a real JupyterLab.

Run with ``python -m benchmarks.browser [--repeats N]``. Times are of the page's own clock, from
the input event to the frame that shows what came of it.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import sync_playwright

from benchmarks.measure import machine
from tests.browser.find_browser import find_browser
from tests.browser.lab import LabPage
from tests.browser.server import Server
from tests.browser.widgets import WidgetPage
from tools.build_front_end import TARGETS

WATCH = Path(__file__).parent / "watch.js"
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
INPUTS = 100


@dataclass(frozen=True)
class Live:
    """A slider that asks the kernel; `span` is its way from one end of a drag to the other."""

    name: str
    call: str
    label: str
    span: tuple[float, float]
    integer: bool = False

    def values(self, count: int) -> list[float]:
        low, high = self.span
        way = [low + (high - low) * k / max(1, count - 1) for k in range(count)]
        return [round(value) if self.integer else round(value, 4) for value in way]


LIVE = (
    Live(
        "SmoothGrad, noise, 16 samples",
        "xai.SmoothGrad(model, photo, samples=16)",
        "Noise",
        (0.02, 0.48),
    ),
    Live(
        "Occlusion, patch_size, stride 32",
        "xai.Occlusion(model, photo, patch_size=64, stride=32)",
        "Patch size",
        (120, 30),
        integer=True,
    ),
)


@contextmanager
def notebooks() -> Iterator[LabPage]:
    """A page of JupyterLab that notes its paintings."""
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        server = Server(Path(work))
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.add_init_script(path=WATCH)
            yield LabPage(page, server, Path(work))
        finally:
            browser.close()
            server.end_sessions()
            server.close()


def row(what: str, milliseconds: list[float]) -> None:
    middle = statistics.median(milliseconds)
    print(f"| {what} | {middle:.0f} | {min(milliseconds):.0f} | {max(milliseconds):.0f} |")


def local(lab: LabPage, repeats: int) -> list[float]:
    """From an input on `alpha` to the next painted frame."""
    page = WidgetPage(lab, "xai.IntegratedGradients(model, photo, steps=32)")
    alpha = page.slider("Alpha")
    steps = range(5 * repeats)
    return [
        alpha.evaluate("(slider, value) => xaiWatch.local(slider, value)", (37 * k % 100) / 100)
        for k in steps
    ]


def jumps(page: WidgetPage, live: Live, repeats: int) -> tuple[list[float], list[float]]:
    """From single inputs, each on a value not seen before, to the first and the last picture."""
    first, last = [], []
    for value in live.values(2 * repeats + 1)[1::2]:
        pair = page.slider(live.label).evaluate(
            "(slider, value) => xaiWatch.jump(slider, value)", value
        )
        page.wait()
        first.append(pair[0])
        last.append(pair[1])
    return first, last


def drag(page: WidgetPage, live: Live) -> dict[str, Any]:
    """One drag of many inputs: what it sent, what came back, and the wait after its end."""
    low, high = live.span
    values = Live("", "", "", (high, low), live.integer).values(INPUTS)
    slider = page.slider(live.label)
    with page.lab.traffic() as traffic:
        began = slider.evaluate("(slider, values) => xaiWatch.drag(slider, values)", values)
        page.wait()
        shown: dict[str, Any] = page.lab.page.evaluate("(began) => xaiWatch.dragged(began)", began)
    sent, received = traffic.comm, traffic.received_comm
    return {
        **shown,
        "sent": len(sent),
        "sent_bytes": sum(m.size for m in sent),
        "received": len(received),
        "received_bytes": traffic.received_bytes,
    }


def sizes() -> None:
    print("| file | kB | kB, gzip |\n|---|---:|---:|")
    for file in TARGETS:
        data = file.read_bytes()
        print(f"| {file.name} | {len(data) / 1000:.1f} | {len(gzip.compress(data)) / 1000:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats: int = parser.parse_args().repeats
    print(f"In JupyterLab ({machine(torch.device('cpu'))}); network EfficientNet-Lite0 on it\n")
    drags: list[tuple[str, dict[str, Any]]] = []
    with notebooks() as lab:
        print("| milliseconds | median | least | most |\n|---|---:|---:|---:|")
        row("IntegratedGradients, alpha: input to painted frame", local(lab, repeats))
        for live in LIVE:
            page = WidgetPage(lab, live.call)
            first, last = jumps(page, live, repeats)
            row(f"{live.name}: input to first picture", first)
            row(f"{live.name}: input to finished picture", last)
            drags.append((live.name, drag(page, live)))
    print(
        f"\n| drag of {INPUTS} inputs | sent | kB | received | kB | pictures | end to final, ms |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, told in drags:
        wait = "-" if told["painted"] is None else f"{told['painted']:.0f}"
        print(
            f"| {name} | {told['sent']} | {told['sent_bytes'] / 1000:.0f} | {told['received']} "
            f"| {told['received_bytes'] / 1000:.0f} | {told['pictures']} | {wait} |"
        )
    print()
    sizes()


if __name__ == "__main__":
    main()
