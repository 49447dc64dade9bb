"""What ``import xaiwidgets`` adds to importing torch, each in a process of its own.

Run with ``python -m benchmarks.imports [--repeats N]``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import torch

from benchmarks.measure import machine
from benchmarks.results import arguments, show

_CODE = """
import time
import torch
began = time.perf_counter()
import xaiwidgets
print(time.perf_counter() - began)
"""


def lines(repeats: int) -> Iterator[str]:
    yield f"Machine: {machine(torch.device('cpu'))}\n"
    seconds = []
    for _ in range(repeats):
        run = subprocess.run(
            [sys.executable, "-c", _CODE], check=True, capture_output=True, text=True
        )
        seconds.append(float(run.stdout))
    yield f"`import xaiwidgets` after torch takes {min(seconds):.2f} s (best of {repeats})."


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    show("imports", lines(options.repeats), options.write)


if __name__ == "__main__":
    main()
