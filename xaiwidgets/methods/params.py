"""One source for a parameter: what a method's signature says of it.

A method declares each parameter once, as
``name: Annotated[float, Range(0, 1, 0.01, "Noise")] = 0.15``. The trait, the slider, the validation
and the documentation are all read from there.
"""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Range:
    """A number between `low` and `high`, both included; the slider moves by `step`."""

    low: float
    high: float
    step: float
    label: str
    unit: str = ""
    help: str = ""


@dataclass(frozen=True)
class Choice:
    """One of `options`. With `also`, values beyond the named ones are allowed.

    `also` takes a value that is not among the options, returns it cleaned, and raises
    ``TypeError`` or ``ValueError`` when it cannot be used; `also_text` says what it accepts.
    """

    options: tuple[str, ...]
    label: str
    help: str = ""
    also: Callable[[Any], Any] | None = None
    also_text: str = ""


@dataclass(frozen=True)
class Flag:
    """A yes or no."""

    label: str
    help: str = ""


@dataclass(frozen=True)
class Layer:
    """The name of one of the network's layers; `None` leaves the choice to the method."""

    label: str
    help: str = ""


@dataclass(frozen=True)
class Parameter:
    """A method's parameter, as read from its signature."""

    name: str
    kind: str
    """``"float"``, ``"int"``, ``"choice"``, ``"flag"`` or ``"layer"``."""
    default: Any
    label: str
    help: str = ""
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    step: float = 0.0
    options: tuple[str, ...] = ()
    also: Callable[[Any], Any] | None = None
    also_text: str = ""

    def check(self, value: Any) -> Any:
        """Return `value` cleaned.

        Raises:
            TypeError: when it is of the wrong type.
            ValueError: when it lies outside of what is allowed.
        """
        if self.kind == "flag":
            if isinstance(value, bool | np.bool_):
                return bool(value)
            raise TypeError(f"{self.name} must be {self.allowed}, not {_told(value)}.")
        if self.kind == "choice":
            return self._check_choice(value)
        if self.kind == "layer":
            # Whether the network has it is seen by the method, which knows the network.
            if value is None or (isinstance(value, str) and value):
                return value
            raise TypeError(f"{self.name} must be {self.allowed}, not {_told(value)}.")
        return self._check_number(value)

    def _check_choice(self, value: Any) -> Any:
        if isinstance(value, str) and value in self.options:
            return value
        if self.also is not None and not isinstance(value, str):
            try:
                return self.also(value)
            except (TypeError, ValueError) as error:
                message = f"{self.name} must be {self.allowed}, not {_told(value)}: {error}"
                raise type(error)(message) from error
        close = difflib.get_close_matches(str(value), self.options, 1)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        wrong = ValueError if isinstance(value, str) else TypeError
        raise wrong(f"{self.name} must be {self.allowed}, not {_told(value)}.{hint}")

    def _check_number(self, value: Any) -> float | int:
        allowed = self.allowed
        if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real | np.number):
            raise TypeError(f"{self.name} must be {allowed}, not {_told(value)}.")
        number = float(value)
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise ValueError(f"{self.name} must be {allowed}, not {_told(value)}.")
        if self.kind == "float":
            return number
        if not number.is_integer():
            raise ValueError(f"{self.name} must be {allowed}, not {_told(value)}.")
        return int(number)

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        if self.kind == "flag":
            return "True or False"
        if self.kind == "layer":
            return "the name of a layer, as in model.layers(), or None"
        if self.kind == "choice":
            named = ", ".join(f'"{option}"' for option in self.options)
            return f"one of {named}" + (f", or {self.also_text}" if self.also else "")
        what = "a whole number" if self.kind == "int" else "a number"
        return f"{what} from {_number(self.low)} to {_number(self.high)}{self._unit_text}"

    @property
    def _unit_text(self) -> str:
        # "%" only tells the view to show a share as a percentage.
        return f" ({self.unit})" if self.unit not in ("", "%") else ""

    def to_dict(self) -> dict[str, Any]:
        """The parameter as plain values, for the front end."""
        number = self.kind in ("float", "int")
        return {
            "name": self.name,
            "kind": self.kind,
            "label": self.label,
            "unit": self.unit,
            "help": self.help,
            "low": self.low if number else None,
            "high": self.high if number else None,
            "step": self.step if number else None,
            "default": self.default,
            "options": list(self.options),
        }


def read_parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Read the keyword-only parameters of a method from its signature."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = {}
    for name, argument in inspect.signature(function).parameters.items():
        if argument.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        hint = hints[name]
        if typing.get_origin(hint) is typing.Union:
            # What Python 3.10 makes of a default of None.
            hint = typing.get_args(hint)[0]
        kind, *marks = typing.get_args(hint) or (hint,)
        mark = next((m for m in marks if isinstance(m, Range | Choice | Flag | Layer)), None)
        if mark is None:
            raise TypeError(
                f"{function.__name__}: parameter {name} has no Range, Choice, Flag or Layer."
            )
        found[name] = _parameter(name, kind, argument.default, mark)
    return found


def _parameter(
    name: str, kind: Any, default: Any, mark: Range | Choice | Flag | Layer
) -> Parameter:
    if isinstance(mark, Layer):
        return Parameter(name, "layer", default, mark.label, mark.help)
    if isinstance(mark, Flag):
        return Parameter(name, "flag", default, mark.label, mark.help)
    if isinstance(mark, Choice):
        return Parameter(
            name,
            "choice",
            default,
            mark.label,
            mark.help,
            options=mark.options,
            also=mark.also,
            also_text=mark.also_text,
        )
    return Parameter(
        name,
        "int" if kind is int else "float",
        default,
        mark.label,
        mark.help,
        mark.unit,
        mark.low,
        mark.high,
        mark.step,
    )


def check_all(
    owner: str, parameters: Mapping[str, Parameter], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every parameter with its checked value, defaults filled in.

    Raises:
        TypeError: for a name that the method does not have (the nearest ones are listed), or a
            value of the wrong type.
        ValueError: for a value outside of its range.
    """
    for name in values:
        if name not in parameters:
            raise unknown_name(owner, name, parameters)
    return {
        name: parameter.check(values[name]) if name in values else parameter.default
        for name, parameter in parameters.items()
    }


def unknown_name(owner: str, name: str, known: Mapping[str, Any]) -> TypeError:
    """The error for an argument that `owner` does not have."""
    close = difflib.get_close_matches(name, list(known), 1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    names = ", ".join(known) or "none"
    return TypeError(f'{owner} has no parameter "{name}".{hint} Its parameters: {names}.')


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _number(value: float) -> str:
    return f"{value:g}"
