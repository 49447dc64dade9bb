"""Tables get into RESULTS.md, and nothing else of it changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.__main__ import TABLES

BENCHMARKS = Path(results.__file__).parent
TEXT = "# Title\n\nBefore.\n\n<!-- one -->\n<!-- /one -->\n\nBetween \\1.\n\n<!-- two -->\nold\n"
TEXT += "<!-- /two -->\n\nAfter.\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "RESULTS.md"
    made.write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(results, "RESULTS", made)
    return made


def test_only_the_section_changes(file: Path) -> None:
    lines = list(results.table(["a", "b"], [["\\1", "2"]]))
    results.show("one", lines, write=True)
    results.show("two", ["new"], write=False)
    assert file.read_text(encoding="utf-8") == TEXT.replace(
        "<!-- one -->\n", "<!-- one -->\n| a | b |\n|---|---|\n| \\1 | 2 |\n"
    )
    results.put("one", "")
    results.put("one", "again\n\n")
    assert results.read("one") == "again"
    assert file.read_text(encoding="utf-8") == TEXT.replace(
        "<!-- one -->\n", "<!-- one -->\nagain\n"
    )


@pytest.mark.usefixtures("file")
def test_a_section_that_is_not_there() -> None:
    def work() -> Iterator[str]:
        begun.append(True)
        yield "a line"

    begun: list[bool] = []
    with pytest.raises(ValueError, match="<!-- three -->"):
        results.show("three", work(), write=True)
    # It is said before the work is done, not after it.
    assert not begun


def test_every_benchmark_has_its_sections() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in BENCHMARKS.glob("*.py")}
    showing = {name: re.findall(r'show\(\s*"([^"]+)"', text) for name, text in files.items()}
    showing["networks"] = ["networks"]
    assert set(TABLES) == {name for name, sections in showing.items() if sections}
    for sections in showing.values():
        for section in sections:
            results.read(section)
