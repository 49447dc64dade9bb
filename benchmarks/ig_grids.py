"""How many steps integrated gradients takes, by the rule that places them.

``python -m benchmarks.ig_grids [--photos N] [--nets ...] [--baselines ...] [--reference N]
[--keep FILE]``

For each labeled photo, network and baseline: the smallest number of steps, of `STEPS`, from which
on the completeness gap stays below 1 % and 5 % of the difference of the scores, and how far the map
is from that of the reference, the midpoint rule with many steps. With `--keep` finished cases are
kept in a file, one a line, and found there again, so that a long study can be run in parts.

Every gradient is taken once, at the places of all rules and numbers of steps together, and goes
into the sums of all that stand there.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import foolbox
import torch
from torch import Tensor

import xaiwidgets as xai
from benchmarks.measure import machine
from xaiwidgets.engine.gradients import gradients
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.estimate import Task
from xaiwidgets.methods.halves import correlation
from xaiwidgets.methods.integrated_gradients import place_steps
from xaiwidgets.methods.path import Line, line
from xaiwidgets.methods.path_grid import GRIDS, PROBES, Grid
from xaiwidgets.model import Model

NETS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
BASELINES = ("black", "blur", "mean")
STEPS = (8, 16, 32, 64, 128)
GAPS = (0.05, 0.01)
PHOTOS = sorted((Path(foolbox.__file__).parent / "data").glob("imagenet_*.jpg"))

Case = dict[str, Any]
"""Where it was, and `rules`: by rule and number of steps, `gap`, `r` and `l2` to the reference."""


def label(photo: Path) -> int:
    """The class that a photo's name tells."""
    return int(re.findall(r"\d+", photo.stem)[-1])


def integrals(task: Task, path: Line, grids: dict[str, Grid]) -> dict[str, Tensor]:
    """The map `(H, W)`, float64, of each grid; gradients are shared where grids meet."""
    wanted: dict[float, list[tuple[str, float]]] = defaultdict(list)
    for name, grid in grids.items():
        for alpha, weight in zip(grid.alphas, grid.weights, strict=True):
            wanted[alpha].append((name, weight))
    alphas = sorted(wanted)
    frame = task.x.shape[-2:]
    sums = {name: torch.zeros(frame, dtype=torch.float64) for name in grids}

    def inputs(first: int, last: int) -> Tensor:
        return path.points(alphas[first:last])

    for batch in gradients(task.model, len(alphas), inputs, task.score):
        maps = (batch.gradients * path.difference).sum(1).double().cpu()
        for alpha, found in zip(alphas[batch.start : batch.stop], maps, strict=True):
            for name, weight in wanted[alpha]:
                sums[name].add_(found, alpha=weight)
    return sums


def case(model: Model, photo: Path, baseline: str, reference: int) -> Case:
    """All rules and numbers of steps on one photo."""
    began = time.perf_counter()
    task = make_task(model, photo, label(photo))
    path = line(task, baseline)
    grids = {
        f"{rule} {steps}": place_steps(task, path, rule, steps) for rule in GRIDS for steps in STEPS
    }
    grids["reference"] = place_steps(task, path, "uniform", reference)
    found = integrals(task, path, grids)
    truth, whole = found["reference"], path.end_score - path.start_score

    def told(value: Tensor) -> dict[str, float]:
        return {
            "gap": abs(float(value.sum()) - whole) / abs(whole),
            "r": correlation(value, truth),
            "l2": float((value - truth).norm() / truth.norm()),
        }

    return {
        "net": model.name,
        "photo": photo.stem,
        "baseline": baseline,
        "reference": reference,
        "whole": whole,
        "seconds": time.perf_counter() - began,
        "rules": {name: told(value) for name, value in found.items()},
    }


def steps_for(found: Case, rule: str, gap: float) -> float:
    """The smallest number of steps from which on the gap is at most `gap`; inf if none was."""
    enough = float("inf")
    for steps in reversed(STEPS):
        if found["rules"][f"{rule} {steps}"]["gap"] > gap:
            break
        enough = steps
    return enough


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Those asked for, as they are done."""
    keep = options.keep
    known = {}
    if keep and keep.exists():
        for each in map(json.loads, keep.read_text().splitlines()):
            known[each["net"], each["photo"], each["baseline"], each["reference"]] = each
    models: dict[str, Model] = {}
    for photo in PHOTOS[: options.photos]:
        for name in options.nets:
            for baseline in options.baselines:
                found = known.get((name, photo.stem, baseline, options.reference))
                if found is None:
                    if name not in models:
                        models[name] = xai.load(name, options.device)
                    found = case(models[name], photo, baseline, options.reference)
                    if keep:
                        with keep.open("a") as file:
                            file.write(json.dumps(found) + "\n")
                yield found


def _count(value: float) -> str:
    return f"> {STEPS[-1]}" if value == float("inf") else f"{value:g}"


def steps_table(found: list[Case]) -> Iterator[str]:
    """Steps to a gap, median and worst, by network and baseline."""
    rules = " | ".join(f"{rule}, {gap:.0%}" for gap in GAPS for rule in GRIDS)
    yield f"| network | baseline | photos | {rules} |"
    yield "|---" * (3 + len(GRIDS) * len(GAPS)) + "|"
    groups = defaultdict(list)
    for each in found:
        groups[each["net"], each["baseline"]].append(each)
        groups["all", "all"].append(each)
    for (net, baseline), group in sorted(groups.items(), key=lambda item: item[0][0] == "all"):
        cells = []
        for gap in GAPS:
            for rule in GRIDS:
                needed = [steps_for(each, rule, gap) for each in group]
                within = sum(value <= STEPS[-1] for value in needed)
                cells.append(
                    f"{_count(median(needed))} ({_count(max(needed))}; {within} of {len(group)})"
                )
        yield f"| {net} | {baseline} | {len(group)} | {' | '.join(cells)} |"


def distance_table(found: list[Case]) -> Iterator[str]:
    """Gap, and distance of the map to the reference, by rule and number of steps."""
    yield "| rule | steps | gap % | 1 - r | relative L2 |"
    yield "|---|---|---|---|---|"
    for name in [f"{rule} {steps}" for steps in STEPS for rule in GRIDS] + ["reference"]:
        values = [each["rules"][name] for each in found]
        cells = [
            _both([100 * value["gap"] for value in values], 1),
            _both([1 - value["r"] for value in values], 4),
            _both([value["l2"] for value in values], 3),
        ]
        rule, _, steps = name.partition(" ")
        yield f"| {rule} | {steps or found[0]['reference']} | {' | '.join(cells)} |"


def _both(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({max(values):.{digits}f})"


def wins(found: list[Case]) -> Iterator[str]:
    """How often each rule has the smaller gap and the nearer map than the uniform one."""
    yield "| rule beside uniform | steps | smaller gap | nearer map |"
    yield "|---|---|---|---|"
    for rule in GRIDS[1:]:
        for steps in STEPS:
            pairs = [
                (each["rules"][f"{rule} {steps}"], each["rules"][f"uniform {steps}"])
                for each in found
            ]
            gap = sum(one["gap"] < other["gap"] for one, other in pairs)
            near = sum(one["l2"] < other["l2"] for one, other in pairs)
            yield f"| {rule} | {steps} | {gap} of {len(pairs)} | {near} of {len(pairs)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=len(PHOTOS))
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--baselines", nargs="+", default=BASELINES)
    parser.add_argument("--reference", type=int, default=512)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    print(f"Machine: {machine(torch.device(options.device))}\n")
    found = list(cases(options))
    print(
        f"{len(found)} cases; the target is the photo's label, the reference the midpoint rule "
        f"with {options.reference} steps. Median (worst). adaptive asks for {PROBES - 1} more "
        "scores first, without gradients.\n"
    )
    for table in (steps_table, distance_table, wins):
        print("\n".join(table(found)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
