"""Occlusion by differences: is it faster, by how much could it be, and is the faster way chosen?

For each network and patch size: milliseconds a patch takes the plain way and by differences, the
gain, the gain that the multiply-adds alone would allow, which way was chosen, and what the choice
costs against the better one.

A second table is of one patch at a time, anywhere, as the cursor asks for it: medians over places.

Run with ``python -m benchmarks.occlusion [--alone] [--nets ...] [--sides ...]``.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch

import xaiwidgets as xai
from benchmarks.attribution import network
from benchmarks.measure import machine, seconds
from benchmarks.results import arguments, show, table
from xaiwidgets.engine.masking import masked_logits
from xaiwidgets.engine.patches import Patches, logits_at, patched_logits
from xaiwidgets.engine.ways import ways_of
from xaiwidgets.model import Model

NETS = (
    *("vgg16", "resnet18", "resnet50", "efficientnet_lite0", "mobilenet_v3_large"),
    *("densenet121", "convnext_tiny", "vit_b_16"),
)
SIDES = (4, 8, 16, 32, 64, 112)
ALONE = ("network", "patch", "one patch anywhere ms", "plain ms", "by differences ms")
HEADS = ("network", "patch", "plain ms", "by differences ms", "gain", "planned", "chosen", "costs")


def some_patches(x: torch.Tensor, side: int, count: int) -> Patches:
    """Evenly over the photo."""
    starts = np.linspace(0, x.shape[-1] - side, math.isqrt(count)).astype(np.int64)
    tops, lefts = (each.ravel() for each in np.meshgrid(starts, starts, indexing="ij"))
    return Patches(tops, lefts, side, torch.zeros_like(x[0]))


def best(call: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    return min(seconds(call, device) for _ in range(repeats))


def by_difference(model: Model, patches: Patches, x: torch.Tensor) -> tuple[float, float] | None:
    """Seconds a patch takes, and the planned gain; `None` where the network cannot be replayed."""
    ways = ways_of(model, x, False)
    other = ways.trace(model, x, False)
    if other is None:
        return None
    places = (patches.tops, patches.lefts, patches.side)
    plan = other.plan(*places)
    with torch.inference_mode():
        clean = other.clean(plan, x)
        assert clean is not None
        batcher = other.batcher(plan, x.device, patches.side)
        count = batcher.size or min(16, batcher.most)

        def run() -> None:
            other.logits(plan, clean, x, patches.filling, places, 0, count)

        run()
        return best(run, x.device) / count, plan.ratio


def ways_of_one(
    model: Model, x: torch.Tensor, side: int, corner: tuple[int, int]
) -> dict[str, Callable[[], object]]:
    """One patch: as it is done, and each of the two ways that there are."""
    filling = torch.zeros_like(x[0])
    top, left = (np.array([start]) for start in corner)
    here = Patches(top, left, side, filling)
    calls: dict[str, Callable[[], object]] = {
        "done": lambda: logits_at(model, x, filling, side, corner),
        "plain": lambda: deque(masked_logits(model, x, 1, here.paint), maxlen=0),
    }
    other = ways_of(model, x, False).trace(model, x, False)
    if other:
        clean = other.clean(other.anywhere(side), x)
        assert clean is not None
        calls["other"] = lambda: other.logits_at(clean, x, filling, side, corner)
    return calls


def alone(
    name: str, sides: list[int], device: torch.device, count: int = 20
) -> Iterator[list[str]]:
    """What one patch anywhere takes, a row a size."""
    _, model = network(name, device)
    x = model.prepare(xai.photo("cat")).input
    for side in sides:
        random = np.random.default_rng(0)
        # Its middle is on the photo.
        corners = random.integers(-(side // 2), x.shape[-1] - side // 2, (count, 2)).tolist()
        taken: dict[str, list[float]] = {}
        for top, left in corners:
            with torch.inference_mode():
                for way, call in ways_of_one(model, x, side, (top, left)).items():
                    taken.setdefault(way, []).append(best(call, x.device, 1))
        # Both ways are gone at first, to choose one.
        told = [f"{1000 * statistics.median(each[2:]):.1f}" for each in taken.values()]
        yield [name, str(side), *[*told, "-"][:3]]


def rows(nets: list[str], sides: list[int], device: torch.device) -> Iterator[list[str]]:
    for name in nets:
        _, model = network(name, device)
        x = model.prepare(xai.photo("cat")).input
        for side in sides:
            patches = some_patches(x, side, 64)
            # As a user would: the choice is made while the work is done.
            last = deque(patched_logits(model, x, patches), maxlen=1)[0]
            chosen = "by differences" if last.ratio > 1 else "plain"
            size = model.batcher("forward").size or 8
            few = some_patches(x, side, 16)

            def plainly() -> None:
                deque(masked_logits(model, x, 16, few.paint, first=size), maxlen=0)  # noqa: B023

            taken = {"plain": best(plainly, x.device, 2) / 16}
            found = by_difference(model, patches, x)
            if found:
                taken["by differences"] = found[0]
            other = f"{1000 * found[0]:.1f}" if found else "-"
            gain = f"{taken['plain'] / found[0]:.2f}x" if found else "-"
            planned = f"{found[1]:.2f}x" if found else "-"
            cost = taken[chosen] / min(taken.values()) - 1
            yield [
                *(name, str(side), f"{1000 * taken['plain']:.1f}", other, gain, planned, chosen),
                f"{100 * cost:.0f} %",
            ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--alone", action="store_true", help="only the table of one patch")
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    above = f"Machine: {machine(device)}\n"
    if not options.alone:
        many = table(HEADS, rows(options.nets, options.sides, device))
        show("occlusion", chain([above], many), options.write)
        print()
    one = table(ALONE, (row for name in options.nets for row in alone(name, options.sides, device)))
    show("one patch", chain([above], one), options.write)


if __name__ == "__main__":
    main()
