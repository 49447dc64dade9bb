"""Every notebook runs from top to bottom, offline, and shows its widgets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import xaiwidgets as xai
from xaiwidgets.widgets.base import PanelWidget

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed with outputs"
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}})
    client.execute()
    texts = " ".join(
        output.data.get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    )
    widgets = _widgets(notebook)
    assert len(widgets) >= 3
    for widget in widgets:
        assert f"{widget.__name__}(" in texts
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    kinds = {state["state"].get("_kind") for state in states.values()}
    assert {widget._kind_name for widget in widgets} <= kinds
    errors = [state["state"].get("error") for state in states.values()]
    assert not any(errors)


def _widgets(notebook: Any) -> set[type[Any]]:
    """The widget classes that a notebook makes."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    found = {getattr(xai, name) for name in re.findall(r"xai\.([A-Z]\w+)\(", code)}
    return {each for each in found if issubclass(each, PanelWidget)}


def test_there_are_some() -> None:
    assert NOTEBOOKS
