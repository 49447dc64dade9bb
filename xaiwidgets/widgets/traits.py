"""Traits that are checked by what they stand for, with plain errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import traitlets as t

from xaiwidgets.methods.params import Parameter
from xaiwidgets.targets import Target, to_plain
from xaiwidgets.widgets.encode import plain

if TYPE_CHECKING:
    from xaiwidgets.widgets.base import ExplanationWidget


def _to_json(value: Any, _widget: Any) -> Any:
    return plain(value)


class ParameterTrait(t.TraitType[Any, Any]):
    """A parameter of a method: the same default, range and errors."""

    def __init__(self, parameter: Parameter) -> None:
        super().__init__(parameter.default, help=parameter.help)
        self.parameter = parameter
        self.tag(sync=True, to_json=_to_json)

    def validate(self, obj: Any, value: Any) -> Any:
        """Check as the method does, and that the network has such a layer."""
        checked = self.parameter.check(value)
        if self.parameter.kind == "layer" and checked is not None:
            widget: ExplanationWidget = obj
            widget.model.layer(checked)
        return checked


class TargetTrait(t.TraitType[Any, Any]):
    """A class: index, name or None in, index out. Or any other target, told in plain values."""

    default_value = 0

    def __init__(self) -> None:
        super().__init__()
        self.tag(to_json=lambda value, _widget: to_plain(value))

    def validate(self, obj: Any, value: Any) -> Target:
        """Find it in the widget's model."""
        widget: ExplanationWidget = obj
        return widget._resolve_target(value)


class ImageTrait(t.TraitType[Any, Any]):
    """Any image. One that cannot be read raises, and the old one stays."""

    default_value = None
    allow_none = True

    def set(self, obj: Any, value: Any) -> None:
        """Take a new photo, also when it is the same array with other content."""
        widget: ExplanationWidget = obj
        widget._take_image(value)


def declare(owner: type[t.HasTraits], parameters: Mapping[str, Parameter]) -> None:
    """Give a class one trait for each parameter; to be called in its `__init_subclass__`."""
    for name, parameter in parameters.items():
        trait = ParameterTrait(parameter)
        setattr(owner, name, trait)
        # The metaclass only does this for what stands in the class body.
        trait.class_init(owner, name)
