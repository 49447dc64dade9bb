"""A widget of one method of attribution."""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import traitlets as t
from torch import Tensor

from xaiwidgets.explanation import (
    Explanation,
    estimates,
    finished,
    heatmap,
    make_task,
    retarget,
)
from xaiwidgets.goals import ClassGoal, RegionGoal
from xaiwidgets.methods import registry
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.model import Model
from xaiwidgets.region import Region
from xaiwidgets.runtime.stream import Message, Packed
from xaiwidgets.runtime.token import Token
from xaiwidgets.targets import Target, to_plain
from xaiwidgets.widgets import describe, encode, still
from xaiwidgets.widgets.aside import Aside
from xaiwidgets.widgets.base import ExplanationWidget, name_of
from xaiwidgets.widgets.cache import Finished, fingerprint
from xaiwidgets.widgets.running import Request, explained, log
from xaiwidgets.widgets.sync import SKIP


@dataclass(frozen=True)
class About:
    """What is explained: a task, and a key that tells its photo."""

    task: Task
    photo: Hashable

    @property
    def photo_key(self) -> Hashable:
        """Equal where the network's answers are: for any classes of a photo, but for what is read
        off the network's output each has its own."""
        goal = self.task.score
        return (self.photo, goal.key) if goal.kind == "output" else self.photo

    def key(self, params: dict[str, Any]) -> Hashable:
        """Equal for equal explanations."""
        values = tuple((name, fingerprint(value)) for name, value in params.items())
        return (self.photo_key, self.task.score.key, values)


@dataclass(frozen=True)
class Outcome:
    """A finished explanation as it is published, kept and shown again.

    Attributes:
        explanation: for Python.
        done: evaluations of the model.
        extra: what the page needs beyond the map, as bytes.
        extra_info: and as plain values.
        kept: what else belongs to it, of a type that the widget knows.
        kept_bytes: its size.
    """

    explanation: Explanation
    done: int
    extra: bytes = b""
    extra_info: dict[str, Any] = field(default_factory=dict)
    kept: Any = None
    kept_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes."""
        arrays = self.explanation.attribution.nbytes + self.explanation.pixels.nbytes
        return arrays + len(self.extra) + self.kept_bytes


@dataclass(frozen=True)
class Shown:
    """The result that is shown, and what it explains."""

    about: About
    outcome: Outcome


class MethodWidget(ExplanationWidget):
    """One method, live: a change of a parameter, the class or the photo refines a new result."""

    _spec: ClassVar[registry.MethodSpec]
    __signature__: ClassVar[inspect.Signature]

    _targets: t.List[Any] = t.List(help="Kinds of targets that the method takes.").tag(sync=True)
    _takes_regions = t.Bool(False, help="Whether a region can be painted and explained.").tag(
        sync=True
    )

    def __init_subclass__(cls, *, method: str | None = None, **kwargs: Any) -> None:
        """Take parameters, title and paper from the method of that name."""
        if method is not None:
            cls._spec = registry.get(method)
            cls._kind_name = cls._kind_name or method
            arguments = {**cls._spec.parameters, **(kwargs.get("local") or {})}.values()
            cls.__signature__ = describe.signature(arguments)
            cls.__doc__ = describe.text(cls._spec, arguments, cls.__dict__.get("__doc__"))
            kwargs |= {"parameters": cls._spec.parameters, "writable": ("target",)}
        super().__init_subclass__(**kwargs)

    def __init__(
        self, model: Model, image: Any, target: Any = None, *, seed: int = 0, **params: Any
    ) -> None:
        self._wanted = target
        self._seed = seed
        self._finished: Finished[Any] = Finished()
        self._shown: Shown | None = None
        self._aside = Aside(self._stream)
        super().__init__(
            model,
            image,
            params,
            _title=self._spec.title,
            _targets=list(self._spec.targets),
            _paper={"text": self._spec.paper, "url": self._spec.url},
        )

    # --- photo and class

    def _begin(self, image: Any, params: dict[str, Any]) -> dict[str, Any]:
        self._classes = make_task(self._model, image, None, seed=self._seed)
        self._task = self._aimed(self._classes, self._wanted)
        self._sticky = self._wanted is not None
        self._photo_key = fingerprint(self._task.x)
        several = math.prod(self._model.map_size or ()) > 1
        return {
            **self._seen(self._classes, name_of(image)),
            **self._told_target(),
            "target": self._task.target,
            "_takes_regions": several and "output" in self._spec.targets,
            "_categories": list(self._model.categories or ()),
        }

    def _read(self, image: Any) -> Task:
        return make_task(self._model, image, None, seed=self._seed)

    def _adopt(self, photo: Task, name: str) -> None:
        target = self.target if self._sticky else photo.target
        task = self._aimed(photo, target)
        with self._stream:
            self._stream.clear()
        self._photo_key = fingerprint(photo.x)
        self._classes, self._task = photo, task
        with self.hold_sync():
            for trait, value in {**self._seen(photo, name), **self._told_target()}.items():
                setattr(self, trait, value)
            self.target = target

    def _aimed(self, photo: Task, target: Any) -> Task:
        """What is explained of a photo, or raise."""
        task = retarget(photo, target)
        self._spec.check_target(task.score.kind)
        return task

    def _resolve_target(self, value: Any) -> Target:
        target = self._task.target
        if value is not target:
            target = self._aimed(self._classes, value).target
        if not self._quiet:
            # A class that Python set stays when the photo changes; one picked on the page is of
            # the photo that it was picked for.
            self._sticky = value is not None and not self._from_page
        return target

    def _seen(self, task: Task, name: str) -> dict[str, Any]:
        return {"_photo": encode.png(task.prepared.pixels), "_photo_name": name}

    def _told_target(self) -> dict[str, Any]:
        """What is explained, and the most probable classes: of the photo, or of a region there."""
        task, goal = self._task, self._task.score
        told = {
            "index": goal.target if goal.kind == "class" else None,
            "name": goal.name,
            "probability": float(goal.probability(task.logits)),
            "score": float(goal(task.logits)),
        }
        shares = self._classes.logits.softmax(0)
        if isinstance(goal, RegionGoal):
            shares = goal.shares
            told["why"] = self._told_classes(shares, [goal.target.category])
        elif isinstance(goal, ClassGoal):
            told["why"] = self._told_classes(shares, goal.plus)
        top = shares.topk(min(5, len(shares))).indices.tolist()
        return {"_target_info": told, "_top": self._told_classes(shares, top)}

    def _told_classes(self, shares: Tensor, indices: Iterable[int]) -> list[dict[str, Any]]:
        return [
            {"index": k, "name": self._model.category(k), "probability": float(shares[k])}
            for k in indices
        ]

    def _check_from_page(self, name: str, value: Any) -> Any:
        checked = super()._check_from_page(name, value)
        if isinstance(checked, Region) and checked == self.target:
            # The same without its class: the page is told which one was found.
            self.send_state("target")
            return SKIP
        return checked

    def _on_change(self, change: Any) -> None:
        if change["name"] == "target":
            self._task = self._aimed(self._classes, change["new"])
            with self.hold_sync():
                for trait, value in self._told_target().items():
                    setattr(self, trait, value)
        super()._on_change(change)

    # --- the job

    def _work(self, request: Request, token: Token) -> Iterator[None]:
        self._take_incoming()
        with self._lock:
            about = About(self._task, self._photo_key)
        if request.action != "explain":
            yield from self._extra_work(request, about, token)
        outcome = self._known(about, request.params)
        if outcome is None:
            outcome = yield from self._explained(request, about, token)
            self._publish(request, about, outcome, cached=False)
        else:
            self._publish(request, about, outcome, cached=True)

    def _explained(
        self, request: Request, about: About, token: Token
    ) -> Generator[None, None, Outcome]:
        first = True

        def show(estimate: Estimate) -> None:
            nonlocal first
            self._deliver(request, about.task, estimate, first=first)
            self._say(request.generation, estimate.done, estimate.total)
            first = False

        return (yield from self._refine(about, request.params, token, show))

    def _refine(
        self, about: About, params: dict[str, Any], token: Token, show: Callable[[Estimate], None]
    ) -> Generator[None, None, Outcome]:
        """Run the method to its end and keep the outcome; the first estimate is always shown."""
        began = time.perf_counter()
        last: Estimate | None = None
        steps = estimates(about.task, self._spec.name, params)
        with contextlib.closing(steps):
            for last in steps:
                show(last)
                yield
                if not last.finished:
                    token.check()
        if last is None:
            raise RuntimeError(f"{self._spec.title} yielded nothing.")
        seconds = time.perf_counter() - began
        outcome = self._outcome(
            about, last, finished(about.task, self._spec.name, params, last, seconds)
        )
        self._finished.put(about.key(params), outcome, outcome.nbytes)
        return outcome

    def _known(self, about: About, params: dict[str, Any]) -> Outcome | None:
        """The outcome, if it needs no work."""
        found: Outcome | None = self._finished.get(about.key(params))
        return found

    def _outcome(self, about: About, last: Estimate, explanation: Explanation) -> Outcome:
        """What to publish of a finished explanation."""
        return Outcome(explanation, last.done)

    def _extra_work(self, request: Request, about: About, token: Token) -> Iterator[None]:
        """Answer an action other than "explain"; the explanation follows."""
        return iter(())

    # --- showing

    def _deliver(self, request: Request, task: Task, estimate: Estimate, *, first: bool) -> None:
        """Stream an estimate; the newest replaces one that was not sent yet."""
        value = heatmap(estimate.value.to(torch.float32).numpy())
        extras = self._beside(estimate, task)
        message = {
            "kind": "map",
            "gen": request.generation,
            "stage": "preview" if first else "partial",
            "shape": list(value.shape),
            "done": estimate.done,
            "total": estimate.total,
            "info": encode.plain(estimate.diagnostics),
            "buffers_names": ["map", *extras],
        }
        with self._stream:
            self._maps.put(message, [encode.float32(value), *extras.values()])

    def _beside(self, estimate: Estimate, task: Task) -> dict[str, bytes]:
        """Buffers that go with the map of an estimate."""
        return {}

    def _publish(self, request: Request, about: About, outcome: Outcome, *, cached: bool) -> None:
        """Make an outcome the result, unless something newer was asked for."""
        found = outcome.explanation
        with self._lock:
            if not self._is_current(request):
                return
            with self._stream:
                self._maps.clear()  # it would arrive after the final result
                self._aside.clear()  # and this one would be about the result before
            self._last, self._shown = found, Shown(about, outcome)
            self._show(request, outcome)
            value = found.heatmap
            with self.hold_sync():
                self._result = encode.float32(value)
                self._result_info = {
                    "shape": list(value.shape),
                    "generation": request.generation,
                    "target": to_plain(found.target),
                    "category": found.category,
                    "params": encode.plain(found.params),
                    "seconds": found.seconds,
                    "score": encode.plain(found.score),
                    "done": outcome.done,
                    "total": outcome.done,
                    "diagnostics": encode.plain(found.diagnostics),
                    "cached": cached,
                }
                self._extra = outcome.extra
                self._extra_info = outcome.extra_info
                self._say(request.generation, outcome.done, outcome.done, last=True)
                self.status = "idle"

    def _show(self, request: Request, outcome: Outcome) -> None:
        """Stream what belongs to an outcome."""

    # --- questions about what is shown

    def _result_shown(self) -> Shown:
        """What the page can ask about, or raise."""
        if self._shown is None:
            raise ValueError("The page asked about a result, but no run has finished yet.")
        return self._shown

    def _ask_aside(self, question: Message, answer: Callable[[Shown], Packed | None]) -> None:
        """Have the worker answer the page while runs go on; of several questions the last one.

        Args:
            question: sent back with the answer; alone where there is none, so that the page waits
                no longer.
            answer: about what is shown then; `None` sends nothing, where the question was about
                something else.
        """

        def answered() -> Packed | None:
            try:
                found = answer(self._result_shown())
            except Exception as error:
                log.info("%s could not answer the page.", type(self).__name__, exc_info=error)
                self._complain(explained(error))
                return question, []
            return found and ({**question, **found[0]}, found[1])

        self._aside.ask(answered, self._front.for_job())

    def _still(self) -> bytes:
        if self._last is None:
            return self._photo
        return encode.png(still.overlay(self._last.pixels, self._last.heatmap))

    def _told(self) -> list[str]:
        return [f"target={self._task.score.name!r}"]

    def _free(self) -> None:
        self._aside.close()
        self._shown = None
        self._finished.clear()
        with self._quietly():
            self._result = self._extra = b""
            self._maps.clear()
