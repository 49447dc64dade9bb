"""Build the front end with the Node that comes as a Python package.

Called by hatch-jupyter-builder while a wheel or source archive is made, and by the Makefile
(``python -m tools.build_front_end``).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tools.node import JS, run

STATIC = JS.parent / "xaiwidgets" / "static"
FILES = ("widget.js", "special.js", "dream.js", "compare.js", "widget.css")
TARGETS = tuple(STATIC / name for name in FILES)


def sources() -> Iterator[Path]:
    """Yield every file that the built front end depends on."""
    for name in ("package.json", "package-lock.json", "build.mjs"):
        yield JS / name
    yield from (file for file in (JS / "src").rglob("*") if file.is_file())


def stale() -> bool:
    """Tell whether a built file is missing or older than one of its sources.

    Files of a source archive all carry one time, so what it carries is used as it is.
    """
    if not all(target.is_file() for target in TARGETS):
        return True
    newest = max(file.stat().st_mtime for file in sources())
    return newest > min(target.stat().st_mtime for target in TARGETS)


def fetch() -> None:
    """Bring node_modules up to date with the lock file; without the test tools if it has none."""
    modules = JS / "node_modules"
    installed, lock = modules / ".package-lock.json", JS / "package-lock.json"
    if installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    print("front end: fetching its packages", file=sys.stderr, flush=True)
    run(["npm", "ci", *([] if (modules / "typescript").is_dir() else ["--omit=dev"])])


def build(target_name: str = "wheel", version: str = "standard") -> None:
    """Build the static files unless they are newer than their sources.

    Args:
        target_name: "wheel" or "sdist"; both carry the same files.
        version: "standard" or "editable"; both need them.

    Raises:
        RuntimeError: when Node is missing or the build fails.
    """
    del target_name, version
    if not stale():
        print("front end: up to date", file=sys.stderr, flush=True)
        return
    start = time.monotonic()
    fetch()
    print("front end: bundling", file=sys.stderr, flush=True)
    STATIC.mkdir(parents=True, exist_ok=True)
    run(["node", "build.mjs"])
    print(f"front end: built in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        build()
    except RuntimeError as error:
        sys.exit(str(error))
