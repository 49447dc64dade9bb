"""The blocks that a network is built of: the layers of which a layer-wise method takes the mean."""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor, nn

from xaiwidgets.engine.folding import changed_by_folding
from xaiwidgets.engine.places import Place, gridded_steps
from xaiwidgets.engine.survey import Surveyed, survey


def block_places(model: Surveyed, x: Tensor, *, exact: bool = False) -> list[Place]:
    """The outputs of a network's blocks that are maps of the photo, in the order of the pass.

    Blocks are the largest kind of module that occurs several times and does half of the work or
    more, counted in operators (encoder layers, residual blocks, inception modules). A network that
    is not built of any is taken layer by layer: all that have weights of their own.

    Raises:
        ValueError: when no layer gives a map of the photo.
    """
    seen = survey(model, x, exact=exact)
    once = [(step, grid) for step, grid in gridded_steps(seen) if seen.uses[step.name] == 1]
    once.reverse()
    modules = {step.name: model.layer(step.name) for step, _ in once}
    kinds: dict[type, list[str]] = defaultdict(list)
    work: dict[type, int] = defaultdict(int)
    for step, _ in once:
        kind = type(modules[step.name])
        if kind is not nn.Sequential and any(True for _ in modules[step.name].children()):
            kinds[kind].append(step.name)
            work[kind] += step.ended - step.began
    built_of = [
        kind
        for kind, names in kinds.items()
        if len(names) > 1 and 2 * work[kind] >= len(seen.names)
    ]
    if built_of:
        largest = min(built_of, key=lambda kind: (len(kinds[kind]), -work[kind]))
        chosen = set(kinds[largest])
    else:
        chosen = {name for name, module in modules.items() if module._parameters}
    if not chosen:
        raise ValueError("The network has no layer with weights that gives a map of the photo.")
    exact = exact or any(changed_by_folding(model.fast, name) for name in chosen)
    return [Place(step.name, exact, grid) for step, grid in once if step.name in chosen]
