"""A widget that any method can have: photo and map, all parameters, what the run says of itself."""

from __future__ import annotations

from typing import Any

import traitlets as t

from xaiwidgets.engine.places import depths
from xaiwidgets.explanation import Explanation
from xaiwidgets.methods.cams import LayerMap
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.widgets.layered import told_layers
from xaiwidgets.widgets.method import About, MethodWidget, Outcome


class GeneralWidget(MethodWidget):
    """Tells the page of the network's layers where a parameter is one, and which one was used."""

    _kind_name = "general"

    _layers: t.List[Any] = t.List().tag(sync=True)

    def _seen(self, task: Task, name: str) -> dict[str, Any]:
        traits = super()._seen(task, name)
        if any(parameter.kind == "layer" for parameter in self._parameters.values()):
            places = depths(task.model, task.x)
            told = told_layers(task.model)
            traits["_layers"] = [{**each, "place": places.get(each["name"])} for each in told]
        return traits

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        info: dict[str, Any] = {}
        if isinstance(last.detail, LayerMap):
            rows, columns = last.detail.map.shape
            info = {"layer": last.detail.layer, "size": f"{rows} × {columns}"}
        return Outcome(explanation, last.done, extra_info=info)
