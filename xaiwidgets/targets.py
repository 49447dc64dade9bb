"""What is asked about: a class, several, one and not another, a region, or any number.

A class is an index or a name. `resolve_target` turns what the user gives into what is kept: names
become indices, everything else stays as it is, so that a resolved target can be given again.
"""

from __future__ import annotations

import difflib
import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from xaiwidgets.region import Region

_SHOWN = 5

Target: TypeAlias = Any
"""A resolved target: `int`, `tuple` of them, `Difference`, `Region`, or a callable."""


@dataclass(frozen=True)
class Difference:
    """Why one class and not another: the score of the first minus that of the second.

    Args:
        why: class by index or name; several of them count with their sum; `None` takes the one
            with the highest score.
        why_not: likewise, without `None`.
    """

    why: Any
    why_not: Any


def kind_of(target: Target) -> str:
    """One of "class", "classes" (their sum), "difference", "output" (region or callable)."""
    if isinstance(target, int):
        return "class"
    if isinstance(target, tuple):
        return "classes"
    return "difference" if isinstance(target, Difference) else "output"


def reads_output(target: Any) -> bool:
    """Whether a target, as the user gave it, is no matter of classes alone."""
    return isinstance(read_plain(target), Region) or (
        callable(target) and not isinstance(target, type)
    )


def resolve_target(target: Any, logits: Tensor, categories: Sequence[str] | None) -> Target:
    """Classes by their index, from whatever names them.

    Args:
        target: a class by index or name; a list of classes; a `Difference`; `None` for the class
            with the highest score; or what `to_plain` made of one of them.
        logits: of the photo, `(K,)`.
        categories: names of the classes, or `None`.

    Raises:
        ValueError, TypeError: as `resolve`, and for the same class twice.
    """
    target = read_plain(target)
    if isinstance(target, Difference):
        if target.why_not is None:
            raise ValueError("Difference needs a class as its second, by index or name, not None.")
        why = resolve_target(target.why, logits, categories)
        why_not = resolve_target(target.why_not, logits, categories)
        _check_different(_indices(why) + _indices(why_not))
        return Difference(why, why_not)
    if isinstance(target, list | tuple):
        if not target:
            raise ValueError("A list of classes must hold at least one, by index or name.")
        several = tuple(resolve(each, logits.shape[-1], categories) for each in target)
        _check_different(several)
        return several if len(several) > 1 else several[0]
    if target is None:
        return int(logits.argmax())
    return resolve(target, logits.shape[-1], categories)


def to_plain(target: Target) -> Any:
    """A resolved target as plain values, which `read_plain` takes: JSON, but for the bytes of a
    region's mask. A callable can only be named."""
    if isinstance(target, int):
        return target
    if isinstance(target, tuple):
        return list(target)
    if isinstance(target, Difference):
        return {"why": to_plain(target.why), "why_not": to_plain(target.why_not)}
    if isinstance(target, Region):
        return {"region": target.plain, "category": target.category}
    return {"function": name_of(target)}


def name_of(function: Any) -> str:
    """What a callable target is called on display."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return "a function of the output" if name == "<lambda>" else str(name)


def read_plain(target: Any) -> Any:
    """What `to_plain` made a dictionary of; anything else as it is."""
    if isinstance(target, Mapping):
        if set(target) == {"why", "why_not"}:
            return Difference(target["why"], target["why_not"])
        if set(target) == {"region", "category"}:
            return Region.from_plain(target["region"], target["category"])
    return target


def _indices(target: Any) -> tuple[int, ...]:
    if isinstance(target, Difference):
        raise TypeError("A Difference is made of classes, not of other differences.")
    return target if isinstance(target, tuple) else (target,)


def _check_different(indices: tuple[int, ...]) -> None:
    if len(set(indices)) < len(indices):
        raise ValueError(f"A class is named twice in the target: {list(indices)}.")


def resolve(target: Any, count: int, categories: Sequence[str] | None) -> int:
    """The index of a class.

    Args:
        target: an index from 0 to `count - 1` (Python, numpy or 0-d tensor), or a name: exactly
            as it is written in `categories`, else whatever its case.
        count: number of classes.
        categories: their names, or `None`.

    Raises:
        ValueError: for an index out of range, or a name that is unknown or stands for several
            classes; the nearest ones are listed.
        TypeError: for anything else, True and 1.0 included.
    """
    if isinstance(target, str):
        return _by_name(target, categories)
    index = _whole(target)
    if not 0 <= index < count:
        raise ValueError(
            f"Class {index} is out of range: the model has {count} classes, "
            f"given by an index from 0 to {count - 1} or by name."
        )
    return index


def check_names(categories: Any) -> tuple[str, ...]:
    """Return the names of the classes, one for each, or raise.

    Raises:
        TypeError: when they are not a list of names.
    """
    names = tuple(categories) if isinstance(categories, Iterable) else ()
    if not names or isinstance(categories, str) or not all(isinstance(n, str) for n in names):
        raise TypeError(
            "categories must be a list of names, one for each class, "
            f"not {reprlib.repr(categories)}."
        )
    return names


def nearest(name: str, names: Sequence[str], count: int = _SHOWN) -> list[str]:
    """The entries of `names` that look most like `name`, the likeliest first."""
    wanted = name.casefold().strip()
    by_folded = {each.casefold(): each for each in reversed(names)}
    parts = [f for f in by_folded if wanted and (wanted in f or f in wanted)]
    parts.sort(key=lambda folded: abs(len(folded) - len(wanted)))
    alike = difflib.get_close_matches(wanted, by_folded, n=count, cutoff=0.6)
    if not parts and not alike:
        alike = difflib.get_close_matches(wanted, by_folded, n=count, cutoff=0.3)
    found = dict.fromkeys([*parts[:count], *alike])
    ranked = sorted(found, key=lambda f: -difflib.SequenceMatcher(None, wanted, f).ratio())
    return [by_folded[folded] for folded in ranked[:count]]


def _whole(target: Any) -> int:
    refused = isinstance(target, bool | np.bool_)
    if isinstance(target, Tensor | np.ndarray):
        refused = target.ndim != 0 or "bool" in str(target.dtype)
    try:
        if not refused:
            return operator.index(target)
    except TypeError:
        pass
    raise TypeError(
        f"A class is given by its index (a whole number) or its name, not by "
        f"{reprlib.repr(target)} ({type(target).__name__})."
    )


def _by_name(name: str, categories: Sequence[str] | None) -> int:
    if not categories:
        raise ValueError(
            f"The model has no class names, so {name!r} cannot be found. Give the class by its "
            "index, or give Model categories=[...]."
        )
    found = [index for index, each in enumerate(categories) if each == name]
    if not found:
        folded = name.casefold().strip()
        found = [i for i, each in enumerate(categories) if each.casefold().strip() == folded]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{index} ({categories[index]!r})" for index in found[:_SHOWN])
        raise ValueError(
            f"The name {name!r} stands for {len(found)} classes: {listed}. "
            "Give the index of the one you mean."
        )
    raise ValueError(f"There is no class {name!r}. Nearest names: {_listed(name, categories)}.")


def _listed(name: str, categories: Sequence[str]) -> str:
    close = nearest(name, categories)
    if not close:
        return f"none; the first is {categories[0]!r}"
    return ", ".join(f"{each!r} ({categories.index(each)})" for each in close)
