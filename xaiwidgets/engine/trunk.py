"""A record of the operators up to a place in a network, and answers from it.

A forward pass is a Python program, not a list of modules, so it cannot be cut apart. It is run
again as it is written instead, but every operator before the place is answered from the record of
a first pass and computes nothing. Of the record only the tensors that were still in use when the
place was reached are kept (skip connections); all others are stood in for by empty ones of the same
shape. What follows from the photo, one row, is shown as the number of rows that is asked for, so
that code such as ``x.view(inputs.size(0), -1)`` works.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from torch.overrides import TorchFunctionMode

_READS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "equal", "allclose"}


class DivergedError(Exception):
    """The pass does not go as it was recorded."""


class _Call(NamedTuple):
    """An operator of the trunk, and how to answer for it."""

    name: str
    results: list[Any]
    several: type | None
    """Type of the sequence that it gave; `None` for a single value."""


class _Stored(NamedTuple):
    tensor: Tensor
    follows_photo: bool


class _Given(NamedTuple):
    """The operator gave back one of its arguments: in place, or nothing to do."""

    position: int


class _Live:
    """A size or a flag: asked anew, as the number of rows differs."""


class Trunk(TorchFunctionMode):
    """Records the operators up to a place, and answers for them from then on."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.passed = False
        self._calls: list[_Call] = []
        self._following = _Tensors()
        self._following.add(x)
        self._versions: list[tuple[Tensor, int]] = []
        self._at = -1
        self._rows = 1

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.passed:
            return func(*args, **kwargs)
        if self._at < 0:
            return self._record(func, args, kwargs)
        return self._answer(func, args, kwargs)

    # --- recording

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = [*_flat(args), *_flat(kwargs.values())]
        follows = any(tensor in self._following for tensor in given)
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        several = type(result) if isinstance(result, tuple | list) else None
        values = result if several else (result,)
        if not any(isinstance(value, Tensor) for value in values):
            if follows and given and (name.endswith("_") or name == "__setitem__"):
                self._following.add(given[0])
            known = name in _READS or name == "__setitem__"
            self._calls.append(_Call(name, [result if known else _Live()], None))
            return result
        notes: list[Any] = []
        for value in values:
            if not isinstance(value, Tensor):
                notes.append(value)
                continue
            if follows:
                self._following.add(value)
            same = [index for index, tensor in enumerate(given) if tensor is value]
            notes.append(_Given(same[0]) if same else _Weak(value, follows))
        self._calls.append(_Call(name, notes, several))
        return result

    def finish(self) -> None:
        """Keep what is still in use; forget the rest."""
        self.passed = True
        for call in self._calls:
            call.results[:] = [
                self._settled(note) if isinstance(note, _Weak) else note for note in call.results
            ]
        self._following = _Tensors()

    def _settled(self, note: _Weak) -> _Stored:
        tensor = note.tensor()
        if tensor is None:
            return _Stored(note.empty(), note.follows_photo)
        self._versions.append((tensor, tensor._version))
        return _Stored(tensor, note.follows_photo)

    # --- answering

    def rewind(self, rows: int) -> None:
        """Make ready for one more pass, of `rows` rows."""
        if any(tensor._version != version for tensor, version in self._versions):
            raise DivergedError
        self._rows, self._at, self.passed = rows, 0, False

    def shown(self, tensor: Tensor) -> Tensor:
        """A tensor of one row as the number of rows that is asked for."""
        if tensor.ndim and tensor.shape[0] == 1:
            return tensor.expand(self._rows, *tensor.shape[1:])
        return tensor

    def _answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._at >= len(self._calls):
            raise DivergedError
        call = self._calls[self._at]
        self._at += 1
        if getattr(func, "__name__", "") != call.name:
            raise DivergedError
        if isinstance(call.results[0], _Live):
            return func(*args, **kwargs)
        given = [*_flat(args), *_flat(kwargs.values())]
        found = []
        for note in call.results:
            if isinstance(note, _Given):
                found.append(given[note.position])
            elif isinstance(note, _Stored):
                found.append(self.shown(note.tensor) if note.follows_photo else note.tensor)
            else:
                found.append(note)
        return found[0] if call.several is None else call.several(found)


class _Weak:
    """A result that is kept only as long as somebody else keeps it."""

    def __init__(self, tensor: Tensor, follows_photo: bool) -> None:
        self.tensor = weakref.ref(tensor)
        self.follows_photo = follows_photo
        self._shape = tensor.shape
        self._like = tensor.new_empty(())

    def empty(self) -> Tensor:
        """A stand-in of the same shape that takes no memory."""
        return self._like.expand(self._shape)


class _Tensors:
    """A set of tensors that does not keep them alive."""

    def __init__(self) -> None:
        self._known: dict[int, weakref.ref[Tensor]] = {}

    def add(self, tensor: Tensor) -> None:
        self._known[id(tensor)] = weakref.ref(tensor)

    def __contains__(self, tensor: Tensor) -> bool:
        found = self._known.get(id(tensor))
        # An identity may have been taken over by a later tensor.
        return found is not None and found() is tensor


def _flat(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _flat(value)
