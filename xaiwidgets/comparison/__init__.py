"""Many explanations at once: any methods x any classes x any images x any models.

What several of them need of one photo and one model is computed once: the clean pass forward and,
for each class, the way back serve all gradient and CAM methods (`xaiwidgets.engine.passes`). The
numbers are those of single calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xaiwidgets.comparison.plan import AXES, Key, Plan, make_plan
from xaiwidgets.comparison.runner import Runner
from xaiwidgets.evaluation.similarity import similarity
from xaiwidgets.explanation import Explanation
from xaiwidgets.methods.estimate import last_of
from xaiwidgets.progress import bar


@dataclass(frozen=True, repr=False)
class Comparison(Mapping[Key, Explanation]):
    """Explanations by their `Key`: the labels of method, target, image and model.

    Attributes:
        explanations: those that there are.
        errors: why there is none, where a method refused or failed.
        plan: what is compared.
    """

    explanations: dict[Key, Explanation]
    errors: dict[Key, str]
    plan: Plan = field(repr=False)

    def __getitem__(self, key: Any) -> Explanation:
        if key in self.errors:
            raise KeyError(f"{tuple(key)} has no map: {self.errors[key]}")
        return self.explanations[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.explanations)

    def __len__(self) -> int:
        return len(self.explanations)

    def __repr__(self) -> str:
        each = ", ".join(f"{axis}={[item.label for item in self.plan.axes[axis]]}" for axis in AXES)
        refused = f", {len(self.errors)} without" if self.errors else ""
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


@torch.inference_mode(False)
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
        Explanations by `(method, target, image, model)`. What failed or was refused stands in
        `errors`.

    Raises:
        ValueError: for a value that is not allowed.
        TypeError: for a value of the wrong type.
        Exception: the first one, where no explanation could be made.
    """
    plan = make_plan(models, images, methods, targets)
    runner = Runner(plan, seed=seed, precision=precision)
    explanations: dict[Key, Explanation] = {}
    failures: dict[Key, Exception] = {}
    cells = plan.cells

    def run() -> Iterator[int]:
        for count, cell in enumerate(cells, 1):
            began = time.perf_counter()
            try:
                last = last_of(runner.steps(cell))
            except Exception as error:
                # What is finished, and what another method gives, must not be lost by it.
                failures[plan.key(cell)] = error
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
        raise next(iter(failures.values()))
    errors = {key: _told(error) for key, error in failures.items()}
    return Comparison(explanations, errors, plan)


def _told(error: Exception) -> str:
    text = str(error)
    known = text and isinstance(error, ValueError | TypeError | RuntimeError)
    return text if known else f"{type(error).__name__}: {text}"
