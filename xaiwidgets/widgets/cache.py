"""Finished results, so that a slider that comes back finds its picture."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

T = TypeVar("T")


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
        value = value.detach().cpu().contiguous().numpy()
    try:
        array = np.ascontiguousarray(value)
        if array.dtype != object:
            digest = hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
            return (array.shape, str(array.dtype), digest)
    except (TypeError, ValueError):
        pass
    return (type(value).__name__, str(value))
