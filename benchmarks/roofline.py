"""How close each method comes to the bare network: images a second beside those of a bare loop.

The bare loop runs the same prepared network (folded, channels last), batch after batch of the
photo, at the batch size that is best for it: forward, or forward and backward to the input.

- Every image that the network is asked about counts, also those of baselines and between steps.
  Where a method needs both kinds, the bare loop does as many of each.
- Making the task (preparing the photo, its clean scores) is not timed. All that follows is, also
  what a method does before its first batch: superpixels, masks, a layer's features.
- Batch sizes are settled by runs before. Occlusion goes the plain way, not by differences.
- Loop and method take turns; the best time of each counts.

The share is the loop's time divided by the method's; the goal is 0.9.

Run with ``python -m benchmarks.roofline [--nets ...] [--methods ...] [--repeats N] [--small]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import xaiwidgets as xai
from benchmarks.attribution import network
from benchmarks.measure import machine, seconds
from benchmarks.results import arguments, show, table, tell
from xaiwidgets.engine.logits import extract_logits
from xaiwidgets.engine.ways import ways_of
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.model import Model

NETS = ("resnet18", "efficientnet_lite0")
HEADS = (
    "method",
    "network",
    "kind",
    "images",
    "images/s (batch)",
    "bare images/s (batch)",
    "share",
)
BATCHES = {"cpu": (1, 2, 4, 8, 16, 32), "cuda": (8, 16, 32, 64, 128, 256)}
KINDS = {"forward": "forward", "gradient": "forward and backward"}

# The defaults, but for those that would ask for a thousand images.
FULL: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 64, "grid": "uniform"},
    "smoothgrad": {"samples": 50},
    "idgi": {"steps": 64},
    "expected_gradients": {"samples": 128},
    "occlusion": {"patch_size": 32, "stride": 16},
    "rise": {"masks": 256},
    "lime": {"samples": 256},
    "kernel_shap": {"samples": 256},
    "score_cam": {},
    "vit_cx": {},
}
SMALL: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 16, "grid": "uniform"},
    "smoothgrad": {"samples": 16},
    "idgi": {"steps": 16},
    "expected_gradients": {"samples": 16},
    "occlusion": {"patch_size": 52, "stride": 43},
    "rise": {"masks": 16},
    "lime": {"samples": 16},
    "kernel_shap": {"samples": 16},
}


@dataclass
class Seen:
    """How many images a network was asked about, of each kind."""

    forward: int = 0
    gradient: int = 0

    def kinds(self) -> dict[str, int]:
        """The number of images of each kind that there was."""
        found = {"gradient": self.gradient, "forward": self.forward}
        return {kind: count for kind, count in found.items() if count}


@contextmanager
def counting(model: Model) -> Iterator[Seen]:
    """Count the images that the model is asked about."""
    seen = Seen()
    plain = model.logits

    def logits(x: Tensor, *, exact: bool = False) -> Tensor:
        if x.requires_grad:
            seen.gradient += len(x)
        else:
            seen.forward += len(x)
        return plain(x, exact=exact)

    model.logits = logits  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del model.logits


def bare(task: Task, kind: str, batch: int) -> Callable[[], None]:
    """One batch of the bare loop."""
    net, target = task.model.fast, task.target
    x = task.x.repeat(batch, 1, 1, 1).contiguous(memory_format=task.model.memory_format)
    leaf = x.clone().requires_grad_(True)

    def forward() -> None:
        with torch.inference_mode():
            net(x)

    def backward() -> None:
        score = extract_logits(net(leaf), batch)[:, target].sum()
        torch.autograd.grad(score, leaf)

    return forward if kind == "forward" else backward


class Loop:
    """The bare loop of a kind, at its best batch size."""

    def __init__(self, task: Task, kind: str) -> None:
        self._device = task.x.device
        sizes = BATCHES[self._device.type]
        each = {}
        for size in sizes:
            call = bare(task, kind, size)
            call()
            times = max(1, 16 // size)
            each[size] = min(seconds(call, self._device, times) for _ in range(3)) / times / size
        self.batch = min(sizes, key=lambda size: each[size])
        self._call = bare(task, kind, self.batch)

    def seconds(self, images: int) -> float:
        """That an image takes, over as many as given."""
        times = -(-images // self.batch)
        return seconds(self._call, self._device, times) / times / self.batch


def row(
    task: Task, name: str, method: str, params: dict[str, Any], loops: dict[str, Loop], repeats: int
) -> list[str]:
    """Measure one method; loops that are not there yet are made."""
    model = task.model

    def run() -> None:
        last_of(estimates(task, method, params))

    with counting(model) as seen:
        run()
    kinds = seen.kinds()
    main = next(iter(kinds))
    for _ in range(3):
        if model.batcher(main).size is None:
            run()
    for kind in kinds:
        if kind not in loops:
            loops[kind] = Loop(task, kind)
    images = sum(kinds.values())
    best, each = float("inf"), dict.fromkeys(kinds, float("inf"))
    for _ in range(repeats):
        for kind, count in kinds.items():
            each[kind] = min(each[kind], loops[kind].seconds(count))
        best = min(best, seconds(run, task.x.device))
    least = sum(count * each[kind] for kind, count in kinds.items())
    sizes = ", ".join(str(loops[kind].batch) for kind in kinds)
    return [
        *(method, name, " + ".join(KINDS[kind] for kind in kinds)),
        " + ".join(str(count) for count in kinds.values()),
        f"{images / best:.1f} ({model.batcher(main).size or 'not settled'})",
        f"{images / least:.1f} ({sizes})",
        f"{least / best:.2f}",
    ]


def rows(options: Any, device: torch.device) -> Iterator[list[str]]:
    for name in options.nets:
        _, model = network(name, device)
        task = make_task(model, xai.photo("cat"))
        # As if the network could not be replayed.
        ways_of(model, task.x, False).traced = True
        loops: dict[str, Loop] = {}
        chosen = SMALL if options.small else FULL
        for method in options.methods or chosen:
            tell(f"{name} {method}")
            params = chosen.get(method, {})
            yield row(task, name, method, params, loops, options.repeats)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS, help="any of torchvision's")
    parser.add_argument("--methods", nargs="+", choices=list(FULL))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="with a few images, to try it out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)

    def lines() -> Iterator[str]:
        yield f"Machine: {machine(device)}\n"
        yield from table(HEADS, rows(options, device))

    show("roofline", lines(), options.write)


if __name__ == "__main__":
    main()
