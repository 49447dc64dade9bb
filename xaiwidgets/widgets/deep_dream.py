"""Deep Dream, live: watch it dream, scrub back, pause, go on."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import traitlets as t

from xaiwidgets.images import read_image
from xaiwidgets.inside.deep_dream import (
    Dream,
    check_seed,
    make_dreamer,
    parameters,
    start_pixels,
)
from xaiwidgets.inside.dream import ITERATIONS_PER_OCTAVE, Dreamer, DreamFrame
from xaiwidgets.model import Model
from xaiwidgets.runtime.kept import Kept
from xaiwidgets.runtime.stream import Packed
from xaiwidgets.runtime.token import Token
from xaiwidgets.widgets import encode, front_end
from xaiwidgets.widgets.base import name_of
from xaiwidgets.widgets.cache import fingerprint
from xaiwidgets.widgets.layered import LayeredWidget
from xaiwidgets.widgets.running import Request

_PAPER = {
    "text": "Mordvintsev, Olah, Tyka: Inceptionism: Going Deeper into Neural Networks (2015)",
    "url": "https://research.google/blog/inceptionism-going-deeper-into-neural-networks/",
}


class DeepDream(LayeredWidget, parameters=parameters(), writable=("layer", "channel", "paused")):
    """A photo dreams: it is changed so that a layer sees more of what it sees.

    Args:
        model: an `xaiwidgets.Model`.
        image: a path, PIL image, array or tensor.
        layer: name of the layer to climb, see `model.layers()`; None takes one halfway through.
        channel: one channel of it; None climbs all of them.
        seed: of the jitter.
        **params: those of `xaiwidgets.deep_dream`. `iterations` is a position on a fixed path:
            more of them go on from where the dream stands, fewer show an earlier picture.

    Attributes:
        paused: True stops the dream where it stands, False goes on.

    Raises:
        ValueError, TypeError: for a photo, layer, channel or parameter that cannot be used.

    Mordvintsev, Olah, Tyka, "Inceptionism", 2015.
    """

    _esm = front_end.script("dream")
    _kind_name: ClassVar[str] = "deep_dream"

    iterations: int
    octaves: int
    octave_scale: float
    step: float
    jitter: int
    size: int

    paused = t.Bool(False).tag(sync=True)

    def __init__(
        self,
        model: Model,
        image: Any,
        layer: str | None = None,
        channel: int | None = None,
        *,
        seed: int = 0,
        **params: Any,
    ) -> None:
        self._seed = check_seed(seed)
        self._wanted = (layer, channel)
        self._frames: Kept[DreamFrame] = Kept(
            self._pack, lambda frame: frame.image.nbytes, first="newest"
        )
        self._stream.attach(self._frames)
        self._dreamer: Dreamer | None = None
        self._dream_key: Hashable = None
        self._dream_generation = 0
        self._objective: list[float] = []
        self._seconds = 0.0
        super().__init__(model, image, params, _title="Deep Dream", _paper=_PAPER)
        self.observe(self._on_change, "paused")

    def _begin(self, image: Any, params: dict[str, Any]) -> dict[str, Any]:
        self._source = read_image(image)
        self._source_key = fingerprint(self._source)
        traits = self._find_layer(*self._wanted)
        start = start_pixels(self._model, self._source, params["size"], params["octaves"])
        return {
            **traits,
            "_photo": encode.png(start),
            "_photo_name": name_of(image),
        }

    def _read(self, image: Any) -> Any:
        return read_image(image)

    def _adopt(self, photo: Any, name: str) -> None:
        self._source, self._source_key = photo, fingerprint(photo)
        self._photo_name = name

    def _resolve_target(self, value: Any) -> int:
        if self._quiet:
            return 0  # the trait's own default
        raise TypeError("A dream has no target class: choose a layer and a channel.")

    def _act(self, name: Any) -> None:
        if name in ("pause", "resume"):
            self.paused = name == "pause"
        else:
            super()._act(name)

    # --- the job

    def _work(self, request: Request, token: Token) -> Iterator[None]:
        self._take_incoming()
        began = time.perf_counter()
        dreamer = self._dream(request)
        iterations: int = request.params["iterations"]
        self._tell(dreamer, iterations)
        try:
            while dreamer.iteration < iterations and not self.paused:
                frame = self._advance(dreamer)
                with self._stream:
                    self._frames.add(frame)
                self._tell(dreamer, iterations)
                yield
                if dreamer.iteration < iterations:
                    token.check()
        finally:
            self._seconds += time.perf_counter() - began
        self._publish(request, dreamer, iterations)

    def _dream(self, request: Request) -> Dreamer:
        """The dream that stands, or a new one if anything but the iterations is different."""
        with self._lock:
            source, channel, layer = self._source, self.channel, self.layer
            params = request.params
            shaping = tuple(params[name] for name in sorted(params) if name != "iterations")
            key = (self._source_key, layer, channel, shaping)
        iterations = params["iterations"]
        if self._dreamer is not None and key == self._dream_key:
            made = self._dreamer.iteration
            if iterations >= made or self._frame(iterations) is not None:
                return self._dreamer
        self._dreamer = None
        dreamer = make_dreamer(
            self._model, source, layer=layer, channel=channel, seed=self._seed, params=params
        )
        start = dreamer.frame()
        self._dreamer, self._dream_key = dreamer, key
        self._dream_generation = request.generation
        self._objective, self._seconds = [], 0.0
        with self._stream:
            self._frames.replace([start])
        with self._quietly():
            self._photo = encode.png(start.image)
        return dreamer

    def _advance(self, dreamer: Dreamer) -> DreamFrame:
        try:
            frame = dreamer.advance()
        except BaseException:
            self._dreamer = None  # half a step was taken: what follows would not be the same path
            raise
        self._objective.append(frame.objective)
        return frame

    def _frame(self, iteration: int) -> DreamFrame | None:
        found = (frame for frame in self._frames.items if frame.iteration == iteration)
        return next(found, None)

    def _tell(self, dreamer: Dreamer, iterations: int) -> None:
        done = min(dreamer.iteration, iterations)
        self._say(self._dream_generation, done, iterations)

    def _publish(self, request: Request, dreamer: Dreamer, iterations: int) -> None:
        done = min(dreamer.iteration, iterations)
        frame = self._frame(done) or self._frames.items[-1]
        objective = self._objective[:done]
        picture = encode.png(frame.image)
        with self._lock:
            if not self._is_current(request):
                return
            self._last = Dream(
                frame.image,
                self._frames.items[0].image,
                np.asarray(objective, dtype=np.float32),
                dreamer.layer,
                dreamer.channel,
                dict(request.params),
                dreamer.sizes,
                self._seconds,
            )
            with self.hold_sync():
                self._result = picture
                self._result_info = {
                    "shape": list(frame.image.shape[:2]),
                    "generation": self._dream_generation,
                    "target": None,
                    "category": "",
                    "params": encode.plain(request.params),
                    "seconds": self._seconds,
                    "score": encode.plain(frame.objective),
                    "done": done,
                    "total": iterations,
                    "diagnostics": {},
                }
                self._extra_info = {
                    "iterations_done": dreamer.iteration,
                    "octaves": [list(size) for size in dreamer.sizes],
                    "iterations_per_octave": ITERATIONS_PER_OCTAVE,
                    "objective": encode.plain(self._objective),
                    "layer": dreamer.layer,
                    "channel": dreamer.channel,
                    "channels": dreamer.channels,
                    "paused": self.paused,
                }
                text = f"paused at {done} of {iterations}" if done < iterations else ""
                self._say(self._dream_generation, done, iterations, text, last=True)
                self.status = "idle"

    def _pack(self, frames: Sequence[DreamFrame]) -> Packed:
        (frame,) = frames
        message = {
            "kind": "frame",
            "gen": self._dream_generation,
            "iteration": frame.iteration,
            "octave": frame.octave,
            "objective": encode.plain(float(frame.objective)),
            "total": self.iterations,
            "size": list(frame.image.shape[:2]),
        }
        return message, [encode.jpeg(frame.image)]

    # --- the rest

    def _told(self) -> list[str]:
        channel = [] if self.channel is None else [f"channel={self.channel}"]
        return [f"layer={self.layer!r}", *channel]

    def _still(self) -> bytes:
        return self._result or self._photo

    def _free(self) -> None:
        self._dreamer = None
        with self._stream:
            self._frames.replace()
        with self._quietly():
            self._result = b""
