"""The part of a network behind a place, and many runs of it alone.

`Head` runs the part behind the place alone, for any number of activations at once: what comes
before it is answered from a record (`xaiwidgets.engine.trunk`). The true activation is run along
once and has to give the photo's own scores; a network for which it does not, or whose head writes
into the record, is run in full from the photo instead: slower, never different.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from xaiwidgets.engine.batching import Batcher, is_out_of_memory
from xaiwidgets.engine.places import Place, swapped
from xaiwidgets.engine.precision import widened
from xaiwidgets.engine.survey import Surveyed
from xaiwidgets.engine.trunk import DivergedError, Trunk

# What rows of one batch may hold in all; a head that keeps its weights busy wants many rows.
_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}
_MOST_ROWS = 64


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
    return widened(place.grid.to_map(reached[0])[0])


class _Reached(BaseException):
    """Leaves the forward pass; no network's own ``except Exception`` catches it."""


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
        self._trunk: Trunk | None = Trunk(x)
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
        return widened(self.place.grid.to_map(self.output)[0])

    @property
    def alone(self) -> bool:
        """Whether the head runs alone, so far; otherwise the whole network does."""
        return self._trunk is not None

    def logits(self, maps: Tensor) -> Tensor:
        """Scores of all classes, `(N, K)`, with each of `maps`, `(N, C, h, w)`, at the place.

        Gradients flow back to `maps`.
        """
        rows = self.place.grid.from_map(maps.to(self.output.dtype), self.output)
        if self._trunk is not None:
            try:
                return self._alone(rows)
            except (RuntimeError, ValueError, IndexError, TypeError, DivergedError) as error:
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
            raise DivergedError
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
