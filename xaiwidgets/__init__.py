"""Move a slider, watch the explanation change.

import xaiwidgets as xai

model = xai.load()
xai.IntegratedGradients(model, xai.photo("cat"))
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from xaiwidgets._version import __version__

# At once and not on demand: the package of the same name would otherwise take the name's place.
from xaiwidgets.methods.registry import methods

if TYPE_CHECKING:
    from xaiwidgets.comparison import Comparison, compare
    from xaiwidgets.explanation import Explanation, explain, explaining
    from xaiwidgets.inside.deep_dream import Dream, deep_dream
    from xaiwidgets.model import Model
    from xaiwidgets.region import Region
    from xaiwidgets.samples import load, photo, photos
    from xaiwidgets.targets import Difference
    from xaiwidgets.widgets.compare import Compare
    from xaiwidgets.widgets.deep_dream import DeepDream
    from xaiwidgets.widgets.integrated_gradients import IntegratedGradients
    from xaiwidgets.widgets.occlusion import Occlusion
    from xaiwidgets.widgets.smoothgrad import SmoothGrad

__all__ = [
    "Compare",
    "Comparison",
    "DeepDream",
    "Difference",
    "Dream",
    "Explanation",
    "IntegratedGradients",
    "Model",
    "Occlusion",
    "Region",
    "SmoothGrad",
    "__version__",
    "compare",
    "deep_dream",
    "explain",
    "explaining",
    "load",
    "methods",
    "photo",
    "photos",
]

# Names are fetched when first used, so that importing the package costs next to nothing.
_HOME = {
    "Comparison": "comparison",
    "compare": "comparison",
    "Explanation": "explanation",
    "explain": "explanation",
    "explaining": "explanation",
    "Difference": "targets",
    "Region": "region",
    "Dream": "inside.deep_dream",
    "deep_dream": "inside.deep_dream",
    "Model": "model",
    "load": "samples",
    "photo": "samples",
    "photos": "samples",
    "Compare": "widgets.compare",
    "DeepDream": "widgets.deep_dream",
}


def __getattr__(name: str) -> Any:
    # A module is asked for here first when it is imported for the first time.
    module = importlib.util.find_spec(f"xaiwidgets.{name}") is not None
    widgets = {} if module or name.startswith("_") else _catalog().names()
    if name in _HOME:
        value = getattr(importlib.import_module(f"xaiwidgets.{_HOME[name]}"), name)
    elif name in widgets:
        value = _catalog().widget_of(widgets[name])
    else:
        close = [] if name.startswith("_") else _nearest(name, [*_HOME, *__all__, *widgets])
        hint = f". Did you mean {' or '.join(close)}?" if close else ""
        raise AttributeError(f"module 'xaiwidgets' has no attribute {name!r}{hint}")
    globals()[name] = value
    return value


def _catalog() -> Any:
    return importlib.import_module("xaiwidgets.widgets.catalog")


def _nearest(name: str, known: list[str]) -> list[str]:
    plain = {each.lower(): each for each in known}
    return [plain[each] for each in difflib.get_close_matches(name.lower(), plain, 2)]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_catalog().names()})
