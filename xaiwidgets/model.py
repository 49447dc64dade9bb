"""`Model`: a network with all that is needed to ask it about a photo."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from xaiwidgets.engine.batching import Batcher, is_out_of_memory
from xaiwidgets.engine.copies import Copies
from xaiwidgets.engine.copying import choose_device, choose_dtype, input_channels
from xaiwidgets.engine.layers import Layer, list_layers
from xaiwidgets.engine.logits import (
    check_finite,
    find_scores,
    network_error,
    scores_of_classes,
)
from xaiwidgets.engine.precision import FULL, check_precision, rounding, running, widened
from xaiwidgets.engine.upload import upload
from xaiwidgets.goals import Goal, OutputGoal, class_goal, function_goal, maps_in, region_goal
from xaiwidgets.preprocess import Preprocess, make_preprocess
from xaiwidgets.region import Region
from xaiwidgets.targets import Target, check_names, nearest, read_plain, resolve_target

T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """A photo as a model sees it.

    Attributes:
        pixels: the frame, float32 `(C, H, W)` in 0..1, on the CPU.
        input: the normalized input, `(1, C, H, W)`, on the model's device.
    """

    pixels: Tensor
    input: Tensor


@dataclass(frozen=True)
class Prediction:
    """One class of a photo: index, name, probability 0..1 and logit."""

    index: int
    name: str
    probability: float
    logit: float

    def __repr__(self) -> str:
        return f"{self.name} ({self.index}): {self.probability:.1%}"


class Model:
    """An image classifier, prepared.

    The network is copied; the one given is never touched: it keeps its mode, gradients, hooks and
    weights bit for bit.

    Args:
        net: any ``nn.Module`` from images `(N, C, H, W)` to scores `(N, K)`: a tensor, a
            dictionary or object with `logits` or `out`, or a tuple that begins with them; maps of
            scores `(N, K, H, W)` are averaged over positions.
        preprocess: `None` for the ImageNet evaluation preset (resize 256, center crop 224);
            a dictionary with any of mean, std, size, resize, interpolation; a callable from a
            PIL image to a tensor, such as torchvision's `weights.transforms()`; or "identity".
        categories: names of the classes, in order.
        device: "auto" (CUDA, MPS or CPU, the first there is), or a device.
        output: takes what the network returns and gives the scores, for unusual outputs.
        dtype: of the copy; default the network's own, but float32 for half precision on a CPU.
        name: for display; default the network's class.

    Attributes:
        precision: how the network is run, "fast"; `precise` gives models of other precisions.

    Raises:
        TypeError: when `net` is no network or cannot be copied, or for arguments of a wrong type.
        ValueError: for a device or a preprocessing that is not possible.
    """

    def __init__(
        self,
        net: nn.Module,
        preprocess: Any = None,
        categories: Sequence[str] | None = None,
        device: str | torch.device = "auto",
        *,
        output: Callable[[Any], Any] | None = None,
        dtype: torch.dtype | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(net, Model) or not isinstance(net, nn.Module):
            raise TypeError(
                f"A network is a torch.nn.Module, not {type(net).__name__}. "
                "For one that comes with weights, use xai.load()."
            )
        if output is not None and not callable(output):
            raise TypeError(
                f"output must take what the network returns and give logits, not {output!r}."
            )
        self.device = choose_device(device)
        self.dtype, self._note = choose_dtype(net, self.device, dtype)
        self.name = name or type(net).__name__
        self.categories = None if categories is None else check_names(categories)
        self.preprocess: Preprocess = make_preprocess(preprocess, input_channels(net))
        self.precision = "fast"
        self._output = output
        self._base: Model | None = None
        self._aim: OutputGoal | None = None
        self._map_size: tuple[int, int] | None = None
        self._last_input: Tensor | None = None
        self._last_maps: tuple[Tensor, bool, Tensor] | None = None
        self._lock = threading.RLock()
        self._batchers: dict[str, Batcher] = {}
        self._kept: dict[Hashable, Any] = {}
        self._copies = Copies(net, self.device, self.dtype, self._example)
        self._layers: list[Layer] | None = None
        self._size = self.preprocess.size

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self._copies.written.parameters())
        note = f" ({self._note})" if self._note else ""
        precision = "" if self.precision == "fast" else f', precision "{self.precision}"'
        classes = f"{len(self.categories)} named classes" if self.categories else "unnamed classes"
        return (
            f"Model({self.name}: {count / 1e6:.2f} M parameters, {classes}, "
            f"{str(self.dtype).removeprefix('torch.')} on {self.device}{note}{precision}; "
            f"preprocess: {self.preprocess})"
        )

    @property
    def channels(self) -> int:
        """Channels of the frame, 1 or 3."""
        return self.preprocess.channels

    @property
    def size(self) -> tuple[int, int]:
        """`(H, W)` of the frame; where it follows the image, that of the last one."""
        return self._size or (224, 224)

    @property
    def map_size(self) -> tuple[int, int] | None:
        """`(h, w)` of the maps of scores that the network gives, as far as it has been run; `None`
        where it gives one score for each class.
        """
        return self._map_size

    @property
    def net(self) -> nn.Module:
        """The prepared copy, as the network is written."""
        return self._copies.net

    @property
    def fast(self) -> nn.Module:
        """The prepared copy with batch normalization folded away where that is possible."""
        return self._copies.folded

    @property
    def memory_format(self) -> torch.memory_format:
        """How inputs lie in memory: channels last where the network takes that."""
        return self._copies.memory_format

    def precise(self, precision: str) -> Model:
        """The same network, run with another precision.

        Args:
            precision:
                "fast" folds batch normalization into convolutions and lays images and weights out
                in channels_last, where the network takes that; "exact" does neither, and runs the
                network as it is written. They differ by rounding, and leave torch's own switches
                alone (which let convolutions on a GPU use TF32, unless you turn that off).
                "tf32" is "fast" with convolutions and matrix products in TF32, on NVIDIA GPUs.
                "bf16" is "fast" with those in bfloat16, by `torch.autocast`. A CPU without AMX or
                AVX512-BF16 is many times slower with it.

                Explanations with the last two tell what that costs, which may be much: of a score
                that moves by 1 %, the gradient can move by half. See `xaiwidgets.explain`.

        Raises:
            ValueError: for another precision, or one that the device or the dtype rules out.

        The switches of TF32 are those of the whole process: they are turned while the network
        runs, there and back, and put back as they were. Other threads that compute on a GPU
        meanwhile are rounded likewise. Deep Dream always computes in the network's own dtype.
        """
        check_precision(precision, self.device, self.dtype)
        base = self._base or self
        if precision == base.precision:
            return base
        made = copy.copy(base)
        made.precision, made._base, made._last_maps = precision, base, None
        # Batches take other times and another memory, and answers are rounded otherwise.
        made._batchers, made._kept = base.once(("precision", precision), lambda: ({}, {}))
        if precision == "exact":
            made._copies = base.once("plain", base._copies.plain)
        return made

    def full(self) -> Model:
        """What a reduced precision is measured against: the same in float32, without TF32."""
        made = copy.copy(self)
        made.precision = FULL
        return made

    def running(self) -> AbstractContextManager[None]:
        """Around a run of the network and the way back through it; `logits` enters it itself."""
        return running(self.precision)

    def batcher(self, kind: str) -> Batcher:
        """What keeps the batch size of "gradient" or of "forward" work."""
        with self._lock:
            return self._batchers.setdefault(kind, Batcher(self.device))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave at the first call with `key`; it is kept with the model."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            kept: T = self._kept[key]
            return kept

    def prepare(self, image: Any) -> Prepared:
        """The photo as the model sees it.

        Args:
            image: a path, PIL image, array or tensor; see `xaiwidgets.images`. A float array or
                tensor of the frame's very size is taken as the frame, without rounding.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: for what is no image, or has pixels or channels that are not possible.
            TypeError: for anything else.
        """
        with torch.inference_mode(False), torch.no_grad():
            pixels, x = self.preprocess.prepare(image)
            if not self.preprocess.takes(len(x)):
                raise ValueError(
                    f"The image has {len(x)} channels after preprocessing, the network takes "
                    f"{self.channels}."
                )
            self._size = (x.shape[-2], x.shape[-1])
            self._last_input = upload(x[None], self.device, self.dtype)
            return Prepared(pixels, self._last_input)

    def pixels_to_input(self, pixels: Tensor) -> Tensor:
        """Normalize pixels `(..., C, H, W)` in 0..1, on the model's device."""
        return self.preprocess.normalize(upload(pixels, self.device, self.dtype))

    def input_to_pixels(self, x: Tensor) -> Tensor:
        """Pixels in 0..1 of inputs `(..., C, H, W)`, on the CPU, to be looked at."""
        return self.preprocess.denormalize(x.detach().to("cpu", torch.float32))

    def logits(self, x: Tensor, *, exact: bool | None = None) -> Tensor:
        """The scores of all classes, `(N, K)`, before softmax.

        Args:
            x: normalized inputs `(N, C, H, W)`.
            exact: run the network as it is written, without folding; `None` where `precision` is
                "exact".

        Raises:
            TypeError: when no scores are found in what the network returns.
            ValueError: when they have another shape, or do not fit the class names.
            RuntimeError: when the network cannot take such inputs. Any other error of its own
                comes through as it is.
        """
        output = self.output(x, exact=exact)
        if self._aim is not None:
            return self._widened(self._aim.readings(output, len(x)))
        scores = self._widened(find_scores(output, self._output))
        self._map_size = (scores.shape[2], scores.shape[3]) if scores.ndim == 4 else None
        if scores.ndim == 4 and x is self._last_input:
            self._last_maps = (x, self._as_written(exact), scores)
        found = scores_of_classes(scores, len(x))
        if self.categories is not None and found.shape[1] != len(self.categories):
            raise ValueError(
                f"The network has {found.shape[1]} classes, but {len(self.categories)} names were "
                "given. Give one name for each class, or categories=None."
            )
        return found

    def output(self, x: Tensor, *, exact: bool | None = None) -> Any:
        """What the network itself returns; arguments and errors as for `logits`."""
        net = self.net if self._as_written(exact) else self.fast
        laid = self.laid(x)
        try:
            with self.running(), rounding(self.precision, self.device):
                return self._widened(net(laid))
        except (RuntimeError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            raise network_error(self.name, error, x) from error

    def laid(self, x: Tensor) -> Tensor:
        """Inputs as the network takes them: a copy where it would write into them."""
        return self._copies.laid(x)

    def predict(self, image: Any, k: int = 5) -> list[Prediction]:
        """The `k` most probable classes of a photo, the most probable first."""
        if type(k) is not int or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, not {k!r}.")
        with torch.inference_mode():
            logits = check_finite(self.logits(self.prepare(image).input)[0].float().cpu())
        return self.predictions(logits, k)

    def predictions(self, logits: Tensor, k: int = 5) -> list[Prediction]:
        """The `k` most probable classes of logits `(K,)`."""
        probabilities = logits.softmax(0)
        order = logits.argsort(descending=True, stable=True)[:k].tolist()
        return [
            Prediction(i, self.category(i), float(probabilities[i]), float(logits[i]))
            for i in order
        ]

    def category(self, index: int) -> str:
        """The name of a class, "class 7" where names are not known."""
        return f"class {index}" if self.categories is None else self.categories[index]

    def resolve_target(self, target: Any, logits: Tensor) -> Target:
        """Classes by their index; `None` takes the highest of `logits`. See `targets`."""
        return resolve_target(target, logits, self.categories)

    def goal(self, target: Target) -> Goal:
        """The number that a resolved target stands for.

        Raises:
            ValueError: for a model that was made for another target.
        """
        if self._aim is None:
            return class_goal(target, self.category)
        if target is not self._aim.target and target != self._aim.target:
            raise ValueError(f"This model reads {self._aim.name!r} off its network, nothing else.")
        return self._aim

    def aimed(self, target: Any, x: Tensor, *, exact: bool = False) -> tuple[Model, Target, Tensor]:
        """A model of the same network that gives, in place of logits, what the target reads off.

        Args:
            target: a `Region`, or a callable on what the network returns.
            x: the photo as the model sees it, `(1, C, H, W)`.
            exact: run the network without folding.

        Returns:
            The model, the resolved target, and what the model gives for the photo, `(1, M)`.

        Raises:
            ValueError, TypeError: for a target that does not fit what the network returns.
        """
        target = read_plain(target)
        aim: OutputGoal
        # The weights of a region made in inference mode could never be differentiated through.
        with torch.inference_mode(False), torch.no_grad():
            if isinstance(target, Region):
                maps, frame = self._maps(x, exact), (x.shape[-2], x.shape[-1])
                region = region_goal(target, maps, frame, self._output, self.categories)
                aim, found = region, region.read(maps)
            else:
                aim = function_goal(target)
                found = aim.readings(self.output(x, exact=exact), len(x))
        made = copy.copy(self)
        made._aim = aim
        made._last_input = made._last_maps = None
        # Answers that hang on what is read; the network and its batch sizes are shared.
        made._kept = {}
        return made, aim.target, found

    def _maps(self, x: Tensor, exact: bool) -> Tensor:
        """The maps of scores of a photo; those of the last one are kept, so that a region which is
        painted stroke by stroke asks the network nothing.
        """
        last = self._last_maps
        if last is None or last[0] is not x or last[1] != exact:
            maps = self._widened(maps_in(self.output(x, exact=exact), len(x), self._output))
            self._last_maps = last = (x, exact, maps)
        return last[2]

    def layers(self) -> list[Layer]:
        """Every layer: name, type, output shape, share of the work, in the order of the tree."""
        with self._lock:
            if self._layers is None:
                example = self._example().contiguous(memory_format=self.memory_format)
                try:
                    self._layers = list_layers(self.net, example)
                except (RuntimeError, AssertionError) as error:
                    raise network_error(self.name, error, example) from error
            return self._layers

    def layer(self, name: str) -> nn.Module:
        """The module called `name`, as in `layers`.

        Raises:
            ValueError: when there is none; the nearest ones are listed.
        """
        known: dict[str, nn.Module] = {
            path: module for path, module in self.net.named_modules() if path
        }
        if not isinstance(name, str):
            raise TypeError(f"A layer is given by its name, not by {name!r}.")
        if name in known:
            return known[name]
        close = nearest(name, list(known))
        hint = f" The nearest: {', '.join(close)}." if close else ""
        raise ValueError(f'There is no layer "{name}".{hint} See model.layers() for all of them.')

    def _example(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.rand(1, self.channels, *self.size, generator=generator)
        return self.pixels_to_input(pixels)

    def _as_written(self, exact: bool | None) -> bool:
        return self.precision == "exact" if exact is None else exact

    def _widened(self, output: T) -> T:
        return widened(output) if self.precision == "bf16" else output
