"""What methods take from a pass of the network, shared with other methods where that is possible.

Alone, a method runs the network itself. When several are compared, the task brings passes along
that all of them use (`xaiwidgets.engine.passes`). The answers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from torch import Tensor

from xaiwidgets.engine import head, passes, rectifiers
from xaiwidgets.engine.gradients import gradient
from xaiwidgets.engine.head import Head
from xaiwidgets.engine.passes import At
from xaiwidgets.engine.places import Place
from xaiwidgets.engine.rectifiers import Acted, Gate
from xaiwidgets.methods.estimate import Task

T = TypeVar("T")


def input_gradient(task: Task) -> Tensor:
    """The gradient of the score at the photo, `(1, C, H, W)`."""
    found = task.shared.gradient(task.score) if task.shared else None
    return gradient(task.model, task.x, task.score, exact=task.exact)[0] if found is None else found


def gradients_at(task: Task, places: list[Place]) -> list[At]:
    """Activations at some places, and the gradients of the score towards them."""
    found = task.shared.at(places, task.score) if task.shared else None
    return passes.gradients_at(task.model, task.x, places, task.score) if found is None else found


def activation_at(task: Task, place: Place) -> Tensor:
    """What a place gives, as a map `(C, h, w)`."""
    found = task.shared.activation(place) if task.shared else None
    return head.activation_at(task.model, task.x, place) if found is None else found


def rectified(task: Task, gate: Gate, title: str) -> tuple[Tensor, Acted]:
    """The gradient at the photo with every rectifier's way back replaced by `gate`."""
    if task.shared:
        return task.shared.rectified(task.score, gate, title)
    return rectifiers.rectified(task.model, task.x, task.score, gate, title, exact=task.exact)


def head_of(task: Task, place: Place) -> Head:
    """The part of the network behind a place."""
    return once(task, ("head", place), lambda: Head(task.model, task.x, place, task.logits))


def once(task: Task, key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives, made once for this photo where tasks share."""
    return task.shared.once(key, make) if task.shared else make()
