"""Many explanations at once: any methods x any classes x any images x any models.

What several of them need of one photo and one model is computed once: the clean pass forward and,
for each class, the way back serve all gradient and CAM methods (`xaiwidgets.engine.passes`). The
numbers are those of single calls.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from xaiwidgets.engine.passes import Shared
from xaiwidgets.engine.places import Place
from xaiwidgets.evaluation.similarity import similarity
from xaiwidgets.explanation import Explanation, estimates, finished, make_task, retarget
from xaiwidgets.inside.deep_dream import check_seed
from xaiwidgets.methods import registry
from xaiwidgets.methods.cams import blocks_of, place_of
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.methods.params import check_all
from xaiwidgets.methods.registry import MethodSpec
from xaiwidgets.model import Model, Prepared
from xaiwidgets.progress import bar
from xaiwidgets.region import Region
from xaiwidgets.targets import Difference, name_of, reads_output

AXES = ("method", "target", "image", "model")
MOST = 96
"""Explanations in one comparison."""
# Models and photos whose passes are kept at a time: a graph of a large network takes a lot.
_KEPT = 2
_CLASSES = -1
"""Stands for all targets that are a matter of classes."""


class Key(NamedTuple):
    """Which explanation of a comparison, by the labels of its parts."""

    method: str
    target: str
    image: str
    model: str


class Item(NamedTuple):
    """One entry of an axis: its label, as people read it, and what it stands for."""

    label: str
    title: str
    value: Any


class Cell(NamedTuple):
    """One explanation: the position on each axis."""

    method: int
    target: int
    image: int
    model: int


@dataclass(frozen=True)
class Chosen:
    """A method and all its parameters."""

    spec: MethodSpec
    params: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        axes: the entries of each axis, by its name.
    """

    axes: dict[str, list[Item]]

    @property
    def cells(self) -> list[Cell]:
        """All explanations, those that share passes one after the other."""
        size = {axis: range(len(items)) for axis, items in self.axes.items()}
        return [
            Cell(method, target, image, model)
            for model in size["model"]
            for image in size["image"]
            for target in size["target"]
            for method in size["method"]
        ]

    def key(self, cell: Cell) -> Key:
        """The labels of a cell."""
        return Key(*(self.axes[axis][at].label for axis, at in zip(AXES, cell, strict=True)))

    def model(self, index: int) -> Model:
        """One of the models."""
        found: Model = self.axes["model"][index].value
        return found

    def method(self, index: int) -> Chosen:
        """One of the methods."""
        found: Chosen = self.axes["method"][index].value
        return found


def make_plan(models: Any, images: Any, methods: Any, targets: Any) -> Plan:
    """Check what is to be compared.

    Raises:
        TypeError: for what is no model, method or list of them.
        ValueError: for an empty list, an unknown method or parameter, or too many explanations.
    """
    axes = {
        "method": _methods(methods),
        "target": [
            Item(_target_label(each), _target_label(each), each) for each in _listed(targets, list)
        ],
        "image": _images(images),
        "model": _models(models),
    }
    for axis, items in axes.items():
        if not items:
            raise ValueError(f"There is no {axis} to compare: give one {axis} or a list of them.")
        axes[axis] = _told_apart(items)
    count = int(np.prod([len(items) for items in axes.values()]))
    if count > MOST:
        each = " x ".join(f"{len(axes[axis])} {axis}s" for axis in AXES)
        raise ValueError(
            f"{each} are {count} maps; at most {MOST} can be compared. Leave some out."
        )
    return Plan(axes)


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
        """Give up the passes."""
        for shared in self._shared.values():
            if shared is not None:
                shared.free()
        self._shared.clear()

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


@dataclass(frozen=True, repr=False)
class Comparison(Mapping[Key, Explanation]):
    """Explanations by their `Key`: the labels of method, target, image and model.

    Attributes:
        explanations: those that there are.
        errors: why a method refused, where it did.
        plan: what is compared.
    """

    explanations: dict[Key, Explanation]
    errors: dict[Key, str]
    plan: Plan = field(repr=False)

    def __getitem__(self, key: Any) -> Explanation:
        if key in self.errors:
            raise KeyError(f"{tuple(key)} was refused: {self.errors[key]}")
        return self.explanations[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.explanations)

    def __len__(self) -> int:
        return len(self.explanations)

    def __repr__(self) -> str:
        each = ", ".join(f"{axis}={[item.label for item in self.plan.axes[axis]]}" for axis in AXES)
        refused = f", {len(self.errors)} refused" if self.errors else ""
        return f"Comparison({len(self)} maps{refused}: {each})"

    def similarity(
        self, measure: str = "spearman", image: str | None = None
    ) -> tuple[list[Key], NDArray[np.float64]]:
        """How alike the heatmaps of one image are, each with each.

        Args:
            measure: see `xaiwidgets.evaluation.similarity`.
            image: its label; may be left out where there is only one.

        Returns:
            The keys, and a symmetric matrix in their order.

        Raises:
            ValueError: for an unknown measure, or where the image is not given and not clear.
        """
        labels = [item.label for item in self.plan.axes["image"]]
        if image is None and len(labels) == 1:
            image = labels[0]
        if image not in labels:
            raise ValueError(f"image must be one of {labels}, not {image!r}.")
        keys = [key for key in self if key.image == image]
        return keys, similarity([self[key].heatmap for key in keys], measure)


def compare(
    models: Any,
    images: Any,
    methods: Any,
    targets: Any = None,
    *,
    seed: int = 0,
    precision: str | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Explain with several methods, classes, images or models at once.

    The numbers are those of single calls of `xaiwidgets.explain`. Gradient and CAM methods share
    passes of the network: one forward for each photo and model, one way back for each class.

    Args:
        models: one `xaiwidgets.Model`, a list, or a dictionary of them by label.
        images: one image, a list, or a dictionary of them by label.
        methods: one method or a list; a method is its name, or `(name, parameters)`.
        targets: one target as `xaiwidgets.explain` takes it, or a list of them; `None` takes the
            class with the highest score, for each photo and model. In a list, or as a tuple,
            several classes are one target: the sum of their logits.
        seed: of everything random, at least 0.
        precision: see `xaiwidgets.explain`.
        progress: show a bar; `None` shows one when it takes longer than a second.

    Returns:
        Explanations by `(method, target, image, model)`. What a method refused stands in `errors`.

    Raises:
        ValueError: for a value that is not allowed, and where every explanation is refused.
        TypeError: for a value of the wrong type.
    """
    plan = make_plan(models, images, methods, targets)
    runner = Runner(plan, seed=seed, precision=precision)
    explanations: dict[Key, Explanation] = {}
    errors: dict[Key, str] = {}
    cells = plan.cells

    def run() -> Iterator[int]:
        for count, cell in enumerate(cells, 1):
            began = time.perf_counter()
            try:
                last = last_of(runner.steps(cell))
            except (ValueError, TypeError) as error:
                errors[plan.key(cell)] = str(error)
            else:
                seconds = time.perf_counter() - began
                explanations[plan.key(cell)] = runner.finished(cell, last, seconds)
            yield count

    try:
        for _ in bar(run(), "compare", progress, lambda count: (count, len(cells))):
            pass
    finally:
        runner.free()
    if not explanations:
        raise ValueError(next(iter(errors.values())))
    return Comparison(explanations, errors, plan)


# --- reading what is given


def _listed(given: Any, kinds: Any = (list, tuple)) -> list[Any]:
    return list(given) if isinstance(given, kinds) else [given]


def _models(given: Any) -> list[Item]:
    pairs = given.items() if isinstance(given, Mapping) else ((None, m) for m in _listed(given))
    items = []
    for label, model in pairs:
        if not isinstance(model, Model):
            raise TypeError(
                f"A model must be an xaiwidgets.Model, not {type(model).__name__}. Wrap a network "
                "with xai.Model(net), or take one from xai.load(). Several are given as a list."
            )
        label = model.name if label is None else str(label)
        items.append(Item(label, label, model))
    return items


def _images(given: Any) -> list[Item]:
    if isinstance(given, Mapping):
        return [Item(str(label), str(label), image) for label, image in given.items()]
    images = _listed(given)
    items = []
    for number, image in enumerate(images, 1):
        named = isinstance(image, str | os.PathLike)
        label = Path(image).name if named else f"image {number}" if len(images) > 1 else "image"
        items.append(Item(label, label, image))
    return items


def _methods(given: Any) -> list[Item]:
    one = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)
    items = []
    for each in [given] if one else _listed(given):
        name, params = each, {}
        if isinstance(each, tuple | list):
            if len(each) != 2 or not isinstance(each[1], Mapping):
                raise TypeError(
                    'A method is given by its name, or as (name, parameters) such as ("smoothgrad",'
                    f' {{"noise": 0.1}}), not as {each!r}.'
                )
            name, params = each
        spec = registry.get(name)
        checked = check_all(spec.name, spec.parameters, dict(params))
        told = {key: checked[key] for key in params}
        label, title = spec.name, spec.title
        if told:
            label += f"({', '.join(f'{key}={_short(value)}' for key, value in told.items())})"
            named = [f"{spec.parameters[key].label.lower()} {_short(told[key])}" for key in told]
            title += f", {', '.join(named)}"
        items.append(Item(label, title, Chosen(spec, checked)))
    return items


def _short(value: Any) -> str:
    plain = value is None or isinstance(value, str | int | float | bool)
    text = str(value) if plain else type(value).__name__
    return f"{value:g}" if isinstance(value, float) else text


def _target_label(target: Any) -> str:
    if target is None:
        return "top class"
    if isinstance(target, list | tuple):
        return " + ".join(_target_label(each) for each in target)
    if isinstance(target, Difference):
        return f"{_target_label(target.why)}, not {_target_label(target.why_not)}"
    if isinstance(target, Region):
        return f"region of {_target_label(target.category)}"
    if callable(target):
        return name_of(target)
    return target if isinstance(target, str) else f"class {target}"


def _told_apart(items: list[Item]) -> list[Item]:
    """The same items with labels and titles that occur once: "a", "a (2)"."""
    seen: dict[str, int] = {}
    apart = []
    for item in items:
        seen[item.label] = seen.get(item.label, 0) + 1
        number = seen[item.label]
        mark = f" ({number})" if number > 1 else ""
        apart.append(Item(item.label + mark, item.title + mark, item.value))
    return apart
