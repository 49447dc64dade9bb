"""Tables as text, their places in RESULTS.md, and the options that all benchmarks have."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with a benchmark's docstring as its help, and with `--write`."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put what is printed into RESULTS.md")
    return parser


def tell(text: str) -> None:
    """Say what is being done, beside the table."""
    print(f"... {text}", file=sys.stderr, flush=True)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table's lines, each as soon as its row is there."""
    names = list(heads)
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def show(section: str, lines: Iterable[str], write: bool) -> None:
    """Print the lines; with `write` they also become that section of RESULTS.md."""
    if write:
        # Said before the work is done, not after it.
        read(section)
    kept = []
    for line in lines:
        print(line, flush=True)
        kept.append(line)
    if write:
        put(section, "\n".join(kept))


def read(section: str) -> str:
    """What stands between ``<!-- section -->`` and ``<!-- /section -->`` in RESULTS.md.

    Raises:
        ValueError: when RESULTS.md has no such section, or has it twice.
    """
    return _found(section, RESULTS.read_text(encoding="utf-8")).group(1).strip()


def put(section: str, text: str) -> None:
    """Make `text` what stands there; all around it stays as it is.

    Raises:
        ValueError: as `read`.
    """
    old = RESULTS.read_text(encoding="utf-8")
    start, stop = _found(section, old).span(1)
    RESULTS.write_text(f"{old[:start]}\n{text.strip()}\n{old[stop:]}", encoding="utf-8")


def _found(section: str, text: str) -> re.Match[str]:
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    found = list(re.finditer(f"{re.escape(begin)}(.*?){re.escape(end)}", text, re.DOTALL))
    if len(found) != 1:
        raise ValueError(
            f"RESULTS.md must have one section between {begin} and {end}, not {len(found)}."
        )
    return found[0]
