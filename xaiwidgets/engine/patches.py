"""A photo with a patch somewhere, at many places: the scores of all classes, the fastest way.

Two ways give the same numbers: the whole network on the whole photo, or only what the patch changes
(`engine.incremental`). Which one is faster is measured, never guessed: the first patches are
evaluated the plain way, and then also the other way, which checks it; after that both are timed on
the work itself. What was learned stays with the model.

One patch alone, such as the one under a cursor, is timed apart: a batch of one has other costs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from xaiwidgets.engine.batching import is_out_of_memory
from xaiwidgets.engine.gradients import Network
from xaiwidgets.engine.incremental import Corner, Incremental
from xaiwidgets.engine.incremental.groups import Plans
from xaiwidgets.engine.incremental.trace import UntraceableError
from xaiwidgets.engine.incremental.windows import Starts
from xaiwidgets.engine.masking import masked_logits
from xaiwidgets.engine.precision import REDUCED

log = logging.getLogger("xaiwidgets")

T = TypeVar("T")

# Below that many times fewer multiply-adds there is nothing to gain. Measured gains are above the
# planned ones on small networks, so that the time decides about all others: trying is no loss, as
# what is tried is part of the work.
_LEAST_RATIO = 1.1
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


@dataclass
class Taken:
    """The least of the times that something took, in seconds, and how many there were."""

    least: float = float("inf")
    times: int = 0

    def by(self, call: Callable[[], Tensor]) -> Tensor:
        """What `call` gives; its time counts."""
        began = time.perf_counter()
        result = call()
        self.least = min(self.least, time.perf_counter() - began)
        self.times += 1
        return result


@dataclass
class Ways:
    """What is known of the two ways of a network, for one size of its input.

    Attributes:
        traced: whether it was tried to replay the network.
        incremental: the other way; `None` where the network cannot be replayed.
        plain: seconds an image takes the plain way.
        gains: by side of the patch, how many times faster the other way was.
        alone: by side of the patch, what one image in a batch of its own took the other way; under
            0 what it took the plain way.
    """

    traced: bool = False
    incremental: Incremental | None = None
    plain: float | None = None
    gains: dict[int, float] = field(default_factory=dict)
    alone: defaultdict[int, Taken] = field(default_factory=lambda: defaultdict(Taken))

    def trace(self, model: Network, x: Tensor, exact: bool) -> Incremental | None:
        """The other way, made at the first call."""
        if not self.traced:
            self.traced = True
            try:
                if model.precision in REDUCED:
                    raise UntraceableError("rounded numbers cannot tell whether both agree")
                self.incremental = Incremental(lambda batch: model.logits(batch, exact=exact), x)
            except UntraceableError as reason:
                log.info("Patches are evaluated the plain way, as %s.", reason)
        return self.incremental

    def give_up(self, error: Exception) -> None:
        """Go the plain way from now on, as the other one ended in `error`.

        Where that is the network's own, it comes again the plain way.
        """
        self.incremental = None
        if is_out_of_memory(error):
            # It keeps activations of the whole photo, and first looks at a few images at once.
            log.info("Patches are evaluated the plain way, as the other takes too much memory.")
        else:
            log.info("Patches are evaluated the plain way, as the other failed.", exc_info=error)

    def tried(self, call: Callable[[], T]) -> T | None:
        """What `call` gives, a part of the other way; `None`, and given up, where it fails."""
        try:
            return call()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.give_up(error)
            return None

    def promising(self, side: int, plan: Plans) -> bool:
        """Whether the other way is faster, or may be."""
        return plan.ratio >= _LEAST_RATIO and self.gains.get(side, plan.ratio) > 1

    def learn(self, side: int, seconds: float) -> None:
        """Note what a patch took the other way."""
        assert self.plain is not None
        self.gains[side] = self.plain / seconds


class Newest:
    """The ways for the size of input that was asked about last.

    Those for every size there ever was would each keep activations of a whole photo. Whoever still
    works with those for another size goes on with them.

    Attributes:
        ways: for that size.
    """

    def __init__(self) -> None:
        self.ways = Ways()
        self._shape: tuple[int, ...] = ()
        self._lock = threading.Lock()

    def of(self, shape: tuple[int, ...]) -> Ways:
        """The ways for inputs `(1, C, H, W)`."""
        with self._lock:
            if shape != self._shape:
                self._shape, self.ways = shape, Ways()
            return self.ways


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
        if network is None or network.anywhere(side).ratio < _LEAST_RATIO:
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


def ways_of(model: Network, x: Tensor, exact: bool) -> Ways:
    """The ways to evaluate patches on a photo of this shape."""
    return model.once(("patches", exact), Newest).of(tuple(x.shape))


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
    seconds = float("inf")
    began = time.perf_counter()
    for count, (start, stop, logits) in enumerate(batches, 1):
        if stop - start == batcher.size or batcher.size is None:
            seconds = min(seconds, (time.perf_counter() - began) / (stop - start))
        yield Evaluated(start + done, stop + done, logits, plan.ratio)
        if count == _TIMED or stop + done == len(patches.tops):
            ways.learn(patches.side, seconds)
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
