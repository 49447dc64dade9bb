"""SmoothGrad, live: noise in, noise out."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xaiwidgets.explanation import Explanation
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.smoothgrad import NoisySample
from xaiwidgets.model import Model
from xaiwidgets.runtime.kept import Kept
from xaiwidgets.runtime.stream import Packed
from xaiwidgets.runtime.token import Token
from xaiwidgets.widgets import encode, front_end
from xaiwidgets.widgets.method import About, MethodWidget, Outcome
from xaiwidgets.widgets.running import Request

LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Noise of the paper's figure 3."""


@dataclass(frozen=True)
class Level:
    """One picture of the strip."""

    index: int
    shape: list[int]
    map: bytes


class SmoothGrad(MethodWidget, method="smoothgrad"):
    """SmoothGrad of a photo: a gradient averaged over noisy copies of it."""

    _esm = front_end.script("special")

    noise: float
    samples: int
    base: str
    form: str
    base_steps: int

    def __init__(
        self, model: Model, image: Any, target: Any = None, *, seed: int = 0, **params: Any
    ) -> None:
        self._strip: Kept[Level] = Kept(self._pack, lambda level: len(level.map), bundle=0)
        self._strip_key: Hashable = None
        self._stream.attach(self._strip)
        super().__init__(model, image, target, seed=seed, **params)

    def _beside(self, estimate: Estimate, task: Task) -> dict[str, bytes]:
        sample: NoisySample = estimate.detail
        return {"sample": encode.jpeg(sample.pixels)}

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        sample: NoisySample = last.detail
        return Outcome(explanation, last.done, encode.jpeg(sample.pixels), {"sample": sample.index})

    def _act(self, name: Any) -> None:
        if name == "strip":
            self._post("strip")
        else:
            super()._act(name)

    def _work(self, request: Request, token: Token) -> Iterator[None]:
        yield from super()._work(request, token)
        with self._lock:
            about = About(self._task, self._photo_key)
        if self._strip_key != _strip_key(about, request.params):
            with self._stream:
                self._strip.replace()

    def _extra_work(self, request: Request, about: About, token: Token) -> Iterator[None]:
        """The strip of the paper's figure: one explanation for each level of noise."""
        self._strip_key = _strip_key(about, request.params)
        with self._stream:
            self._strip.replace()
        total, before = 0, 0
        wanted = []
        for level in LEVELS:
            params = {**request.params, "noise": level}
            if level == 0:
                params["samples"] = 1  # without noise all samples are the same
            wanted.append(params)
            total += params["samples"]
        for index, params in enumerate(wanted):

            def show(
                estimate: Estimate, before: int = before, samples: int = params["samples"]
            ) -> None:
                done = before + round(estimate.done / estimate.total * samples)
                text = f"strip: {done} of {total} samples"
                self._say(request.generation, done, total, text)

            outcome = self._known(about, params)
            if outcome is None:
                outcome = yield from self._refine(about, params, token, show)
            value = outcome.explanation.heatmap
            with self._stream:
                self._strip.add(Level(index, list(value.shape), encode.float32(value)))
            before += params["samples"]
            yield
            token.check()

    def _pack(self, levels: Sequence[Level]) -> Packed:
        (level,) = levels
        message = {
            "kind": "strip",
            "gen": self._generation,
            "levels": list(LEVELS),
            "index": level.index,
            "level": LEVELS[level.index],
            "shape": level.shape,
        }
        return message, [level.map]

    def _free(self) -> None:
        super()._free()
        with self._stream:
            self._strip.replace()


def _strip_key(about: About, params: dict[str, Any]) -> Hashable:
    return about.key({name: value for name, value in params.items() if name != "noise"})
