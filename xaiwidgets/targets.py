"""Which class is meant: an index or a name."""

from __future__ import annotations

import difflib
import operator
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

_SHOWN = 5


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
        f"A class is given by its index (a whole number) or its name, not by {target!r} "
        f"({type(target).__name__})."
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
