"""Where the built front end lies."""

from __future__ import annotations

from pathlib import Path

_STATIC = Path(__file__).parent.parent / "static"
_MISSING = """
export default {
  render({ el }) {
    el.textContent =
      "The front end of xaiwidgets is not built. In the project's folder run: make build";
  },
};
"""


def script(name: str = "widget") -> Path | str:
    """The module that the browser loads; a path, so that anywidget can reload it in development."""
    path = _STATIC / f"{name}.js"
    return path if path.exists() else _MISSING


def styles() -> Path | str:
    """The style sheet."""
    path = _STATIC / "widget.css"
    return path if path.exists() else ""
