"""Integrated gradients, live: alpha scrubs the path from the baseline to the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from xaiwidgets.explanation import Explanation
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.integrated_gradients import PathChunk
from xaiwidgets.methods.params import Parameter
from xaiwidgets.methods.path_grid import Grid
from xaiwidgets.model import Model
from xaiwidgets.runtime.kept import Kept
from xaiwidgets.runtime.stream import Packed
from xaiwidgets.widgets import encode, front_end
from xaiwidgets.widgets.method import About, MethodWidget, Outcome
from xaiwidgets.widgets.running import Request

_ALPHA = Parameter(
    "alpha",
    "float",
    1.0,
    "Alpha",
    "Place on the path from the baseline (0) to the photo (1).",
    low=0.0,
    high=1.0,
    step=0.01,
)


@dataclass(frozen=True)
class PathStep:
    """One step of the path as it is sent: maps as signed bytes with a scale each."""

    index: int
    alpha: float
    score: float
    probability: float
    gradient: bytes
    gradient_scale: float
    integrand: bytes
    integrand_scale: float

    @property
    def nbytes(self) -> int:
        """Bytes of its maps."""
        return len(self.gradient) + len(self.integrand)


@dataclass
class Path:
    """The steps of one run so far, and where it begins.

    It has them beside the feed, which forgets them when another photo comes while the run ends.
    """

    generation: int
    steps: int
    shape: list[int]
    baseline: bytes
    grid: Grid
    made: Kept[PathStep]


class IntegratedGradients(MethodWidget, method="integrated_gradients", local={"alpha": _ALPHA}):
    """Integrated gradients of a photo: the gradient gathered on the way from a baseline."""

    _esm = front_end.script("special")

    alpha: float
    steps: int
    baseline: Any
    grid: str
    tolerance: float

    def __init__(
        self, model: Model, image: Any, target: Any = None, *, seed: int = 0, **params: Any
    ) -> None:
        self._path = self._kept()
        self._stream.attach(self._path)
        self._path_of = Path(0, 0, [], b"", Grid([], []), self._kept())
        super().__init__(model, image, target, seed=seed, **params)

    def _kept(self) -> Kept[PathStep]:
        return Kept(self._pack, lambda step: step.nbytes)

    def _deliver(self, request: Request, task: Task, estimate: Estimate, *, first: bool) -> None:
        # A first picture may come before it is known where the steps will lie.
        if estimate.detail is not None:
            self._lengthen(request.generation, estimate.total, estimate.detail)
        super()._deliver(request, task, estimate, first=first)

    def _lengthen(self, generation: int, total: int, chunk: PathChunk) -> None:
        with self._stream:
            if self._path_of.generation != generation:
                self._path_of = Path(
                    generation,
                    total,
                    list(chunk.gradients.shape[-2:]),
                    encode.png(chunk.baseline),
                    chunk.grid,
                    self._kept(),
                )
                self._path.replace()
            for step in _steps(chunk):
                self._path_of.made.add(step)
                self._path.add(step)

    def _pack(self, steps: Sequence[PathStep]) -> Packed:
        path = self._path_of
        begins = steps[0] is self._path.items[0]
        message = {
            "kind": "path",
            "gen": path.generation,
            "steps": path.steps,
            "indices": [step.index for step in steps],
            "scores": encode.plain([step.score for step in steps]),
            "probabilities": encode.plain([step.probability for step in steps]),
            "gradient_scales": [step.gradient_scale for step in steps],
            "integrand_scales": [step.integrand_scale for step in steps],
            "shape": path.shape,
            "baseline": begins,
        }
        if begins:
            message |= {"alphas": path.grid.alphas, "weights": path.grid.weights}
        buffers = [
            b"".join(step.gradient for step in steps),
            b"".join(step.integrand for step in steps),
        ]
        return message, [*buffers, path.baseline] if begins else buffers

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        path = self._path_of
        steps = sorted(path.made.items, key=lambda step: step.index)
        told = last.diagnostics
        info = {
            "steps": last.total,
            "alphas": [step.alpha for step in steps],
            "scores": [step.score for step in steps],
            "probabilities": [step.probability for step in steps],
            "completeness_gap": told["completeness_gap"],
            "completeness_relative": told["completeness_relative"],
            "score_photo": told["score_photo"],
            "score_baseline": told["score_baseline"],
        }
        size = path.made.nbytes
        return Outcome(explanation, last.done, path.baseline, encode.plain(info), path, size)

    def _show(self, request: Request, outcome: Outcome) -> None:
        if self._path_of.generation == request.generation:
            return  # streamed while it was made
        path: Path = outcome.kept
        with self._stream:
            self._path_of = replace(path, generation=request.generation)
            self._path.replace(path.made.items)

    def _free(self) -> None:
        super()._free()
        with self._stream:
            self._path_of = replace(self._path_of, made=self._kept())
            self._path.replace()


def _steps(chunk: PathChunk) -> list[PathStep]:
    steps = []
    for row, index in enumerate(chunk.indices):
        gradient, gradient_scale = encode.int8(chunk.gradients[row])
        integrand, integrand_scale = encode.int8(chunk.integrands[row])
        steps.append(
            PathStep(
                index,
                chunk.grid.alphas[index],
                chunk.scores[row],
                chunk.probabilities[row],
                gradient,
                gradient_scale,
                integrand,
                integrand_scale,
            )
        )
    return steps
