"""The cells of a plan, computed in any order; what several of them need is computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from xaiwidgets.comparison.plan import Cell, Chosen, Plan
from xaiwidgets.engine.passes import Shared
from xaiwidgets.engine.places import Place
from xaiwidgets.explanation import Explanation, estimates, finished, make_task, retarget
from xaiwidgets.inside.deep_dream import check_seed
from xaiwidgets.methods.cams import blocks_of, place_of
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.model import Model, Prepared
from xaiwidgets.targets import reads_output

# Models and photos whose passes are kept at a time: a graph of a large network takes a lot.
_KEPT = 2
_CLASSES = -1
"""Stands for all targets that are a matter of classes."""


class Runner:
    """Computes the cells of a plan, in any order; not by several threads at once.

    Args:
        plan: what is compared.
        seed: of everything random.
        precision: of the networks, see `Model.precise`; `None` leaves each as it is set.

    Raises:
        ValueError: for a precision that one of the models cannot have.
    """

    def __init__(self, plan: Plan, *, seed: int = 0, precision: str | None = None) -> None:
        self.plan = plan
        self._seed = check_seed(seed)
        self._precision = precision
        for index in range(len(plan.axes["model"])):
            self._model(index)
        self._prepared: dict[tuple[int, int], Prepared] = {}
        self._bases: dict[tuple[int, int], Task] = {}
        self._tasks: dict[tuple[int, int, int], Task] = {}
        self._shared: OrderedDict[tuple[int, int, int], Shared | None] = OrderedDict()

    def prepared(self, model: int, image: int) -> Prepared:
        """A photo as a model sees it."""
        pair = (model, image)
        if pair not in self._prepared:
            value = self.plan.axes["image"][image].value
            self._prepared[pair] = self.plan.model(model).prepare(value)
        return self._prepared[pair]

    def base(self, model: int, image: int) -> Task:
        """The task of a photo and a model, for the class with the highest score."""
        pair = (model, image)
        if pair not in self._bases:
            shared = self._shared.get((*pair, _CLASSES))
            self._bases[pair] = make_task(
                self._model(model),
                self.prepared(model, image),
                seed=self._seed,
                logits=shared.logits() if shared else None,
            )
        return self._bases[pair]

    def task(self, cell: Cell) -> Task:
        """What the method of a cell is given.

        Raises:
            ValueError: for a class that this model does not have.
        """
        asked = (cell.model, cell.image, cell.target)
        if asked not in self._tasks:
            base = self.base(cell.model, cell.image)
            self._tasks[asked] = retarget(base, self.plan.axes["target"][cell.target].value)
        return self._tasks[asked]

    def steps(self, cell: Cell) -> Iterator[Estimate]:
        """Ever better estimates of a cell.

        Raises:
            ValueError: where the method cannot explain the network, or the class is not there.
        """
        shared = self._share(cell)
        chosen = self.plan.method(cell.method)
        task = replace(self.task(cell), shared=shared)
        return estimates(task, chosen.spec.name, chosen.params)

    def finished(self, cell: Cell, last: Estimate, seconds: float) -> Explanation:
        """The explanation that the last estimate of a cell makes."""
        chosen = self.plan.method(cell.method)
        return finished(self.task(cell), chosen.spec.name, chosen.params, last, seconds)

    def free(self) -> None:
        """Give up the passes, and models that read a target off their output.

        What those have learned of a photo takes as much again for each; tasks are remade on demand.
        """
        for shared in self._shared.values():
            if shared is not None:
                shared.free()
        self._shared.clear()
        kept = {asked: t for asked, t in self._tasks.items() if t.score.kind != "output"}
        self._tasks = kept

    def _model(self, index: int) -> Model:
        model = self.plan.model(index)
        return model if self._precision is None else model.precise(self._precision)

    def _share(self, cell: Cell) -> Shared | None:
        """Passes for all classes together, and for each target that reads the network's output."""
        targets = [item.value for item in self.plan.axes["target"]]
        reads = reads_output(targets[cell.target])
        group = (cell.model, cell.image, cell.target if reads else _CLASSES)
        if group not in self._shared:
            while len(self._shared) >= _KEPT:
                _, oldest = self._shared.popitem(last=False)
                if oldest is not None:
                    oldest.free()
            if reads:
                task, count = self.task(cell), 1
            else:
                # Its logits come from what is shared.
                prepared, model = self.prepared(cell.model, cell.image), self._model(cell.model)
                exact = model.precision == "exact"
                task = Task(model, prepared, 0, torch.empty(0), self._seed, exact)
                count = sum(not reads_output(target) for target in targets)
            methods = [item.value for item in self.plan.axes["method"]]
            self._shared[group] = make_shared(task, methods, count)
        self._shared.move_to_end(group)
        return self._shared[group]


def make_shared(task: Task, methods: Sequence[Chosen], scores: int) -> Shared | None:
    """What methods can share of a photo; `None` where there is nothing.

    Args:
        task: the photo and the model; its logits are not looked at.
        methods: all that will be asked about it.
        scores: how many scores each will be asked about.
    """
    sharing = [chosen for chosen in methods if chosen.spec.shares]
    if len(sharing) * scores < 2:
        return None
    found: dict[str, Any] = {}
    places: list[Place] = []
    for chosen in sharing:
        layer = chosen.params.get("layer")
        wanted = set(chosen.spec.shares) & {"layer", "blocks"}
        try:
            if wanted and layer is not None:
                places.append(place_of(task, layer))
            elif "layer" in wanted:
                if "last" not in found:
                    found["last"] = place_of(task, None)
                places.append(found["last"])
            elif "blocks" in wanted:
                if "blocks" not in found:
                    found["blocks"] = blocks_of(task)
                places += found["blocks"]
        except ValueError:
            continue  # the method itself will say so
    inputs = any("input" in chosen.spec.shares for chosen in sharing)
    shared = Shared(task.model, task.x, places, inputs=inputs, exact=task.exact)
    shared.keep(found)
    return shared
