"""A place inside a network, and how to put something else there while the network runs.

A place is the output of one module, or, where a network goes on with functional code, the result
of one operator. The default place is the last one with spatial extent: the output of the last
module that gives a map, followed through functional activations and additions of the same shape,
so that ``relu(features(x))`` and ``nn.ReLU`` lead to the same place. For tokens it is the last
module whose patches the scores still depend on (behind it only the class token is read).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xaiwidgets.engine.folding import changed_by_folding
from xaiwidgets.engine.survey import Shape, Step, Survey, Surveyed, spatial_steps, survey
from xaiwidgets.engine.tokens import Grid, find_grid

_OTHER = "Choose another one of model.layers(), or None for the last one with spatial extent."


@dataclass(frozen=True)
class Place:
    """Where in a network.

    Attributes:
        name: of the module whose output it is, or which came last before it.
        exact: whether the network must be run as it is written, because folding changes what
            this module gives.
        grid: how its output lies on the photo.
        use: which use of the module, 1 for the first.
        result: shape without batch axis and number among the results of that shape, where the
            place is an operator's result.
    """

    name: str
    exact: bool
    grid: Grid
    use: int = 1
    result: tuple[Shape, int] | None = None


def named_place(model: Surveyed, x: Tensor, name: str, *, exact: bool = False) -> Place:
    """The output of a module.

    Raises:
        ValueError: for a module that is not there, is not reached, runs several times, gives no
            single tensor, or one that is no map of the photo.
    """
    model.layer(name)
    exact = exact or changed_by_folding(model.fast, name)
    seen = survey(model, x, exact=exact)
    uses = seen.uses[name]
    if uses != 1:
        said = f"runs {uses} times in one pass" if uses else "is not reached by a forward pass"
        raise ValueError(f'Layer "{name}" {said}. {_OTHER}')
    step = seen.last(name)
    if step.shape is None:
        raise ValueError(f'Layer "{name}" gives a {step.kind}, not one tensor. {_OTHER}')
    try:
        grid = find_grid(step.shape, seen, step.ended)
    except ValueError as error:
        raise ValueError(f'Layer "{name}" cannot be shown on the photo: {error}.') from error
    if grid.height * grid.width == 1:
        raise ValueError(f'Layer "{name}" has no spatial extent any more (1x1). {_OTHER}')
    return Place(name, exact, grid)


def last_place(
    model: Surveyed, x: Tensor, *, exact: bool = False, scores: int | None = None
) -> Place:
    """The last place with spatial extent that the scores depend on.

    Args:
        model: the network.
        x: one normalized photo, `(1, C, H, W)`.
        exact: run the network without conv-BN folding.
        scores: channels of a map that is no layer to be looked at, as it is the network's answer.

    Raises:
        ValueError: when there is none.
    """
    seen = survey(model, x, exact=exact)
    tokens: list[tuple[Step, Grid]] = []
    other = None
    for step, grid in gridded_steps(seen):
        if grid.kind == "channels first" and step.shape is not None and step.shape[1] == scores:
            continue
        if grid.kind != "tokens":
            other = _followed(model, step, grid, seen, exact)
            break
        tokens.append((step, grid))
    place = (_influential(model, x, tokens, exact) if tokens else None) or other
    if place is None:
        raise ValueError(
            "The network has no layer with spatial extent that its scores depend on. Use a method "
            "that needs none, such as saliency, integrated_gradients or occlusion."
        )
    return place


def depths(model: Surveyed, x: Tensor) -> dict[str, int]:
    """How deep each module lies that `named_place` takes, 0 first.

    A module and the last one inside of it lie equally deep where they give the same map.
    """
    seen = survey(model, x, exact=True)  # folding would give several modules the same map
    found: dict[str, int] = {}
    last: tuple[int, Shape | None] | None = None
    for step, _ in reversed(list(gridded_steps(seen))):
        if seen.uses[step.name] != 1:
            continue
        here = (step.ended, step.shape)
        found[step.name] = len(set(found.values())) - (here == last)
        last = here
    return found


def gridded_steps(seen: Survey) -> Iterator[tuple[Step, Grid]]:
    """Modules that gave a map of the photo, last first."""
    for step in spatial_steps(seen):
        assert step.shape is not None
        try:
            grid = find_grid(step.shape, seen, step.ended)
        except ValueError:
            continue
        if grid.height * grid.width > 1:
            yield step, grid


def _followed(model: Surveyed, step: Step, grid: Grid, seen: Survey, exact: bool) -> Place:
    """The output of `step`, or the last result of its shape that functional code made of it."""
    assert step.shape is not None
    shape = step.shape[1:]
    results = seen.results.get(shape, [])
    if results and results[-1] >= step.began:
        return Place(step.name, exact, grid, step.use, (shape, len(results)))
    return Place(step.name, exact or changed_by_folding(model.fast, step.name), grid, step.use)


def _influential(
    model: Surveyed, x: Tensor, tokens: list[tuple[Step, Grid]], exact: bool
) -> Place | None:
    """The last module whose patches the scores depend on, by one gradient."""
    places = [Place(step.name, exact, grid, step.use) for step, grid in tokens]
    kept: dict[int, Tensor] = {}

    def keeper(index: int) -> Callable[[Tensor], Tensor]:
        def keep(output: Tensor) -> Tensor:
            kept[index] = output if output.requires_grad else output.detach().requires_grad_(True)
            return kept[index].clone()

        return keep

    with torch.enable_grad(), swapped(model, places, [keeper(i) for i in range(len(places))]):
        logits = model.logits(x, exact=exact)
        # Of all classes at once, none of which can cancel another.
        mixed = (logits * torch.linspace(1, 2, logits.shape[1]).to(logits)).sum()
    order = sorted(kept)
    if not mixed.requires_grad:
        return None
    nodes = [kept[index] for index in order]
    found: tuple[Tensor | None, ...] = torch.autograd.grad(mixed, nodes, allow_unused=True)
    for index, gradient in zip(order, found, strict=True):
        if gradient is not None and bool(places[index].grid.to_map(gradient).any()):
            return places[index]
    return None


@contextmanager
def swapped(
    model: Surveyed, places: list[Place], replace: list[Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """While the network runs in this thread, let each place give what `replace` makes of it.

    Raises:
        ValueError: at the end, when a place was not reached.
    """
    thread = threading.get_ident()
    reached = [0] * len(places)
    handles: list[Any] = []
    net = model.net if places[0].exact else model.fast

    def swap(index: int, output: Any) -> Any:
        reached[index] += 1
        with results.paused():
            return replace[index](output)

    def hook_of(index: int) -> Any:
        count = 0

        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            nonlocal count
            # Another thread may be running the same network.
            if threading.get_ident() != thread:
                return None
            count += 1
            return swap(index, output) if count == places[index].use else None

        return hook

    of_results = {place.result: i for i, place in enumerate(places) if place.result is not None}
    results = _Results(of_results, swap)
    try:
        for index, place in enumerate(places):
            if place.result is None:
                module = net.get_submodule(place.name)
                handles.append(module.register_forward_hook(hook_of(index)))
        if of_results:
            with results:
                yield
        else:
            yield
    finally:
        for handle in handles:
            handle.remove()
    for place, times in zip(places, reached, strict=True):
        if times != 1:
            raise ValueError(
                f'Layer "{place.name}" was reached {times} times where 1 was expected: the network '
                f"does not do the same in every pass. {_OTHER}"
            )


class _Results(TorchFunctionMode):
    """Puts something else in the place of certain operators' results."""

    def __init__(
        self, wanted: dict[tuple[Shape, int], int], swap: Callable[[int, Any], Any]
    ) -> None:
        super().__init__()
        self._wanted = wanted
        self._swap = swap
        self._counts = dict.fromkeys((shape for shape, _ in wanted), 0)
        self._paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it nothing counts: what is done to a result is no operator of the network."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not self._paused:
            shape = tuple(result.shape[1:])
            if shape in self._counts:
                self._counts[shape] += 1
                index = self._wanted.get((shape, self._counts[shape]))
                if index is not None:
                    return self._swap(index, result)
        return result
