"""Every table, one after the other."""

from __future__ import annotations

import sys

from benchmarks import attribution, browser, imports


def main() -> None:
    imports.main()
    print()
    # Options are of the table that has any worth choosing.
    options, sys.argv = sys.argv[1:], ["benchmarks.browser"]
    browser.main()
    print()
    sys.argv = ["benchmarks.attribution", *options]
    attribution.main()


if __name__ == "__main__":
    main()
