"""The part of a network behind a place: its gradients, and many runs of it alone.

`gradients_at` runs the network once and builds no graph below the places: there the pass goes on
with a fresh leaf. The leaf is a copy, so that an in-place activation behind the place changes
neither the activation that is reported nor the point at which the gradient is taken.

`Head` runs the part behind the place alone, for any number of activations at once. A forward pass
is a Python program, not a list of modules, so it is not cut apart: it runs again as it is written,
but every operator before the place is answered from a record of the first pass instead of being
computed. Of that record only the tensors that were still in use when the place was reached are
kept (skip connections); all others are stood in for by empty ones of the same shape. The photo's
one row is shown as the number of rows that is asked for, so that code such as
``x.view(inputs.size(0), -1)`` works. The true activation is run along once and has to give the
photo's own scores; a network for which it does not, or whose head writes into the record, is run in
full from the photo instead: slower, never different.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xaiwidgets.engine.batching import Batcher, is_out_of_memory
from xaiwidgets.engine.gradients import Score
from xaiwidgets.engine.places import Place, swapped
from xaiwidgets.engine.survey import Surveyed

# What rows of one batch may hold in all; a head that keeps its weights busy wants many rows.
_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}
_MOST_ROWS = 64
_READS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "equal", "allclose"}


class At(NamedTuple):
    """A network at a place, for one photo.

    Attributes:
        activation: what the place gave, as a map `(C, h, w)`.
        gradient: of the score towards it, `(C, h, w)`.
        elsewhere: largest absolute gradient towards what is no part of the map (class token,
            registers), 0 for maps.
    """

    activation: Tensor
    gradient: Tensor
    elsewhere: float


def gradients_at(model: Surveyed, x: Tensor, places: list[Place], score: Score) -> list[At]:
    """Activations and gradients at some places, of one pass of the network.

    Args:
        model: the network.
        x: one normalized photo, `(1, C, H, W)`.
        places: all of the same precision.
        score: picks one number of each row of logits.

    Raises:
        ValueError: when the score does not depend on a place.
    """
    leaves: dict[int, Tensor] = {}

    def keep(index: int) -> Any:
        def replace(output: Tensor) -> Tensor:
            begins = not output.requires_grad
            node = output.detach().clone().requires_grad_(True) if begins else output.clone()
            leaves[index] = node
            # A copy of its own: what follows may work in place.
            return node.clone()

        return replace

    order = range(len(places))
    with torch.enable_grad(), swapped(model, places, [keep(index) for index in order]):
        total = score(model.logits(x, exact=places[0].exact)).sum()
    nodes = [leaves[index] for index in order]
    found: tuple[Tensor | None, ...] = (None,) * len(nodes)
    if total.requires_grad:
        found = torch.autograd.grad(total, nodes, allow_unused=True)
    result = []
    for place, node, gradient in zip(places, nodes, found, strict=True):
        if gradient is None:
            raise ValueError(
                f'The score does not depend on layer "{place.name}" through differentiable '
                "operations. Choose another layer, or a method that needs no gradient."
            )
        grid = place.grid
        part = grid.to_map(gradient)
        elsewhere = 0.0
        if grid.extra:
            count = grid.height * grid.width
            rest = (gradient[:, : grid.first], gradient[:, grid.first + count :])
            elsewhere = max(float(each.abs().max()) for each in rest if each.numel())
        result.append(At(grid.to_map(node.detach())[0], part[0], elsewhere))
    return result


def activation_at(model: Surveyed, x: Tensor, place: Place) -> Tensor:
    """What a place gives for one photo, as a map `(C, h, w)`; nothing behind it is run."""
    reached: list[Tensor] = []

    def stop(output: Tensor) -> Tensor:
        reached.append(output.detach())
        raise _Reached

    try:
        with torch.no_grad(), swapped(model, [place], [stop]):
            model.logits(x, exact=place.exact)
    except _Reached:
        pass
    return place.grid.to_map(reached[0])[0]


class _Reached(BaseException):
    """Leaves the forward pass; no network's own ``except Exception`` catches it."""


class _DivergedError(Exception):
    """The pass does not go as it was recorded."""


class Head:
    """The part of a network behind a place, for one photo.

    Args:
        model: the network.
        x: the normalized photo, `(1, C, H, W)`.
        place: where it begins.
        clean: the photo's own logits, `(K,)`.
    """

    def __init__(self, model: Surveyed, x: Tensor, place: Place, clean: Tensor) -> None:
        self.model = model
        self.place = place
        self.clean = clean
        self._x = x
        self._checked = False
        self._trunk: _Trunk | None = _Trunk(x)
        reached: list[Tensor] = []

        def stop(output: Tensor) -> Tensor:
            assert self._trunk is not None
            self._trunk.finish()
            reached.append(output.detach().clone())
            raise _Reached

        trunk = self._trunk
        try:
            # As in `logits`, or attention might take another path here than there.
            with torch.enable_grad(), trunk, swapped(model, [place], [stop]):
                model.logits(x, exact=place.exact)
        except _Reached:
            pass
        (self.output,) = reached

    @property
    def activation(self) -> Tensor:
        """What the place gives for the photo, as a map `(C, h, w)`."""
        return self.place.grid.to_map(self.output)[0]

    @property
    def alone(self) -> bool:
        """Whether the head runs alone, so far; otherwise the whole network does."""
        return self._trunk is not None

    def logits(self, maps: Tensor) -> Tensor:
        """Scores of all classes, `(N, K)`, with each of `maps`, `(N, C, h, w)`, at the place.

        Gradients flow back to `maps`.
        """
        rows = self.place.grid.from_map(maps, self.output)
        if self._trunk is not None:
            try:
                return self._alone(rows)
            except (RuntimeError, ValueError, IndexError, TypeError, _DivergedError) as error:
                if is_out_of_memory(error):
                    raise
                self._trunk = None
        with torch.enable_grad():
            return self._run(self._x.expand(len(rows), -1, -1, -1), rows)

    def _alone(self, rows: Tensor) -> Tensor:
        assert self._trunk is not None
        given = rows if self._checked else torch.cat([self.output, rows])
        self._trunk.rewind(len(given))
        photo = self._trunk.shown(self._x)
        # Outside of the record: switching gradients on is an operator too.
        with torch.enable_grad(), self._trunk:
            found = self._run(photo, given)
        if self._checked:
            return found
        clean = self.clean.to(found)
        # Rounding alone may differ, as the batch has another size.
        limit = 10 * torch.finfo(found.dtype).eps ** 0.5 * float(clean.abs().max())
        if not bool((found[0].detach() - clean).abs().max() <= limit):
            raise _DivergedError
        self._checked = True
        return found[1:]

    def _run(self, x: Tensor, rows: Tensor) -> Tensor:
        def replace(_output: Tensor) -> Tensor:
            if self._trunk is not None:
                self._trunk.passed = True
            # The caller's rows are not to be written to.
            return rows.clone()

        with swapped(self.model, [self.place], [replace]):
            return self.model.logits(x, exact=self.place.exact)

    def batches(self, total: int, maps: Any, size: int | None = None) -> Iterator[Any]:
        """Yield `(start, stop, logits on the CPU)` for `total` maps, batch by batch.

        Args:
            total: number of maps.
            maps: makes those from `start` to `stop`, `(stop - start, C, h, w)`.
            size: of the batches; `None` chooses it by the size of the activation.
        """
        room = _BYTES.get(self.output.device.type, _BYTES["cpu"])
        each = self.output.numel() * self.output.element_size()
        size = size or max(1, min(_MOST_ROWS, room // each))

        def evaluate(start: int, stop: int) -> Tensor:
            with torch.no_grad():
                rows = maps(start, stop)
            return self.logits(rows).detach().cpu()

        yield from Batcher(self.output.device, size).run(total, evaluate, first=size)


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


class _Trunk(TorchFunctionMode):
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
            raise _DivergedError
        self._rows, self._at, self.passed = rows, 0, False

    def shown(self, tensor: Tensor) -> Tensor:
        """A tensor of one row as the number of rows that is asked for."""
        if tensor.ndim and tensor.shape[0] == 1:
            return tensor.expand(self._rows, *tensor.shape[1:])
        return tensor

    def _answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._at >= len(self._calls):
            raise _DivergedError
        call = self._calls[self._at]
        self._at += 1
        if getattr(func, "__name__", "") != call.name:
            raise _DivergedError
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
