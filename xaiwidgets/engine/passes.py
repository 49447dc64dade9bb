"""One forward pass that answers many questions: gradients at the input and at places inside.

A `Pass` runs the network once. Whatever score is asked for, one way back gives the gradient at the
input and at all places together. Where the input is not asked for, no graph is built below the
places: there the pass goes on with a fresh leaf. What is kept of a place is a copy, so that an
in-place activation behind it changes neither the activation that is reported nor the point at which
the gradient is taken.

`Shared` keeps such passes of one photo while several methods ask about it. It never decides what an
answer is: what it cannot give, it leaves to the method, which then runs the network by itself.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Network, Score
from xaiwidgets.engine.places import Place, swapped
from xaiwidgets.engine.precision import widened
from xaiwidgets.engine.rectifiers import Acted, Gate, RectifiedPass
from xaiwidgets.engine.rules import score_gradient
from xaiwidgets.engine.survey import Surveyed

T = TypeVar("T")

log = logging.getLogger("xaiwidgets")

# Scores whose gradients are kept: one class is asked about by many methods, one after the other.
_SCORES = 2


class Runs(Network, Surveyed, Protocol):
    """A model that can be run and surveyed."""


def _key(start: Tensor) -> bytes:
    """Equal for scores with the same derivative by each logit."""
    return start.cpu().to(torch.float64).numpy().tobytes()


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


class Pulled(NamedTuple):
    """What one way back gave: the gradient at the input, if that was asked for, and at places."""

    input: Tensor | None
    places: dict[Place, Tensor | None]


class Pass:
    """One forward pass, and the gradients of any score of it.

    Args:
        model: the network.
        x: one normalized photo, `(1, C, H, W)`.
        places: all run with the same precision.
        exact: run the network without conv-BN folding.
        inputs: the gradient at the input will be asked for too.
    """

    def __init__(
        self, model: Runs, x: Tensor, places: Sequence[Place], *, exact: bool, inputs: bool
    ) -> None:
        self._model = model
        self._nodes: dict[Place, Tensor] = {}
        self._input: Tensor | None = None
        if inputs:
            x = x.detach().contiguous(memory_format=model.memory_format).requires_grad_(True)
            self._input = x

        def keep(place: Place) -> Callable[[Tensor], Tensor]:
            def replace(output: Tensor) -> Tensor:
                begins = not output.requires_grad
                node = output.detach().clone().requires_grad_(True) if begins else output.clone()
                self._nodes[place] = node
                # A copy of its own: what follows may work in place.
                return node.clone()

            return replace

        wanted = list(dict.fromkeys(places))
        inside = swapped(model, wanted, [keep(place) for place in wanted]) if wanted else None
        with torch.enable_grad(), inside or nullcontext():
            self._logits = model.logits(x, exact=exact)

    @property
    def logits(self) -> Tensor:
        """Of the photo, `(1, K)`."""
        return self._logits.detach()

    def activation(self, place: Place) -> Tensor:
        """What a place gave, as a map `(C, h, w)`."""
        return widened(place.grid.to_map(self._nodes[place].detach())[0])

    def pull(self, score: Score, *, again: bool = False) -> Pulled:
        """Send a score back through the network.

        Args:
            score: picks one number of each row of logits.
            again: more will be asked for, so that the graph must stay.
        """
        nodes = list(self._nodes.values())
        ends = nodes if self._input is None else [self._input, *nodes]
        found: tuple[Tensor | None, ...] = (None,) * len(ends)
        with torch.enable_grad():
            total = score(self._logits).sum()
        if total.requires_grad:
            with self._model.running():
                found = torch.autograd.grad(total, ends, retain_graph=again, allow_unused=True)
        of_input = None if self._input is None else found[0]
        return Pulled(
            of_input, dict(zip(self._nodes, found[len(ends) - len(nodes) :], strict=True))
        )

    def at(self, place: Place, pulled: Pulled) -> At:
        """Activation and gradient of a place.

        Raises:
            ValueError: when the score does not depend on it.
        """
        gradient = pulled.places[place]
        if gradient is None:
            raise ValueError(
                f'The score does not depend on layer "{place.name}" through differentiable '
                "operations. Choose another layer, or a method that needs no gradient."
            )
        grid = place.grid
        elsewhere = 0.0
        if grid.extra:
            count = grid.height * grid.width
            rest = (gradient[:, : grid.first], gradient[:, grid.first + count :])
            elsewhere = max(float(each.abs().max()) for each in rest if each.numel())
        return At(self.activation(place), widened(grid.to_map(gradient)[0]), elsewhere)


def gradients_at(model: Runs, x: Tensor, places: list[Place], score: Score) -> list[At]:
    """Activations and gradients at some places, of one pass of the network.

    Args:
        model: the network.
        x: one normalized photo, `(1, C, H, W)`.
        places: all of the same precision.
        score: picks one number of each row of logits.

    Raises:
        ValueError: when the score does not depend on a place.
    """
    run = Pass(model, x, places, exact=places[0].exact, inputs=False)
    pulled = run.pull(score)
    return [run.at(place, pulled) for place in places]


class Shared:
    """Passes of one photo through one network, for several methods and scores.

    Every answer is the one that a pass of its own would give, or `None` where there is none here.

    Args:
        model: the network.
        x: the normalized photo, `(1, C, H, W)`.
        places: inside of the network that will be asked about.
        inputs: the gradient at the input will be asked for.
        exact: run the network without conv-BN folding, where a place does not demand it anyway.
    """

    def __init__(
        self, model: Runs, x: Tensor, places: Sequence[Place], *, inputs: bool, exact: bool
    ) -> None:
        self._model = model
        self._x = x
        self._exact = exact
        self._inputs = inputs
        self._places = list(dict.fromkeys(places))
        self._passes: dict[bool, Pass | None] = {}
        self._pulled: OrderedDict[tuple[bool, bytes], Pulled] = OrderedDict()
        self._rectified: RectifiedPass | None = None
        self._backs: OrderedDict[tuple[Gate, bytes], tuple[Tensor, Acted]] = OrderedDict()
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave at the first call with `key`."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def keep(self, known: dict[str, Any]) -> None:
        """Answer `once` with what is known already."""
        self._kept.update(known)

    def logits(self) -> Tensor | None:
        """Of the photo, `(1, K)`."""
        run = self._pass(self._exact)
        return None if run is None else run.logits

    def gradient(self, score: Score) -> Tensor | None:
        """Of a score at the input, `(1, C, H, W)`."""
        found = self._pull(self._exact, score) if self._inputs else None
        return None if found is None else found[1].input

    def at(self, places: Sequence[Place], score: Score) -> list[At] | None:
        """Activations and gradients at places of the same precision.

        Raises:
            ValueError: when the score does not depend on a place.
        """
        if not places or not set(places) <= set(self._places):
            return None
        found = self._pull(places[0].exact, score)
        if found is None:
            return None
        run, pulled = found
        return [run.at(place, pulled) for place in places]

    def activation(self, place: Place) -> Tensor | None:
        """What a place gave, as a map `(C, h, w)`."""
        run = self._pass(place.exact) if place in self._places else None
        return None if run is None else run.activation(place)

    def rectified(self, score: Score, gate: Gate, title: str) -> tuple[Tensor, Acted]:
        """As `xaiwidgets.engine.rectifiers.rectified`, all rules and scores after one pass."""
        if self._rectified is None:
            self._rectified = RectifiedPass(self._model, self._x, exact=self._exact)
        key = (gate, _key(score_gradient(score)(self._rectified.logits)))
        if key not in self._backs:
            self._backs[key] = self._rectified.back(score, gate, title, again=True)
        self._backs.move_to_end(key)
        while len(self._backs) > _SCORES:
            self._backs.popitem(last=False)
        return self._backs[key]

    def free(self) -> None:
        """Give up everything that takes memory."""
        self._passes.clear()
        self._pulled.clear()
        self._backs.clear()
        self._kept.clear()
        self._rectified = None

    def _pass(self, exact: bool) -> Pass | None:
        if exact not in self._passes:
            places = [place for place in self._places if place.exact == exact]
            inputs = self._inputs and exact == self._exact
            try:
                run = Pass(self._model, self._x, places, exact=exact, inputs=inputs)
            except Exception:
                # Whoever needs it runs the network alone, and says there what is wrong.
                log.debug("No pass could be shared.", exc_info=True)
                run = None
            self._passes[exact] = run
        return self._passes[exact]

    def _pull(self, exact: bool, score: Score) -> tuple[Pass, Pulled] | None:
        run = self._pass(exact)
        if run is None:
            return None
        try:
            key = (exact, _key(score_gradient(score)(run.logits)))
            if key not in self._pulled:
                self._pulled[key] = run.pull(score, again=True)
            self._pulled.move_to_end(key)
        except Exception:
            log.debug("No gradient could be shared.", exc_info=True)
            return None
        while len(self._pulled) > _SCORES:
            self._pulled.popitem(last=False)
        return run, self._pulled[key]
