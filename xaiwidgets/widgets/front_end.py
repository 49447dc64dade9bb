"""The built front end, as anywidget takes it."""

from __future__ import annotations

import functools
import os
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
    """The module that the browser loads."""
    return _given(f"{name}.js", _MISSING)


def styles() -> Path | str:
    """The style sheet."""
    return _given("widget.css", "")


@functools.cache
def _given(file: str, missing: str) -> Path | str:
    """The text of a file, or its path where anywidget shall load it again on every change.

    A path is for development only: anywidget ties each widget to the watched file for good, and
    with the widget its network.
    """
    path = _STATIC / file
    if not path.exists():
        return missing
    return path if os.environ.get("ANYWIDGET_HMR") == "1" else path.read_text("utf-8")
