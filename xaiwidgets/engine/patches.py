"""A photo with a patch somewhere, at many places: the scores of all classes, the fastest way.

Two ways give the same numbers: the whole network on the whole photo, or only what the patch changes
(`engine.incremental`). Which one is faster is measured, never guessed: the first patches are
evaluated the plain way, and then also the other way, which checks it; after that both are timed on
the work itself. What was learned stays with the model.

One patch alone, such as the one under a cursor, is timed apart: a batch of one has other costs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Network
from xaiwidgets.engine.incremental import Corner, Incremental
from xaiwidgets.engine.incremental.windows import Starts
from xaiwidgets.engine.masking import masked_logits
from xaiwidgets.engine.ways import HOPELESS, LEAST_RATIO, Ways, ways_of

# Batches that are timed before a way is judged: the first one of a kind is never typical.
_TIMED = 2


@dataclass(frozen=True)
class Patches:
    """Patches of a photo, in the order in which they are evaluated.

    Attributes:
        tops: their first pixel rows, `(P,)`.
        lefts: their first pixel columns, `(P,)`.
        side: of a patch in pixels; what lies outside of the photo is cut off.
        filling: what they show of, an input `(C, H, W)`.
    """

    tops: Starts
    lefts: Starts
    side: int
    filling: Tensor

    def paint(self, image: Tensor, index: int) -> None:
        """Write patch number `index` into `image`, `(C, H, W)`, in place."""
        top, left = int(self.tops[index]), int(self.lefts[index])
        rows, cols = (slice(max(at, 0), max(at + self.side, 0)) for at in (top, left))
        window = (..., rows, cols)
        image[window] = self.filling[window]


@dataclass(frozen=True)
class Evaluated:
    """Logits `(stop - start, K)` of some patches, on the CPU.

    Attributes:
        start: first patch.
        stop: after the last patch.
        logits: float32, or float64 for a float64 network.
        ratio: how many times fewer multiply-adds they took than whole images; 1 the plain way.
    """

    start: int
    stop: int
    logits: Tensor
    ratio: float = 1.0


def patched_logits(
    model: Network, x: Tensor, patches: Patches, *, exact: bool = False
) -> Iterator[Evaluated]:
    """Evaluate the patches, batch by batch.

    Args:
        model: the network.
        x: the clean input, `(1, C, H, W)`.
        patches: where they are and what they show.
        exact: run the network without conv-BN folding.
    """
    ways = ways_of(model, x, exact)
    found: list[Tensor] = []
    # Where the time it takes is known, one is enough to check the other way.
    first = 4 if ways.plain is None else 1
    for evaluated in _timed(ways, _plainly(model, x, patches, 0, exact, first)):
        found.append(evaluated.logits)
        yield evaluated
    done = sum(map(len, found))
    if done < len(patches.tops):
        try:
            for evaluated in _by_difference(model, x, patches, torch.cat(found), ways, exact):
                yield evaluated
                done = evaluated.stop
        except Exception as error:
            ways.give_up(error)
    if done < len(patches.tops):
        yield from _plainly(model, x, patches, done, exact, 8)


def logits_at(
    model: Network,
    x: Tensor,
    filling: Tensor,
    side: int,
    corner: Corner,
    *,
    exact: bool = False,
) -> Tensor:
    """The logits `(K,)` with one patch anywhere, the way that was faster for one alone.

    The first times both ways are gone, to compare what they give and what they take.

    Args:
        model: the network.
        x: the clean input, `(1, C, H, W)`.
        filling: what the patch shows of, an input `(C, H, W)`.
        side: of the patch in pixels.
        corner: its first pixel row and column, negative where it is cut off there.
        exact: run the network without conv-BN folding.

    Returns:
        float32, or float64 for a float64 network, on the CPU.
    """
    ways = ways_of(model, x, exact)
    top, left = (np.array([start]) for start in corner)
    patches = Patches(top, left, side, filling)

    def plainly() -> Tensor:
        (evaluated,) = _plainly(model, x, patches, 0, exact, 1)
        return evaluated.logits[0]

    plain, other = ways.alone[0], ways.alone[side]
    decided = min(plain.times, other.times) >= _TIMED

    def ready() -> tuple[Incremental, dict[int, Tensor]] | None:
        network = ways.trace(model, x, exact)
        if network is None or network.anywhere(side).ratio < LEAST_RATIO:
            return None
        if decided and plain.least <= other.least:
            return None
        with torch.inference_mode():
            clean = network.clean(network.anywhere(side), x)
        return None if clean is None else (network, clean)

    found = ways.tried(ready)
    if found is None:
        return plainly()
    network, clean = found

    def by_difference() -> Tensor:
        with torch.inference_mode():
            logits = network.logits_at(clean, x, filling, side, corner)[0]
            kept = torch.float64 if logits.dtype == torch.float64 else torch.float32
            result = logits.to("cpu", kept)
        return result.clone()

    if decided and side in network.checked:
        alone = ways.tried(by_difference)
        return plainly() if alone is None else alone
    theirs, ours = plain.by(plainly), ways.tried(lambda: other.by(by_difference))
    if ours is not None and _agree(ours, theirs):
        network.checked.add(side)
    else:
        ways.incremental = None
    return theirs


def _timed(ways: Ways, batches: Iterator[Evaluated]) -> Iterator[Evaluated]:
    """As many batches as it takes to know what an image takes the plain way."""
    seconds: list[float] = []
    known = ways.plain is not None
    began = time.perf_counter()
    for evaluated in batches:
        seconds.append((time.perf_counter() - began) / len(evaluated.logits))
        yield evaluated
        if known or len(seconds) >= _TIMED:
            break
        began = time.perf_counter()
    # The first batch that a network ever sees warms it up.
    warm = min(seconds if known else seconds[1:], default=None)
    if warm is not None:
        ways.plain = min(warm, ways.plain or warm)


def _by_difference(
    model: Network, x: Tensor, patches: Patches, known: Tensor, ways: Ways, exact: bool
) -> Iterator[Evaluated]:
    """The patches after those `known`, while it is the faster way; perhaps none."""
    network = ways.trace(model, x, exact)
    if network is None or ways.plain is None:
        return
    places = (patches.tops, patches.lefts, patches.side)
    plan = network.plan(*places)
    if not ways.promising(patches.side, plan):
        return
    with torch.inference_mode():
        clean = network.clean(plan, x)
    if clean is None:
        return

    def evaluate(start: int, stop: int) -> Tensor:
        with torch.inference_mode():
            logits = network.logits(plan, clean, x, patches.filling, places, start, stop)
            result = logits.to("cpu", known.dtype)
        # A plain tensor: one from inference mode could not be used in autograd later.
        return result.clone()

    done = len(known)
    # A network that decides by what it sees was replayed as it decided once: that shows here.
    if not _agree(evaluate(0, done), known):
        ways.incremental = None
        return
    batcher = network.batcher(plan, x.device, patches.side)
    batches = batcher.run(len(patches.tops) - done, lambda a, b: evaluate(a + done, b + done), 8)
    seconds, judged = float("inf"), False
    began = time.perf_counter()
    for count, (start, stop, logits) in enumerate(batches, 1):
        if stop - start == batcher.size or batcher.size is None:
            seconds = min(seconds, (time.perf_counter() - began) / (stop - start))
        yield Evaluated(start + done, stop + done, logits, plan.ratio)
        # While batches grow the time of an image falls: only what is far off is judged by it.
        early = batcher.size is None and seconds < HOPELESS * ways.plain
        over = stop + done == len(patches.tops)
        if not judged and (over or (count >= _TIMED and not early)):
            judged = True
            ways.among[patches.side].note(seconds)
            if not ways.promising(patches.side, plan):
                return
        began = time.perf_counter()


def _agree(ours: Tensor, theirs: Tensor) -> bool:
    tolerance = 1e-9 if ours.dtype == torch.float64 else 1e-3
    scale = float(theirs.abs().max())
    return bool(((ours - theirs).abs().max() <= tolerance * max(scale, 1e-12)).item())


def _plainly(
    model: Network, x: Tensor, patches: Patches, done: int, exact: bool, first: int
) -> Iterator[Evaluated]:
    def paint(image: Tensor, index: int) -> None:
        patches.paint(image, index + done)

    rest = len(patches.tops) - done
    for start, stop, logits in masked_logits(model, x, rest, paint, exact=exact, first=first):
        yield Evaluated(start + done, stop + done, logits)
