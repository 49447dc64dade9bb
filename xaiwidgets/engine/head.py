"""The part of a network behind a place: its gradients, and many runs of it alone.

`gradients_at` runs the network once and builds no graph below the places: there the pass goes on
with a fresh leaf. The leaf is a copy, so that an in-place activation behind the place changes
neither the activation that is reported nor the point at which the gradient is taken.

`Head` runs the part behind the place alone, for any number of activations at once: what comes
before it is answered from a record (`xaiwidgets.engine.trunk`). The true activation is run along
once and has to give the photo's own scores; a network for which it does not, or whose head writes
into the record, is run in full from the photo instead: slower, never different.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xaiwidgets.engine.batching import Batcher, is_out_of_memory
from xaiwidgets.engine.gradients import Score
from xaiwidgets.engine.places import Place, swapped
from xaiwidgets.engine.survey import Surveyed
from xaiwidgets.engine.trunk import DivergedError, Trunk

# What rows of one batch may hold in all; a head that keeps its weights busy wants many rows.
_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}
_MOST_ROWS = 64


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
