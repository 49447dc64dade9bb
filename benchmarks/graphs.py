"""What a recorded CUDA graph saves: milliseconds of a batch, as it is run and replayed.

The network is ours, prepared: forward, and forward and backward to the input. With few images the
GPU waits for Python to tell it what to do next, and a graph saves that; with many it does not.

Run with ``python -m benchmarks.graphs [--nets ...] [--batches N ...]``; it needs an NVIDIA GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

import xaiwidgets as xai
from benchmarks.attribution import network
from benchmarks.measure import machine, seconds
from benchmarks.results import arguments, show, table, tell
from benchmarks.roofline import KINDS, bare
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.estimate import Task

NETS = ("efficientnet_lite0", "resnet18", "resnet50", "vit_b_16")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
HEADS = ("network", "kind", "batch", "as run ms", "replayed ms", "ratio")
_WARM = 4
_TIMES = 20


def replayed(call: Callable[[], None]) -> Callable[[], None]:
    """The same work, recorded once and replayed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def best(call: Callable[[], None], device: torch.device) -> float:
    """Milliseconds of a call, the least of some rounds."""
    call()
    return 1000 * min(seconds(call, device, _TIMES) for _ in range(3)) / _TIMES


def rows(options: Any, device: torch.device) -> Iterator[list[str]]:
    for name in options.nets:
        _, model = network(name, device)
        task: Task = make_task(model, xai.photo("cat"))
        for kind, title in KINDS.items():
            for batch in options.batches:
                tell(f"{name} {kind} {batch}")
                call = bare(task, kind, batch)
                plain = best(call, device)
                other = best(replayed(call), device)
                yield [
                    *(name, title, str(batch), f"{plain:.2f}", f"{other:.2f}"),
                    f"{plain / other:.2f}x",
                ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        tell("left out: it needs an NVIDIA GPU")
        return
    device = torch.device("cuda")

    def lines() -> Iterator[str]:
        yield f"Machine: {machine(device)}\n"
        yield from table(HEADS, rows(options, device))

    show("graphs", lines(), options.write)


if __name__ == "__main__":
    main()
