"""Every table, one after the other."""

from __future__ import annotations

import sys

from benchmarks import attribution, imports


def main() -> None:
    imports.main()
    print()
    sys.argv[0] = "benchmarks.attribution"
    attribution.main()


if __name__ == "__main__":
    main()
