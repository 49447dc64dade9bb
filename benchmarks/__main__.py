"""Every table, one after the other, each in a process of its own.

Run with ``python -m benchmarks [--only NAME ...] [--quick] [--write]``, or with
``make bench ARGS="--quick"``. A table with options of its own is printed by
``python -m benchmarks.NAME``; ``--help`` tells what it shows.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.results import arguments

# What makes each of them quick.
TABLES = {
    "imports": "--repeats 1",
    "browser": "--repeats 1 --nets efficientnet_lite0",
    "attribution": "--nets efficientnet_lite0 --small",
    "cams": "--nets efficientnet_lite0 --methods grad_cam --repeats 1",
    "compare": "--net resnet18 --repeats 1",
    "black_box": "--nets efficientnet_lite0 --count 40",
    "occlusion": "--nets resnet18 --sides 16",
    "ig_grids": "--nets efficientnet_lite0 --baselines black --photos 1 --steps 8 16 "
    "--reference 32",
    "roofline": "--nets efficientnet_lite0 --repeats 1 --small",
    "graphs": "--nets resnet18 --batches 1",
    "networks": "--nets resnet18",
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=list(TABLES), metavar="NAME", help=", ".join(TABLES)
    )
    parser.add_argument("--quick", action="store_true", help="small ones, to see that they run")
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("RESULTS.md is for whole tables: give --quick or --write, not both.")
    failed = []
    for name in options.only or TABLES:
        chosen = TABLES[name].split() if options.quick else []
        if options.write:
            chosen.append("--write")
        command = ["-m", f"benchmarks.{name}", *chosen]
        print(f"== python {' '.join(command)}\n", flush=True)
        if subprocess.run([sys.executable, *command], check=False).returncode:
            failed.append(name)
        print(flush=True)
    if failed:
        sys.exit(f"These failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
