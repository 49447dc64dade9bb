"""Every notebook runs from top to bottom, offline, and shows its widgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WIDGETS = {"IntegratedGradients", "SmoothGrad", "Occlusion", "DeepDream"}


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
    for widget in WIDGETS:
        assert f"{widget}(" in texts
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    kinds = {state["state"].get("_kind") for state in states.values()}
    assert {"integrated_gradients", "smoothgrad", "occlusion", "deep_dream"} <= kinds


def test_there_are_some() -> None:
    assert NOTEBOOKS
