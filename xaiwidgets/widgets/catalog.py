"""The widget class of each method, made when it is first asked for."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import types
from typing import Any

from xaiwidgets.methods import registry


def names() -> dict[str, str]:
    """The method of each widget class, by the name of the class."""
    return {spec.widget: spec.name for spec in registry.methods()}


@functools.cache
def widget_of(method: str) -> type[Any]:
    """The widget class of a method: its own, in the module of its name, or a general one."""
    spec = registry.get(method)
    home = f"xaiwidgets.widgets.{spec.name}"
    if importlib.util.find_spec(home) is not None:
        own: type[Any] = getattr(importlib.import_module(home), spec.widget)
        return own
    from xaiwidgets.widgets.general import GeneralWidget
    from xaiwidgets.widgets.masked import MaskWidget

    def fill(namespace: dict[str, Any]) -> None:
        namespace["__module__"] = "xaiwidgets"

    base = MaskWidget if spec.family == "mask" else GeneralWidget
    return types.new_class(spec.widget, (base,), {"method": spec.name}, fill)
