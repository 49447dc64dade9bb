"""What is known of the two ways to evaluate patches, and when the other one is given up.

See `engine.patches`: the plain way runs the network on whole photos, the other one replays what the
patch changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from xaiwidgets.engine.batching import is_out_of_memory
from xaiwidgets.engine.gradients import Network
from xaiwidgets.engine.incremental import Incremental
from xaiwidgets.engine.incremental.groups import Plans
from xaiwidgets.engine.incremental.trace import UntraceableError
from xaiwidgets.engine.precision import REDUCED

log = logging.getLogger("xaiwidgets")

T = TypeVar("T")

# Below that many times fewer multiply-adds there is nothing to gain. Measured gains are above the
# planned ones on small networks, so that the time decides about all others: trying is no loss, as
# what is tried is part of the work.
LEAST_RATIO = 1.1
# So many times the plain way's time is no bad reading of the clock.
HOPELESS = 1.5
# A way that is slower by less is tried so many times before it is left.
_TRIES = 3


@dataclass
class Taken:
    """The least of the times that something took, in seconds, and how many there were."""

    least: float = float("inf")
    times: int = 0

    def by(self, call: Callable[[], Tensor]) -> Tensor:
        """What `call` gives; its time counts."""
        began = time.perf_counter()
        result = call()
        self.note(time.perf_counter() - began)
        return result

    def note(self, seconds: float) -> None:
        """One more time that it took so long."""
        self.least = min(self.least, seconds)
        self.times += 1


@dataclass
class Ways:
    """What is known of the two ways of a network, for one size of its input.

    Attributes:
        traced: whether it was tried to replay the network.
        incremental: the other way; `None` where the network cannot be replayed.
        plain: seconds an image takes the plain way.
        among: by side of the patch, what one image took the other way among others.
        alone: by side of the patch, what one image in a batch of its own took the other way; under
            0 what it took the plain way.
    """

    traced: bool = False
    incremental: Incremental | None = None
    plain: float | None = None
    among: defaultdict[int, Taken] = field(default_factory=lambda: defaultdict(Taken))
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
        if plan.ratio < LEAST_RATIO or self.plain is None:
            return False
        taken = self.among[side]
        slower = taken.least / self.plain
        return not taken.times or slower < 1 or (taken.times < _TRIES and slower < HOPELESS)


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


def ways_of(model: Network, x: Tensor, exact: bool) -> Ways:
    """The ways to evaluate patches on a photo of this shape."""
    return model.once(("patches", exact), Newest).of(tuple(x.shape))
