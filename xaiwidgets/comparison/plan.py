"""What is compared: the entries of each axis, and the cells between them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xaiwidgets.methods import registry
from xaiwidgets.methods.params import check_all
from xaiwidgets.methods.registry import MethodSpec
from xaiwidgets.model import Model
from xaiwidgets.region import Region
from xaiwidgets.targets import Difference, name_of

AXES = ("method", "target", "image", "model")
MOST = 96
"""Explanations in one comparison."""


class Key(NamedTuple):
    """Which explanation of a comparison, by the labels of its parts."""

    method: str
    target: str
    image: str
    model: str


class Item(NamedTuple):
    """One entry of an axis: its label, as people read it, and what it stands for."""

    label: str
    title: str
    value: Any


class Cell(NamedTuple):
    """One explanation: the position on each axis."""

    method: int
    target: int
    image: int
    model: int


@dataclass(frozen=True)
class Chosen:
    """A method and all its parameters."""

    spec: MethodSpec
    params: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        axes: the entries of each axis, by its name.
    """

    axes: dict[str, list[Item]]

    @property
    def cells(self) -> list[Cell]:
        """All explanations, those that share passes one after the other."""
        size = {axis: range(len(items)) for axis, items in self.axes.items()}
        return [
            Cell(method, target, image, model)
            for model in size["model"]
            for image in size["image"]
            for target in size["target"]
            for method in size["method"]
        ]

    def key(self, cell: Cell) -> Key:
        """The labels of a cell."""
        return Key(*(self.axes[axis][at].label for axis, at in zip(AXES, cell, strict=True)))

    def model(self, index: int) -> Model:
        """One of the models."""
        found: Model = self.axes["model"][index].value
        return found

    def method(self, index: int) -> Chosen:
        """One of the methods."""
        found: Chosen = self.axes["method"][index].value
        return found


def make_plan(models: Any, images: Any, methods: Any, targets: Any) -> Plan:
    """Check what is to be compared.

    Raises:
        TypeError: for what is no model, method or list of them.
        ValueError: for an empty list, an unknown method or parameter, or too many explanations.
    """
    axes = {
        "method": _methods(methods),
        "target": [
            Item(_target_label(each), _target_label(each), each) for each in _listed(targets, list)
        ],
        "image": _images(images),
        "model": _models(models),
    }
    for axis, items in axes.items():
        if not items:
            raise ValueError(f"There is no {axis} to compare: give one {axis} or a list of them.")
        axes[axis] = _told_apart(items)
    count = int(np.prod([len(items) for items in axes.values()]))
    if count > MOST:
        each = " x ".join(f"{len(axes[axis])} {axis}s" for axis in AXES)
        raise ValueError(
            f"{each} are {count} maps; at most {MOST} can be compared. Leave some out."
        )
    return Plan(axes)


# --- reading what is given


def _listed(given: Any, kinds: Any = (list, tuple)) -> list[Any]:
    return list(given) if isinstance(given, kinds) else [given]


def _models(given: Any) -> list[Item]:
    pairs = given.items() if isinstance(given, Mapping) else ((None, m) for m in _listed(given))
    items = []
    for label, model in pairs:
        if not isinstance(model, Model):
            raise TypeError(
                f"A model must be an xaiwidgets.Model, not {type(model).__name__}. Wrap a network "
                "with xai.Model(net), or take one from xai.load(). Several are given as a list."
            )
        label = model.name if label is None else str(label)
        items.append(Item(label, label, model))
    return items


def _images(given: Any) -> list[Item]:
    if isinstance(given, Mapping):
        return [Item(str(label), str(label), image) for label, image in given.items()]
    images = _listed(given)
    items = []
    for number, image in enumerate(images, 1):
        named = isinstance(image, str | os.PathLike)
        label = Path(image).name if named else f"image {number}" if len(images) > 1 else "image"
        items.append(Item(label, label, image))
    return items


def _methods(given: Any) -> list[Item]:
    one = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)
    items = []
    for each in [given] if one else _listed(given):
        name, params = each, {}
        if isinstance(each, tuple | list):
            if len(each) != 2 or not isinstance(each[1], Mapping):
                raise TypeError(
                    'A method is given by its name, or as (name, parameters) such as ("smoothgrad",'
                    f' {{"noise": 0.1}}), not as {each!r}.'
                )
            name, params = each
        spec = registry.get(name)
        checked = check_all(spec.name, spec.parameters, dict(params))
        told = {key: checked[key] for key in params}
        label, title = spec.name, spec.title
        if told:
            label += f"({', '.join(f'{key}={_short(value)}' for key, value in told.items())})"
            named = [f"{spec.parameters[key].label.lower()} {_short(told[key])}" for key in told]
            title += f", {', '.join(named)}"
        items.append(Item(label, title, Chosen(spec, checked)))
    return items


def _short(value: Any) -> str:
    plain = value is None or isinstance(value, str | int | float | bool)
    text = str(value) if plain else type(value).__name__
    return f"{value:g}" if isinstance(value, float) else text


def _target_label(target: Any) -> str:
    if target is None:
        return "top class"
    if isinstance(target, list | tuple):
        return " + ".join(_target_label(each) for each in target)
    if isinstance(target, Difference):
        return f"{_target_label(target.why)}, not {_target_label(target.why_not)}"
    if isinstance(target, Region):
        return f"region of {_target_label(target.category)}"
    if callable(target):
        return name_of(target)
    return target if isinstance(target, str) else f"class {target}"


def _told_apart(items: list[Item]) -> list[Item]:
    """The same items with labels and titles that occur once: "a", "a (2)"."""
    given = {item.label for item in items}
    seen: dict[str, int] = {}
    apart = []
    for item in items:
        number = seen.get(item.label, 0) + 1
        # One may be called "a (2)" already.
        while number > 1 and f"{item.label} ({number})" in given:
            number += 1
        seen[item.label] = number
        mark = f" ({number})" if number > 1 else ""
        apart.append(Item(item.label + mark, item.title + mark, item.value))
    return apart
