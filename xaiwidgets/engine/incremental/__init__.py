"""Evaluate a network on copies of a photo that differ from it in a patch, by the difference alone.

Of each layer only the part that the patch can change is computed anew; the rest is the photo's own
and is computed once. The numbers are the network's, to rounding: nothing is approximated.

How much that saves depends on the network. Convolutions, pooling, activations, normalization,
residual sums and concatenations keep a patch local; from the first operation on that mixes the
whole plane (squeeze-and-excitation, attention, global pooling) everything is computed as usual.
Only masks that are one small patch profit: those of RISE or LIME change the photo everywhere.

The idea is view maintenance: Nakandala, Kumar, Papakonstantinou, "Incremental and Approximate
Inference for Faster Occlusion-based Deep CNN Explanations", 2019, in its exact form.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xaiwidgets.engine.batching import Batcher
from xaiwidgets.engine.incremental.groups import Plans, make_plans
from xaiwidgets.engine.incremental.plan import Plan, make_plan
from xaiwidgets.engine.incremental.replay import run_clean, run_tail, run_windows
from xaiwidgets.engine.incremental.trace import Graph, trace
from xaiwidgets.engine.incremental.windows import Span, Starts, Windows, gather

_MOST_PATCHES = 64
# Groups of alike patches for which a batch is enlarged; more would delay the next picture.
_MOST_GROUPS = 2
# What one batch of windows may take: on a CPU more gains nothing, and leaves the caches.
_WORKING_SET = {"cpu": 32 << 20, "cuda": 256 << 20}
# What the photo's own activations may.
_CLEAN_SET = 512 << 20

Corner = tuple[int, int]
"""First pixel row and column of a patch."""


class Incremental:
    """A network that can be evaluated by differences.

    Args:
        run: from a batch of inputs to logits.
        x: an input, `(1, C, H, W)`; others of its shape may follow.

    Attributes:
        checked: sides of the patches for which a replay was compared with the network itself, on
            the photo that `clean` was last asked for.

    Raises:
        UntraceableError: where the network cannot be replayed.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self.graph: Graph = trace(run, x)
        self.shape = tuple(x.shape)
        self._room = _WORKING_SET.get(x.device.type, _WORKING_SET["cpu"])
        self._lock = threading.Lock()
        self.checked: set[int] = set()
        self._anywhere: tuple[int, Plan] | None = None
        self._photo: Tensor | None = None
        self._clean: dict[int, Tensor] = {}
        self._batchers: dict[tuple[int, int], Batcher] = {}

    def plan(self, tops: Starts, lefts: Starts, patch_size: int) -> Plans:
        """What patches take; the first pixels of those are `tops` and `lefts`."""
        windows = self._patches(tops, lefts, patch_size)
        return make_plans(self.graph, windows, torch.float32.itemsize)

    def anywhere(self, patch_size: int) -> Plan:
        """What one patch takes, wherever it is: windows are as large as the largest has to be.

        The last plan is kept, for planning takes a good part of what a replay takes. Its patches
        begin at `1 - patch_size` and at each later pixel of an axis.
        """
        found = self._anywhere
        if found is None or found[0] != patch_size:
            tops, lefts = (np.arange(1 - patch_size, side) for side in self.shape[-2:])
            windows = self._patches(tops, lefts, patch_size)
            found = (patch_size, make_plan(self.graph, windows, torch.float32.itemsize))
            self._anywhere = found
        return found[1]

    def _patches(self, tops: Starts, lefts: Starts, patch_size: int) -> Windows:
        height, width = self.shape[-2:]
        rows = Span.of_patches(tops, patch_size, height)
        return Windows(rows, Span.of_patches(lefts, patch_size, width))

    def clean(self, plan: Plans | Plan, x: Tensor) -> dict[int, Tensor] | None:
        """The photo's own activations, kept until another photo comes; `None` if too large."""
        with self._lock:
            if self._photo is None or not torch.equal(self._photo, x):
                self._photo, self._clean = x.clone(), {}
                self.checked.clear()
            if not plan.kept <= self._clean.keys():
                wanted = plan.kept | self._clean.keys()
                if self.bytes_of(wanted, x) > _CLEAN_SET:
                    return None
                self._clean, _ = run_clean(self.graph, x, frozenset(wanted))
            return self._clean

    def bytes_of(self, nodes: frozenset[int], x: Tensor) -> int:
        """What their outputs take for one image."""
        shapes = (self.graph.nodes[number].shapes[0] or () for number in nodes)
        return sum(int(np.prod(shape[1:])) * x.element_size() for shape in shapes)

    def batcher(self, plan: Plans, device: torch.device, patch_size: int) -> Batcher:
        """What keeps the number of patches at a time."""
        most = self._at_once(plan) * min(len(plan.plans), _MOST_GROUPS)
        with self._lock:
            key = (patch_size, plan.window_bytes)
            return self._batchers.setdefault(key, Batcher(device, most=most))

    def logits(
        self,
        plan: Plans,
        clean: dict[int, Tensor],
        x: Tensor,
        filling: Tensor,
        places: tuple[Starts, Starts, int],
        start: int,
        stop: int,
    ) -> Tensor:
        """The logits with each of the patches from `start` to `stop`.

        Args:
            plan: for all the patches.
            clean: of the photo.
            x: the photo, `(1, C, H, W)`.
            filling: what patches show of, `(C, H, W)`.
            places: tops, lefts and side of all the patches.
            start: of the first patch.
            stop: after the last patch.
        """
        tops, lefts, side = places
        order = np.arange(start, stop)[np.argsort(plan.group[start:stop], kind="stable")]
        found = []
        for group in np.unique(plan.group[start:stop]):
            for part in self._parts(plan, order[plan.group[order] == group]):
                chosen, at = plan.plans[group], plan.place[part]
                patches = _shown(x, filling, chosen, at, tops[part], lefts[part], side)
                found.append(run_windows(self.graph, chosen, clean, patches, at, plan.tail))
        result = torch.cat(found)
        del found
        if plan.tail is not None:
            # Together: late layers read far more weights than activations.
            parts = torch.split(result, [len(part) for part in self._parts(plan, order)])
            each = (run_tail(self.graph, plan.plans[0], clean, p, plan.tail) for p in parts)
            result = torch.cat(list(each))
        back = torch.from_numpy(np.argsort(order)).to(result.device)
        return result[back]

    def logits_at(
        self, clean: dict[int, Tensor], x: Tensor, filling: Tensor, patch_size: int, corner: Corner
    ) -> Tensor:
        """The logits, `(1, K)`, with one patch.

        Args:
            clean: of the photo, for the plan of `anywhere`.
            x: the photo, `(1, C, H, W)`.
            filling: what the patch shows of, `(C, H, W)`.
            patch_size: its side in pixels.
            corner: its first row and column; a part of it must be on the photo.
        """
        plan = self.anywhere(patch_size)
        row, col = (start + patch_size - 1 for start in corner)
        changes = tuple(
            change.at(row, col) if isinstance(change, Windows) else change
            for change in plan.changes
        )
        here, alone = replace(plan, changes=changes), np.zeros(1, np.int64)
        tops, lefts = (np.array([start]) for start in corner)
        patches = _shown(x, filling, here, alone, tops, lefts, patch_size)
        return run_windows(self.graph, here, clean, patches, alone)

    def _parts(self, plan: Plans, patches: Starts) -> list[Starts]:
        """So many at a time as fit."""
        return np.array_split(patches, -(-len(patches) // self._at_once(plan)))

    def _at_once(self, plan: Plans) -> int:
        return max(1, min(_MOST_PATCHES, self._room // max(1, 2 * plan.window_bytes)))


def _shown(
    x: Tensor, filling: Tensor, plan: Plan, at: Starts, tops: Starts, lefts: Starts, side: int
) -> Tensor:
    """The windows of the input, patches and what is beside them."""
    given = plan.changes[0]
    assert isinstance(given, Windows)
    windows = given.take(at)
    patches = gather(x, windows)
    corners = zip(tops.tolist(), lefts.tolist(), strict=True)
    for place, (top, left) in enumerate(corners):
        first, start = max(top, 0), max(left, 0)
        shown = filling[:, first : top + side, start : left + side]
        row, col = first - int(windows.rows.starts[place]), start - int(windows.cols.starts[place])
        patches[place, :, row : row + shown.shape[1], col : col + shown.shape[2]] = shown
    return patches
