"""How long a hand on a slider waits for a picture, in a real JupyterLab.

Times are of the page's own clock, from the input event to the frame that shows what came of it.

- First picture: its budget is 150 ms and one pass of the network on one image, forward or forward
  and backward, as measured in the same kernel. "within" counts the moves that kept to it. A photo
  is covered when every pixel has been under a patch; what a first picture of occlusion shows in
  places not yet visited is the value of the nearest one.
- Drags: a hundred inputs, a frame apart.
- The front end's files, as they travel.

Run with ``python -m benchmarks.browser [--nets ...] [--repeats N]``.
"""

from __future__ import annotations

import gzip
import math
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Browser, Locator, sync_playwright

from benchmarks.measure import machine
from benchmarks.results import arguments, show, table, tell
from tests.browser.find_browser import find_browser
from tests.browser.lab import LabPage
from tests.browser.server import Server
from tests.browser.widgets import HEAD, WidgetPage
from tools.build_front_end import TARGETS
from xaiwidgets.methods.grid import scattered

WATCH = Path(__file__).parent / "watch.js"
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
INPUTS = 100
BUDGET = 150
STRIDE = 32

ALPHA = ("without the kernel", "input to painted frame")
FIRST = (
    *("network", "widget, control", "first picture", "pass of the network", "budget", "within"),
    *("photo covered", "finished"),
)
DRAGS = (
    *("network", f"drag of {INPUTS} inputs", "sent", "kB", "received", "kB"),
    *("pictures", "end to final"),
)

_RANDOM = """
import torch, torchvision, xaiwidgets as xai
torch.manual_seed(0)
model = xai.Model(torchvision.models.get_model('{}', weights=None), device='cpu')
photo = xai.photo('cat')
"""
# In the kernel: what a pass of the network takes, in milliseconds.
_PASSES = """
import statistics, time, torch
from xaiwidgets.engine.gradients import gradient

x = model.prepare(photo).input

def forward():
    with torch.inference_mode():
        model.logits(x)

def forward_and_backward():
    gradient(model, x, lambda logits: logits[:, 0])

def taken(call):
    seconds = []
    for _ in range(11):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[2:])
"""


@dataclass(frozen=True)
class Live:
    """A slider that asks the kernel.

    Attributes:
        name: of the widget and the control.
        call: that makes the widget.
        label: of the slider; "" for the layers of a dream.
        span: the slider's way from one end of a drag to the other.
        passes: what the network has to do for a first picture, a name of `_PASSES`.
        integer: whether its values are whole.
    """

    name: str
    call: str
    label: str
    span: tuple[float, float]
    passes: str
    integer: bool = False

    def values(self, count: int) -> list[float]:
        low, high = self.span
        way = [low + (high - low) * k / max(1, count - 1) for k in range(count)]
        return [round(value) if self.integer else round(value, 4) for value in way]


LIVE = (
    Live(
        *("IntegratedGradients, steps", "xai.IntegratedGradients(model, photo, steps=8)", "Steps"),
        *((10, 40), "forward_and_backward", True),
    ),
    Live(
        *("SmoothGrad, noise, 16 samples", "xai.SmoothGrad(model, photo, samples=16)", "Noise"),
        *((0.02, 0.48), "forward_and_backward"),
    ),
    Live(
        f"Occlusion, patch size, stride {STRIDE}",
        f"xai.Occlusion(model, photo, patch_size=64, stride={STRIDE})",
        *("Patch size", (120, 30), "forward", True),
    ),
    Live(
        *("DeepDream, iterations", "xai.DeepDream(model, photo, iterations=2)", "Iterations"),
        *((2, 32), "forward", True),
    ),
    Live(
        *("DeepDream, layer, 4 iterations", "xai.DeepDream(model, photo, iterations=4)", ""),
        *((0.3, 0.8), "forward"),
    ),
)


class Lab:
    """JupyterLab and a browser."""

    def __init__(self, server: Server, browser: Browser, folder: Path) -> None:
        self._server, self._browser, self._folder = server, browser, folder

    @contextmanager
    def widget(self, net: str, call: str) -> Iterator[WidgetPage]:
        """A widget in a page and a kernel of its own, which notes its paintings."""
        page = self._browser.new_page(viewport={"width": 1400, "height": 1000})
        page.add_init_script(path=WATCH)
        setup = HEAD if net == "efficientnet_lite0" else _RANDOM.format(net).strip()
        try:
            yield WidgetPage(LabPage(page, self._server, self._folder), call, setup=setup)
        finally:
            page.close()
            self._server.end_sessions()


@contextmanager
def jupyterlab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        server = Server(Path(work))
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        try:
            yield Lab(server, browser, Path(work))
        finally:
            browser.close()
            server.end_sessions()
            server.close()


def told(milliseconds: list[float]) -> str:
    """Median, least and most."""
    middle = statistics.median(milliseconds)
    return f"{middle:.0f} ({min(milliseconds):.0f} to {max(milliseconds):.0f})"


def windows_to_cover(patch: int, side: int = 224) -> int:
    """How many patches of occlusion it takes until every pixel has been under one."""
    stride = min(STRIDE, patch)
    count = math.ceil(max(side - patch, 0) / stride) + 1
    covered = np.zeros((side, side), dtype=bool)
    for number, (row, col) in enumerate(scattered(count, count) * stride, 1):
        covered[row : row + patch, col : col + patch] = True
        if covered.all():
            return number
    raise ValueError(f"Patches of {patch} leave pixels out.")


def layers(page: WidgetPage, live: Live, count: int) -> list[str]:
    """Blocks on the way through the network, none of them the one that is shown."""
    code = "[one.name for one in model.layers() if one.name and len(one.output_shape or ()) == 4]"
    known = [name for name in page.get(code) if name != page.get("w.layer")]
    return [known[int(place * len(known))] for place in live.values(count)]


def option(page: WidgetPage, name: str) -> Locator:
    """The layer in the opened list."""
    page.root.locator("details.xai-layers > summary").click()
    return page.root.locator(f'[role="option"][title="{name}"]')


def jumps(page: WidgetPage, live: Live, repeats: int) -> list[list[float]]:
    """From single moves to the first picture, the one that covers the photo, and the last."""
    found = []
    moves: list[tuple[Locator, float | None]]
    if live.label:
        # Each on a value not seen before.
        moves = [(page.slider(live.label), v) for v in live.values(2 * repeats + 1)[1::2]]
    else:
        moves = [(page.root, None)] * repeats
    names = layers(page, live, repeats) if not live.label else []
    for number, (control, value) in enumerate(moves):
        enough = windows_to_cover(int(value or 0)) if live.label == "Patch size" else 0
        control = control if live.label else option(page, names[number])
        code = "(control, [value, enough]) => xaiWatch.jump(control, value, enough)"
        found.append(control.evaluate(code, [value, enough]))
        page.wait()
    return found


def first_row(page: WidgetPage, net: str, live: Live, repeats: int) -> list[str]:
    page.lab.execute(_PASSES)
    passing: float = page.get(f"taken({live.passes})")
    first, covered, last = (list(each) for each in zip(*jumps(page, live, repeats), strict=True))
    within = sum(each <= BUDGET + passing for each in first)
    return [
        *(net, live.name, told(first)),
        f"{passing:.0f}, {live.passes.replace('_', ' ')}",
        *(f"{BUDGET + passing:.0f}", f"{within} of {len(first)}"),
        told(covered) if live.label == "Patch size" else "-",
        told(last),
    ]


def drag_row(page: WidgetPage, net: str, live: Live) -> list[str]:
    """One drag of many inputs: what it sent, what came back, and the wait after its end."""
    # Back from where the moves before have left the slider.
    values = live.values(INPUTS)[::-1]
    slider = page.slider(live.label)
    with page.lab.traffic() as traffic:
        began = slider.evaluate("(slider, values) => xaiWatch.drag(slider, values)", values)
        page.wait()
        shown: dict[str, Any] = page.lab.page.evaluate("(began) => xaiWatch.dragged(began)", began)
    sent, received = traffic.comm, traffic.received_comm
    return [
        *(net, live.name),
        *(str(len(sent)), f"{sum(m.size for m in sent) / 1000:.0f}"),
        *(str(len(received)), f"{traffic.received_bytes / 1000:.0f}"),
        *(str(shown["pictures"]), f"{shown['painted']:.0f}"),
    ]


def alpha_row(lab: Lab, net: str, repeats: int) -> list[str]:
    """From an input on `alpha` to the next painted frame, which needs no kernel."""
    with lab.widget(net, "xai.IntegratedGradients(model, photo, steps=32)") as page:
        slider, code = page.slider("Alpha"), "(slider, value) => xaiWatch.local(slider, value)"
        taken = [slider.evaluate(code, (37 * k % 100) / 100) for k in range(5 * repeats)]
    return ["IntegratedGradients, alpha", told(taken)]


def sizes() -> Iterator[list[str]]:
    for path in TARGETS:
        data = path.read_bytes()
        yield [path.name, f"{len(data) / 1000:.1f}", f"{len(gzip.compress(data)) / 1000:.1f}"]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=("efficientnet_lite0", "resnet50"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    nets, repeats = options.nets, options.repeats
    head = f"Machine: {machine(torch.device('cpu'))}; milliseconds: median (least to most)\n"
    drags: list[list[str]] = []

    def first_rows(lab: Lab) -> Iterator[list[str]]:
        for net in nets:
            for live in LIVE:
                tell(f"{net}: {live.name}")
                with lab.widget(net, live.call) as page:
                    yield first_row(page, net, live, repeats)
                    # A dream hears of a slider when it is let go of.
                    if "DeepDream" not in live.name and net == nets[0]:
                        drags.append(drag_row(page, net, live))

    def first_lines(lab: Lab) -> Iterator[str]:
        yield head
        yield from table(FIRST, first_rows(lab))

    def lines(lab: Lab) -> Iterator[str]:
        yield head
        yield from table(ALPHA, [alpha_row(lab, nets[0], repeats)])
        yield ""
        yield from table(DRAGS, drags)
        yield ""
        yield from table(("file", "kB", "kB, gzip"), sizes())

    with jupyterlab() as lab:
        show("first picture", first_lines(lab), options.write)
        print()
        show("browser", lines(lab), options.write)


if __name__ == "__main__":
    main()
