"""Any methods x any classes x any images x any models, side by side."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import traitlets as t
from numpy.typing import NDArray

from xaiwidgets.comparison import Comparison
from xaiwidgets.comparison.plan import AXES, Cell, Key, make_plan
from xaiwidgets.comparison.runner import Runner
from xaiwidgets.evaluation.similarity import measures, similarities
from xaiwidgets.explanation import Explanation, heatmap
from xaiwidgets.goals import RegionGoal
from xaiwidgets.methods.estimate import Estimate
from xaiwidgets.methods.params import unknown_name
from xaiwidgets.model import Model
from xaiwidgets.runtime.kept import Kept
from xaiwidgets.runtime.stream import Packed
from xaiwidgets.runtime.token import Cancelled, Token
from xaiwidgets.widgets import encode, front_end
from xaiwidgets.widgets.base import PanelWidget
from xaiwidgets.widgets.compare_pictures import contact_sheet, encoded_frames
from xaiwidgets.widgets.running import Request, explained, log

_MOST_BYTES = 16 << 20
"""All maps as they are kept in the notebook."""
_MOST_COMPARED = 24
"""Maps of one image whose similarity is shown."""
_OPTIONS = ("columns", "scale", "seed", "layout", "tooltip")
_TRUST = ("grad_cam", "integrated_gradients", "occlusion")


class Compare(PanelWidget):
    """Explanations in a grid: methods x classes x images x models.

    They are computed one after the other, what can be seen first; methods that allow it share the
    passes of the network. A method that refuses a network says so in its own cell.

    Args:
        models: one `xaiwidgets.Model`, a list, or a dictionary of them by label.
        images: one image, a list, or a dictionary of them by label.
        methods: one method or a list; a method is its name, or `(name, parameters)`.
        targets: one target as `xaiwidgets.explain` takes it, or a list of them; `None` takes the
            class with the highest score, for each image and model. In a list, or as a tuple,
            several classes are one target: the sum of their logits.
        columns: "method", "target", "image" or "model": what differs from left to right. The
            others follow one another from top to bottom.
        scale: "own" colors each map up to its own largest values, "method" all maps of a method
            alike, "all" all maps alike.
        seed: of everything random.

    Attributes:
        status: "idle", "running" or "error".
        progress: 0 to 1.
        error: what went wrong, in short.

    Raises:
        ValueError, TypeError: for a model, image, method or class that cannot be used; a class
            that only some of the models have is refused in their cells.
    """

    _esm = front_end.script("compare")
    _kind_name = "compare"

    columns = t.Enum(AXES, "method").tag(sync=True)
    scale = t.Enum(("own", "method", "all"), "own").tag(sync=True)

    _axes = t.Dict().tag(sync=True)
    _photos: t.List[Any] = t.List().tag(sync=True)
    _cells: t.List[Any] = t.List().tag(sync=True)
    _measures = t.Dict().tag(sync=True)
    _similarity: t.List[Any] = t.List().tag(sync=True)

    _writable = frozenset({"columns", "scale", "_cancel", "_visible"})

    def __init__(
        self,
        models: Any,
        images: Any,
        methods: Any = ("saliency", "grad_cam", "integrated_gradients"),
        targets: Any = None,
        *,
        columns: str | None = None,
        scale: str = "own",
        seed: int = 0,
        **traits: Any,
    ) -> None:
        for name in traits:
            if name not in ("layout", "tooltip"):
                raise unknown_name("Compare", name, dict.fromkeys(_OPTIONS))
        self._plan = make_plan(models, images, methods, targets)
        self._runner = Runner(self._plan, seed=seed)
        self._order = self._plan.cells
        self._found: dict[int, Explanation] = {}
        self._sent: dict[int, tuple[bytes, dict[str, Any]]] = {}
        self._rank: dict[int, int] = {}
        self._awaited = self._paused = False
        self._seconds = 0.0
        self._states = [self._first_state(cell) for cell in self._order]
        self._ended: Kept[int] = Kept(self._pack, lambda index: self._size(index), bundle=0)
        self._stream.attach(self._ended)
        axes = {axis: [item.title for item in items] for axis, items in self._plan.axes.items()}
        super().__init__(
            columns=self._best_columns() if columns is None else columns,
            scale=scale,
            _axes=axes,
            _photos=self._pictures(),
            _cells=[dict(state) for state in self._states],
            _measures=measures(),
            _title="Compare",
            **traits,
        )
        self.observe(self._on_sight, "_visible")
        self._start()

    @classmethod
    def trust(
        cls,
        one: Model,
        other: Model,
        image: Any,
        methods: Any = _TRUST,
        targets: Any = None,
        **options: Any,
    ) -> Compare:
        """Two models, the same photo: which one do you trust?

        Each model's own answer is explained, side by side; look at whether it rests on the thing
        itself or on what happens to be around it.

        Args:
            one: the first model.
            other: the second one.
            image: the photo.
            methods: as `Compare` takes them.
            targets: classes to explain instead of each model's own answer.
            **options: those of `Compare`.
        """
        widget = cls([one, other], image, methods, targets, **{"columns": "model", **options})
        widget._title = "Which of the two do you trust?"
        return widget

    # --- for the user

    @property
    def results(self) -> Comparison:
        """What is finished: explanations by `(method, target, image, model)`.

        What a method refused stands in `results.errors`.
        """
        with self._lock:
            found = {self._key(index): each for index, each in sorted(self._found.items())}
            errors = {
                self._key(index): str(state["error"])
                for index, state in enumerate(self._states)
                if state["state"] == "error"
            }
        return Comparison(found, errors, self._plan)

    def wait(self, timeout: float | None = None) -> None:
        """Block until all cells are done, also while nobody looks; see `RunningWidget.wait`."""
        self._awaited = True
        try:
            self._resume()
            super().wait(timeout)
            if self._paused:  # just before it was told that somebody waits
                self._resume()
                super().wait(timeout)
        finally:
            self._awaited = False

    def __repr__(self) -> str:
        if "_states" not in self.__dict__:
            return object.__repr__(self)
        sizes = " x ".join(
            f"{len(items)} {axis}{'s' if len(items) > 1 else ''}"
            for axis, items in self._plan.axes.items()
        )
        return f"Compare({sizes}, {len(self._found)} of {len(self._order)} done, {self.status})"

    # --- what is there from the beginning

    def _key(self, index: int) -> Key:
        return self._plan.key(self._order[index])

    def _best_columns(self) -> str:
        """Methods, else the first axis that has several entries."""
        several = [axis for axis in AXES if len(self._plan.axes[axis]) > 1]
        return several[0] if several else AXES[0]

    def _first_state(self, cell: Cell) -> dict[str, Any]:
        """The state of a cell before it runs.

        Raises:
            ValueError: for a class that none of the models has.
        """
        state: dict[str, Any] = {"at": list(cell), "state": "waiting", "error": ""}
        try:
            task = self._runner.task(cell)
        except (ValueError, TypeError) as error:
            if not self._known_elsewhere(cell):
                raise
            return state | {"state": "error", "error": str(error)}
        goal = task.score
        # There is no probability of what a callable gives.
        known = goal.kind != "output" or isinstance(goal, RegionGoal)
        share = float(goal.probability(task.logits)) if known else None
        return state | {"category": goal.name, "probability": share}

    def _known_elsewhere(self, cell: Cell) -> bool:
        for model in range(len(self._plan.axes["model"])):
            with contextlib.suppress(ValueError, TypeError):
                self._runner.task(cell._replace(model=model))
                return True
        return False

    def _pictures(self) -> list[bytes]:
        """The frame of each model and image, all of one size so that a cursor is at one place."""
        models, images = (range(len(self._plan.axes[axis])) for axis in ("model", "image"))
        return encoded_frames(
            [self._runner.prepared(model, image).pixels for model in models for image in images]
        )

    # --- the job

    def _work(self, request: Request, token: Token) -> Iterator[None]:
        self._paused = False
        began = time.perf_counter()
        if request.action == "explain":
            self._again()
        try:
            while (index := self._next()) is not None:
                yield from self._explain(request, index, token)
                token.check()
                with self._lock:
                    self._paused = not self._visible and not self._awaited
                if self._paused:
                    return
            if not self._similarity:
                yield from self._liken(token)
            self._publish(request, began, done=True)
        except Cancelled:
            self._publish(request, began)
            raise
        finally:
            self._seconds += time.perf_counter() - began
            self._runner.free()

    def _again(self) -> None:
        """Cells that failed while they ran are tried once more."""
        with self._lock:
            for state in self._states:
                if state["state"] == "error" and "category" in state:
                    state.update(state="waiting", error="")

    def _next(self) -> int | None:
        """The next cell: the nearest to what the page shows, else the first one."""
        waiting = [i for i, state in enumerate(self._states) if state["state"] == "waiting"]
        rank, last = self._rank, len(self._order)
        return min(waiting, key=lambda index: (rank.get(index, last), index), default=None)

    def _explain(self, request: Request, index: int, token: Token) -> Generator[None, None, None]:
        cell = self._order[index]
        began = time.perf_counter()
        last: Estimate | None = None
        self._tell(request)
        try:
            steps: Any = self._runner.steps(cell)
            with contextlib.closing(steps):
                for last in steps:
                    self._deliver(request, index, last)
                    yield
                    if not last.finished:
                        token.check()
            if last is None:
                raise RuntimeError("The method yielded nothing.")
            found = self._runner.finished(cell, last, time.perf_counter() - began)
        except Cancelled:
            raise
        except Exception as error:
            log.info("A cell of a comparison failed.", exc_info=True)
            self._end(index, {"state": "error", "error": explained(error)})
        else:
            self._end(index, {"state": "done", "seconds": found.seconds}, found)
        self._tell(request)

    def _liken(self, token: Token) -> Iterator[None]:
        """How alike the maps of each image are."""
        tables = []
        for image in range(len(self._plan.axes["image"])):
            cells = [index for index in sorted(self._found) if self._order[index].image == image]
            if not 2 <= len(cells) <= _MOST_COMPARED:
                continue
            found: dict[str, NDArray[np.float64]] = {}
            for rows in similarities([self._found[index].heatmap for index in cells]):
                found = rows
                yield
                token.check()
            values = {name: encode.plain(m.round(4).tolist()) for name, m in found.items()}
            tables.append({"image": image, "cells": cells, "values": values})
        self._similarity = tables

    # --- showing

    def _deliver(self, request: Request, index: int, estimate: Estimate) -> None:
        data, told = self._encoded(heatmap(estimate.value.to(torch.float32).numpy()))
        message = {
            "kind": "cell",
            "gen": request.generation,
            "index": index,
            "state": "running",
            "fraction": estimate.done / max(1, estimate.total),
            **told,
        }
        with self._stream:
            self._maps.put(message, [data])

    def _end(self, index: int, state: dict[str, Any], found: Explanation | None = None) -> None:
        with self._lock:
            if found is not None:
                self._found[index] = found
                self._sent[index] = self._encoded(found.heatmap)
                state |= self._sent[index][1]
            self._states[index].update(state)
            with self._stream:
                self._maps.clear()  # it would arrive after the final map
                self._ended.add(index)

    def _tell(self, request: Request) -> None:
        done = sum(state["state"] in ("done", "error") for state in self._states)
        total = len(self._states)
        self._say(request.generation, done, total, f"{done} of {total} maps")

    def _encoded(self, value: NDArray[np.float32]) -> tuple[bytes, dict[str, Any]]:
        """A map as it crosses the wire, coarser where there are so many that it must be."""
        most = _MOST_BYTES // 2 // len(self._order)
        factor = int(np.ceil(np.sqrt(value.size / most)))
        if factor > 1:
            tensor = torch.from_numpy(value)[None]
            value = torch.nn.functional.avg_pool2d(tensor, factor, ceil_mode=True)[0].numpy()
        data, scale = encode.int16(value)
        return data, {"shape": list(value.shape), "scale": scale}

    def _size(self, index: int) -> int:
        return len(self._sent[index][0]) if index in self._sent else 1

    def _pack(self, indices: Sequence[int]) -> Packed:
        (index,) = indices
        message = {"kind": "cell", "index": index, **self._states[index]}
        return message, [self._sent[index][0]] if index in self._sent else []

    def _publish(self, request: Request, began: float, *, done: bool = False) -> None:
        """Make what is finished the widget's state."""
        with self._lock:
            if not self._is_current(request):
                return
            seconds = self._seconds + time.perf_counter() - began
            with self._stream:
                self._maps.clear()
                self._ended.clear()
            cells, parts, offset = [], [], 0
            for index, state in enumerate(self._states):
                cells.append(dict(state))
                if index in self._sent:
                    cells[-1]["offset"] = offset
                    parts.append(self._sent[index][0])
                    offset += len(parts[-1])
            with self.hold_sync():
                self._result = b"".join(parts)
                self._cells = cells
                if done:
                    count = len(cells)
                    self._result_info = {"generation": request.generation, "seconds": seconds}
                    self._say(request.generation, count, count, last=True)
                    self.status = "idle"

    def _still(self) -> bytes:
        with self._lock:
            found = [each for _, each in sorted(self._found.items())]
        if not found:
            return bytes(self._photos[0])
        return contact_sheet(found, len(self._plan.axes["method"]))

    # --- what the page says

    def _take_message(self, kind: str, content: dict[str, Any], buffers: list[Any]) -> None:
        if kind != "nearest":
            super()._take_message(kind, content, buffers)
            return
        ranks, count = content.get("ranks"), len(self._order)
        if (
            not isinstance(ranks, list)
            or len(ranks) != count
            or not all(type(rank) is int for rank in ranks)
        ):
            raise ValueError(f"The page must send a rank for each of the {count} cells.")
        self._rank = dict(enumerate(ranks))

    def _on_sight(self, change: Any) -> None:
        if change["new"]:
            self._resume()

    def _resume(self) -> None:
        """Go on where the work stopped because nobody looked."""
        with self._lock:
            paused, self._paused = self._paused, False
            if paused and self.status == "running":
                self._post("resume")

    def _free(self) -> None:
        self._runner.free()
        with self._stream:
            self._maps.clear()
            self._ended.clear()
