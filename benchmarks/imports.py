"""What ``import xaiwidgets`` adds to importing torch, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import time
import torch
began = time.perf_counter()
import xaiwidgets
print(time.perf_counter() - began)
"""


def main() -> None:
    seconds = []
    for _ in range(5):
        run = subprocess.run(
            [sys.executable, "-c", _CODE], check=True, capture_output=True, text=True
        )
        seconds.append(float(run.stdout))
    print(f"import xaiwidgets after torch: {min(seconds):.2f} s (best of {len(seconds)})")


if __name__ == "__main__":
    main()
