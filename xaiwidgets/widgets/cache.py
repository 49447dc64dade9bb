"""Finished results, so that a slider that comes back finds its picture."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from xaiwidgets.goals import ById

T = TypeVar("T")

_OF_NUMPY = (torch.float16, torch.float32, torch.float64)
"""Types of floats that numpy has too."""


class Finished(Generic[T]):
    """Keeps the most recently used values, up to a number of bytes."""

    def __init__(self, limit: int = 64 << 20) -> None:
        self.limit = limit
        self.nbytes = 0
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> T | None:
        """The value, or None."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: Hashable, value: T, nbytes: int) -> None:
        """Keep a value of that size; one that is larger than the limit is not kept."""
        if key in self._kept:
            self.nbytes -= self._kept.pop(key)[1]
        if nbytes > self.limit:
            return
        self._kept[key] = (value, nbytes)
        self.nbytes += nbytes
        while self.nbytes > self.limit:
            _, (_, size) = self._kept.popitem(last=False)
            self.nbytes -= size

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.nbytes = 0


def fingerprint(value: Any) -> Hashable:
    """A key that is equal for equal parameters; arrays and images are told by their content."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, Image):
        # The same bytes are other colors with another palette or mode.
        parts = (value.mode, value.size, value.getpalette(None), value.info, value.tobytes())
        return ("image", *map(fingerprint, parts))
    if isinstance(value, list | tuple):
        # Each on its own: images of different sizes are no array.
        return (type(value).__name__, *map(fingerprint, value))
    if isinstance(value, Mapping):
        return ("map", *((name, fingerprint(each)) for name, each in value.items()))
    if isinstance(value, os.PathLike):
        return ("path", os.fspath(value))
    return _of_array(value)


def _of_tensor(value: Tensor) -> Hashable:
    # Others, such as bfloat16, are exact in float32.
    short = value.is_floating_point() and value.dtype not in _OF_NUMPY
    try:
        array = (value.float() if short else value).numpy(force=True)
    except (TypeError, RuntimeError):  # sparse ones, say
        return ById(value)
    return ("tensor", str(value.dtype), _digest(array))


def _of_array(value: Any) -> Hashable:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return ById(value)
    if not array.dtype.hasobject:
        return ("array", str(array.dtype), _digest(array))
    # Its text would not do: that of a large array leaves most of it out.
    return fingerprint(array.tolist()) if array.ndim else ById(value)


def _digest(array: NDArray[Any]) -> Hashable:
    return (array.shape, hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest())
