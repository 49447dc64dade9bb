"""`explain`: one photo, one method, one answer."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xaiwidgets.engine.logits import check_finite
from xaiwidgets.images import visible
from xaiwidgets.inside.deep_dream import check_seed
from xaiwidgets.methods import registry
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.methods.params import check_all
from xaiwidgets.methods.rounding import with_error
from xaiwidgets.model import Model, Prepared
from xaiwidgets.progress import bar
from xaiwidgets.targets import Target, reads_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Explanation:
    """A finished explanation.

    Attributes:
        method: its name.
        attribution: float32 `(3, H, W)` or `(H, W)`, signed, in the frame that the model saw.
        target: index of the class; of several a tuple, else as it was given with classes by their
            index. It can be given again.
        category: name of the class, or of whatever the target is.
        score: the target's logit of the photo (sum or difference of logits, mean over the region,
            what the callable gave).
        params: every parameter, defaults included.
        seconds: that it took.
        diagnostics: numbers that say how far it can be trusted.
        pixels: the frame that the model saw, float32 `(C, H, W)` in 0..1.
    """

    method: str
    attribution: NDArray[np.float32]
    target: Target
    category: str
    score: float
    params: dict[str, Any]
    seconds: float
    diagnostics: dict[str, float]
    pixels: NDArray[np.float32] = field(repr=False)

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """The attribution summed over channels, signed, float32 `(H, W)`."""
        return heatmap(self.attribution)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.attribution.shape))
        return (
            f"Explanation({self.method} of {self.category!r}, score {self.score:.3g}, "
            f"{shape}, {self.seconds:.2f} s)"
        )

    def plot(self, *, clip: float = 99.5) -> Figure:
        """The photo and the heatmap side by side, as a matplotlib figure.

        Args:
            clip: percentile of the absolute heatmap that gets the full color, 50 to 100.
        """
        from matplotlib.figure import Figure

        if not 50 <= clip <= 100:
            raise ValueError(f"clip must be a percentile from 50 to 100, not {clip!r}.")
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        photo = visible(torch.from_numpy(self.pixels)).movedim(0, -1).numpy()
        left.imshow(photo.squeeze(), cmap="gray" if photo.shape[-1] == 1 else None, vmin=0, vmax=1)
        left.set_title(f"{self.category} ({self.score:.2f})")
        limit = float(np.percentile(np.abs(self.heatmap), clip)) or 1.0
        shown = right.imshow(self.heatmap, cmap="RdBu_r", vmin=-limit, vmax=limit)
        right.set_title(registry.get(self.method).title)
        figure.colorbar(shown, ax=right)
        for axes in (left, right):
            axes.axis("off")
        return figure

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a picture (.png, .jpg, .pdf, .svg) or the numbers (.npz).

        Raises:
            ValueError: for another ending.
        """
        target = Path(path)
        ending = target.suffix.lower()
        if ending == ".npz":
            np.savez_compressed(
                target,
                attribution=self.attribution,
                pixels=self.pixels,
                target=self.target if isinstance(self.target, int) else self.category,
                score=self.score,
            )
        elif ending in (".png", ".jpg", ".jpeg", ".pdf", ".svg"):
            self.plot().savefig(target, dpi=150)
        else:
            raise ValueError(
                f'The file\'s ending must be .png, .jpg, .pdf, .svg or .npz, not "{ending}".'
            )
        return target


def heatmap(attribution: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(C, H, W)` summed over channels; `(H, W)` as it is."""
    return attribution if attribution.ndim == 2 else attribution.sum(0, dtype=np.float32)


@torch.inference_mode(False)
def make_task(
    model: Model,
    image: Any,
    target: Any = None,
    *,
    seed: int = 0,
    precision: str | None = None,
    logits: Tensor | None = None,
) -> Task:
    """Prepare the photo, run the model once, and settle the target.

    With a photo that is prepared already, and its `logits`, `(1, K)`, nothing is run.

    Raises:
        ValueError: for a class or a precision that the model does not have, or a model that gives
            NaN.
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"The first argument must be an xaiwidgets.Model, not {type(model).__name__}. "
            "Wrap a network with xai.Model(net), or take one from xai.load()."
        )
    seed = check_seed(seed)
    if isinstance(image, Tensor) and image.is_inference():
        image = image.clone()  # autograd takes none that was made in inference mode
    prepared = image if isinstance(image, Prepared) else model.prepare(image)
    precise = model if precision is None else model.precise(precision)
    exact = precise.precision == "exact"
    if reads_output(target):
        return _aimed(precise, prepared, target, seed, exact)
    if logits is None:
        with torch.inference_mode():
            logits = precise.logits(prepared.input, exact=exact)
    found = _clean(logits)
    return Task(precise, prepared, precise.resolve_target(target, found), found, seed, exact)


def retarget(task: Task, target: Any) -> Task:
    """The same photo, of a task for classes, with another target of any kind.

    Raises:
        ValueError, TypeError: as `make_task`.
    """
    if reads_output(target):
        return _aimed(task.model, task.prepared, target, task.seed, task.exact)
    return replace(task, target=task.model.resolve_target(target, task.logits))


def _aimed(model: Model, prepared: Prepared, target: Any, seed: int, exact: bool) -> Task:
    reading, resolved, found = model.aimed(target, prepared.input, exact=exact)
    return Task(reading, prepared, resolved, _clean(found), seed, exact)


def _clean(logits: Tensor) -> Tensor:
    """The scores of the one photo, on the CPU, or raise."""
    with torch.inference_mode():
        kept = torch.float64 if logits.dtype == torch.float64 else torch.float32
        logits = logits[0].to("cpu", kept)
    return check_finite(logits.clone())


def estimates(task: Task, method: str, params: dict[str, Any]) -> Generator[Estimate, None, None]:
    """Run a method on a prepared task.

    Parameters are checked before the first estimate is asked for. Closing it ends the method.

    Raises:
        ValueError: while iterating, when the attribution is not finite.
    """
    spec = registry.get(method)
    checked = check_all(spec.name, spec.parameters, params)
    spec.check_target(task.score.kind)
    steps = _finite(spec.function(task, **checked), spec.title)
    return _outside_inference(with_error(task, steps, spec.uses_gradients))


@torch.inference_mode(False)
def _outside_inference(steps: Iterator[Estimate]) -> Generator[Estimate, None, None]:
    """The same steps where gradients exist, whatever mode the caller is in between them."""
    yield from steps


def _finite(steps: Iterator[Estimate], title: str) -> Iterator[Estimate]:
    for estimate in steps:
        if not bool(torch.isfinite(estimate.value).all()):
            raise ValueError(
                f"{title} gave values that are NaN or infinite after {estimate.done} evaluations: "
                "the model's scores or gradients are not finite near this photo."
            )
        yield estimate


def explaining(
    model: Model,
    image: Any,
    method: str,
    target: Any = None,
    *,
    seed: int = 0,
    precision: str | None = None,
    settled: float | None = None,
    **params: Any,
) -> Iterator[Estimate]:
    """The same as `explain`, step by step: yields ever better estimates.

    Args and errors are those of `explain`; they are checked at the call, not at the first step
    (but for a method that cannot take `settled`).
    """
    enough = _check_settled(settled)
    task = make_task(model, image, target, seed=seed, precision=precision)
    return _until_settled(estimates(task, method, params), method, enough)


def explain(
    model: Model,
    image: Any,
    method: str,
    target: Any = None,
    *,
    seed: int = 0,
    precision: str | None = None,
    settled: float | None = None,
    progress: bool | None = None,
    **params: Any,
) -> Explanation:
    """Explain why the model gives `image` the class `target`, or another number of its output.

    Args:
        model: an `xaiwidgets.Model`.
        image: a path, PIL image, array or tensor.
        method: a name from `xaiwidgets.methods()`.
        target: class by index or name; `None` takes the one with the highest score. A list of
            classes is explained by the sum of their logits; `xai.Difference("tabby", "tiger cat")`
            asks why the one and not the other; `xai.Region(box_or_mask, "cat")` takes the mean
            score of a class over a part of a segmentation network's maps; and any callable that
            takes what the network returns and gives one number for each image, `(N,)`, by
            differentiable operations, is explained as it is. Methods that show probabilities add
            and subtract those of the classes.
        seed: of everything random, at least 0; same seed, same numbers (to the last digits, which
            depend on the batch size, and that is measured).
        precision: "fast" folds batch normalization into convolutions and chooses the memory
            layout, "exact" runs the network as it is written. They differ by rounding. "tf32" and
            "bf16" trade digits for speed on a GPU; what that costs on the clean photo stands in
            `diagnostics`: `precision_error`, the relative difference of the target's score from
            full precision, and for methods that use gradients `precision_error_gradient`, that of
            the gradient at the photo (L2). `None` is what the model is set to, "fast" unless it
            comes from `Model.precise`, which says more of each.
        settled: end at the first estimate whose `diagnostics["settled"]`, its expected correlation
            with the picture that it is going to, reaches this, 0.5 to 1, after 16 evaluations at
            least; `None` does all the work. For methods that average over samples, steps or
            positions. Where that is depends on the batch size, as estimates come once a batch.
        progress: show a bar; `None` shows one when it takes longer than a second.
        **params: the method's own, see `xaiwidgets.methods()`.

    Raises:
        ValueError: for a value that is not allowed: it says what is.
        TypeError: for a value of the wrong type, or a parameter that the method does not have.
    """
    spec = registry.get(method)
    checked = check_all(spec.name, spec.parameters, params)
    enough = _check_settled(settled)
    began = time.perf_counter()
    task = make_task(model, image, target, seed=seed, precision=precision)
    steps = _until_settled(estimates(task, spec.name, checked), spec.name, enough)
    last = last_of(bar(steps, spec.name, progress, lambda step: (step.done, step.total)))
    return finished(task, spec.name, checked, last, time.perf_counter() - began)


def finished(
    task: Task, method: str, params: dict[str, Any], last: Estimate, seconds: float
) -> Explanation:
    """The explanation that the last estimate of a run makes."""
    return Explanation(
        method,
        last.value.to(torch.float32).numpy(),
        task.target,
        task.score.name,
        float(task.score(task.logits)),
        dict(params),
        seconds,
        dict(last.diagnostics),
        task.prepared.pixels.to(torch.float32).numpy(),
    )


# With fewer evaluations the two halves of a picture agree or not by chance.
_FEWEST = 16


def _check_settled(settled: Any) -> float | None:
    if settled is None:
        return None
    allowed = "settled must be a number from 0.5 to 1, or None for all the work"
    if isinstance(settled, bool) or not isinstance(settled, float | int | np.number):
        raise TypeError(f"{allowed}, not {settled!r}.")
    if not 0.5 <= settled <= 1:
        raise ValueError(f"{allowed}, not {settled!r}.")
    return float(settled)


def _until_settled(
    steps: Iterator[Estimate], method: str, enough: float | None
) -> Iterator[Estimate]:
    """The estimates up to the first that is settled enough, which is made the last."""
    return steps if enough is None else _settling(steps, method, enough)


def _settling(steps: Iterator[Estimate], method: str, enough: float) -> Iterator[Estimate]:
    for estimate in steps:
        found = estimate.diagnostics.get("settled")
        if found is None:
            raise ValueError(
                f'"{method}" does not tell how far its picture has settled, so it cannot end when '
                f"that reaches {enough:g}. Leave settled= out; methods that average over samples, "
                "steps or positions take it."
            )
        if found >= enough and estimate.done >= min(_FEWEST, estimate.total):
            yield replace(estimate, total=estimate.done)
            return
        yield estimate
