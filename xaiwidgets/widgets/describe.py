"""What a widget class says of itself, read from its method."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

from xaiwidgets.methods.params import Parameter
from xaiwidgets.methods.registry import MethodSpec
from xaiwidgets.model import Model

_TEXT = """{first}

Args:
    model: an `xaiwidgets.Model`.
    image: a path, PIL image, array or tensor.
    target: class by index or name; None takes the one with the highest score.
    seed: of everything random.
{parameters}

Raises:
    ValueError, TypeError: for a photo, class or parameter that cannot be used.

`result.attribution`, as `xaiwidgets.explain(model, image, "{name}")` gives it:

{method}

Needs {needs}.

{paper}. {url}
"""


def text(spec: MethodSpec, arguments: Iterable[Parameter], first: str | None = None) -> str:
    """The docstring, beginning with what a class says of itself."""
    return _TEXT.format(
        first=first or f"{spec.title}, live: sliders move, the picture follows.",
        name=spec.name,
        parameters="\n".join(map(_argument, arguments)),
        method=textwrap.indent(inspect.getdoc(spec.function) or "", "    "),
        needs=spec.needs,
        paper=spec.paper,
        url=spec.url,
    )


def _argument(parameter: Parameter) -> str:
    told = f"{parameter.name}: {parameter.allowed}; {parameter.default!r} by default."
    return textwrap.fill(
        f"{told} {parameter.help or parameter.label}",
        98,
        initial_indent="    ",
        subsequent_indent="        ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def signature(arguments: Iterable[Parameter]) -> inspect.Signature:
    """How the class is called, for help and for completion."""
    either, named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("model", either, annotation=Model),
            inspect.Parameter("image", either, annotation=Any),
            inspect.Parameter("target", either, default=None, annotation=Any),
            inspect.Parameter("seed", named, default=0, annotation=int),
            *(
                inspect.Parameter(each.name, named, default=each.default, annotation=_type(each))
                for each in arguments
            ),
        ]
    )


def _type(parameter: Parameter) -> Any:
    if parameter.also is not None:
        return Any
    types = {"float": float, "int": int, "flag": bool, "choice": str, "layer": str | None}
    return types[parameter.kind]
