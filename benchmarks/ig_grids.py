"""How many steps integrated gradients takes on each grid, and how far its map is from the end.

Twenty labeled photos, three networks, three baselines: steps until the completeness gap is below
5 % and 1 % (median, worst; "-" where the most steps do not do), and the distance of the map from
the one of the reference at 16, 32 and 64 steps. A case of the adaptive grid is charged its probe:
a step in the middle, and forward passes, which count as a third of one. Run with
``python -m benchmarks.ig_grids [--photos N] [--nets ...] [--steps N ...] [--reference N]``.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import xaiwidgets as xai
from benchmarks.measure import machine
from benchmarks.results import arguments, show, table, tell
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.methods.path_grid import GRIDS, PROBES

NETS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
BASELINES = ("black", "blur", "noise")
STEPS = (8, 16, 32, 64, 128)
SHOWN = (16, 32, 64)


def photos(count: int) -> list[tuple[Path, int]]:
    """Labeled ImageNet photos that foolbox ships, and their classes."""
    spec = importlib.util.find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The photos are those of foolbox: pip install foolbox.")
    found = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))
    return [(path, int(re.findall(r"\d+", path.stem)[-1])) for path in found[:count]]


def run(task: Task, baseline: str, grid: str, steps: int) -> tuple[torch.Tensor, float]:
    """The map and its relative gap."""
    params = {"steps": steps, "baseline": baseline, "grid": grid}
    last = last_of(estimates(task, "integrated_gradients", params))
    return last.value.sum(0), last.diagnostics["completeness_relative"]


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def told(values: list[float]) -> str:
    """Median and worst of numbers of steps; infinite ones were not reached."""
    shown = [
        f"{v:.0f}" if v < float("inf") else "-" for v in (statistics.median(values), max(values))
    ]
    return f"{shown[0]} ({shown[1]})"


def rows(options: Any, at: list[int]) -> Iterator[list[str]]:
    for name in options.nets:
        model = xai.load(name, options.device)
        tasks = [make_task(model, path, label) for path, label in photos(options.photos)]
        for baseline in options.baselines:
            tell(f"{name} {baseline}: reference")
            ends = [run(task, baseline, "uniform", options.reference)[0] for task in tasks]
            for grid in (each for each in GRIDS if each != "auto"):
                probe = 1 + (PROBES - 2) / 3 if grid == "adaptive" else 0.0
                needed: dict[float, list[float]] = {0.05: [], 0.01: []}
                far: dict[int, list[float]] = {steps: [] for steps in at}
                for task, end in zip(tasks, ends, strict=True):
                    gaps = {}
                    for steps in options.steps:
                        value, gaps[steps] = run(task, baseline, grid, steps)
                        if steps in far:
                            far[steps].append(1 - correlation(value, end))
                    for limit, found in needed.items():
                        # Below it from there on: a gap may pass through zero by chance.
                        held = [s for s in gaps if all(gaps[t] < limit for t in gaps if t >= s)]
                        found.append(min(held) + probe if held else float("inf"))
                steps_to = [told(found) for found in needed.values()]
                apart = [f"{statistics.median(far[s]):.4f} ({max(far[s]):.4f})" for s in at]
                yield [name, baseline, grid, *steps_to, *apart]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--baselines", nargs="+", default=BASELINES)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--reference", type=int, default=512)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    # As on a CPU: with TF32, rounding alone would keep gaps open.
    torch.backends.cudnn.allow_tf32 = False
    at = [steps for steps in SHOWN if steps in options.steps]
    heads = ["network", "baseline", "grid", "steps to 5 %", "steps to 1 %"]
    heads += [f"1 - r at {steps}" for steps in at]

    def lines() -> Iterator[str]:
        yield f"Machine: {machine(torch.device(options.device))}\n"
        count, most = options.photos, options.reference
        yield f"{count} photos; reference: uniform, {most} steps; median and worst.\n"
        yield from table(heads, rows(options, at))

    show("ig grids", lines(), options.write)


if __name__ == "__main__":
    main()
