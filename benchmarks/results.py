"""Tables as text, and their places in RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table's lines, each as soon as its row is there."""
    names = list(heads)
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def show(section: str, lines: Iterable[str], write: bool) -> None:
    """Print the lines; with `write` they also become that section of RESULTS.md."""
    kept = []
    for line in lines:
        print(line, flush=True)
        kept.append(line)
    if write:
        put(section, "\n".join(kept))


def put(section: str, text: str) -> None:
    """Make `text` what stands between ``<!-- section -->`` and ``<!-- /section -->``.

    Raises:
        ValueError: when RESULTS.md has no such section.
    """
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    old = RESULTS.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(old):
        raise ValueError(f"RESULTS.md has no section between {begin} and {end}.")
    new = pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", old)
    RESULTS.write_text(new, encoding="utf-8")
