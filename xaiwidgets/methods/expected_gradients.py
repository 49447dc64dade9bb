"""Expected gradients: integrated gradients, averaged over baselines.

    R_i(x) = E over b ~ D, alpha ~ U(0, 1) of  (x_i - b_i) d S_c(b + alpha (x - b)) / dx_i

Erion, Janizek, Sturmfels, Lundberg, Lee, "Improving performance of deep learning models with
axiomatic attribution priors and expected gradients", 2021 (arXiv 1906.10670); shap calls it
GradientExplainer, Captum GradientShap. One sample is one pair of a baseline and an alpha, so that
the cost does not depend on the number of baselines. The baseline is drawn at random; the alphas
follow the golden ratio from a random start, which covers the path more evenly than drawing does.

Completeness: R sums to S_c(x) minus the mean of S_c over the baselines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import gradients
from xaiwidgets.engine.upload import upload
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.halves import agreement
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method

_GOLDEN = (math.sqrt(5) - 1) / 2
_NOISES = 32
"""Images of noise that "noise" draws from; few enough to ask the network about each."""


def _images(value: Any) -> Any:
    from xaiwidgets.images import read_image

    if isinstance(value, list | tuple) and not value:
        raise ValueError("there is no image in it")
    for image in _several(value):
        read_image(image)
    return value


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


@method(
    title="Expected gradients",
    family="path",
    paper="Erion et al.: Axiomatic attribution priors and expected gradients (2021)",
    url="https://arxiv.org/abs/1906.10670",
    needs="gradients",
)
def expected_gradients(
    task: Task,
    *,
    samples: Annotated[
        int, Range(2, 2000, 1, "Samples", help="Pairs of a baseline and a place on its path.")
    ] = 128,
    baselines: Annotated[
        Any,
        Choice(
            ("noise", "black+white"),
            "Baselines",
            help="Images that stand for 'nothing there', from which the paths begin.",
            also=_images,
            also_text="an image or a list of images",
        ),
    ] = "noise",
) -> Iterator[Estimate]:
    """Expected gradients, `(C, H, W)`, in logits.

    "noise" are 32 images of uniform noise in 0..1.

    Diagnostics: `completeness_gap` (sum of the attribution minus the difference of the scores, in
    logits), `completeness_relative` (its size relative to that difference), `score_photo`,
    `score_baseline` (mean over the baselines); `split_half` and `settled`, see
    `xaiwidgets.methods.halves`.
    """
    x = task.x
    count, baseline = _baselines(task, baselines)
    reference = _mean_score(task, count, baseline)
    photo = float(task.score(task.logits[None]))
    sums = torch.zeros(2, *x.shape[1:], dtype=x.dtype, device=x.device)
    offset = float(torch.rand((), generator=task.random(-1), dtype=torch.float64))
    starts: dict[int, Tensor] = {}

    def start(sample: int) -> Tensor:
        draw = torch.rand((), generator=task.random(sample), dtype=torch.float64)
        return baseline(min(int(draw * count), count - 1))

    def inputs(first: int, last: int) -> Tensor:
        starts.clear()
        starts.update({sample: start(sample) for sample in range(first, last)})
        alphas = [(offset + sample * _GOLDEN) % 1 for sample in starts]
        weights = upload(torch.tensor(alphas, dtype=x.dtype), x.device, x.dtype)
        return torch.lerp(torch.cat(list(starts.values())), x, weights.reshape(-1, 1, 1, 1))

    for batch in gradients(task.model, samples, inputs, task.score, exact=task.exact):
        for row, sample in enumerate(range(batch.start, batch.stop)):
            sums[sample % 2].addcmul_(batch.gradients[row], (x - starts[sample])[0])
        value = (sums.sum(0) / batch.stop).contiguous().cpu()
        gap = float(value.sum(dtype=torch.float64)) - (photo - reference)
        diagnostics = {
            "completeness_gap": gap,
            "completeness_relative": abs(gap) / max(abs(photo - reference), 1e-12),
            "score_photo": photo,
            "score_baseline": reference,
            **agreement(*sums.sum(1).cpu()),
        }
        yield Estimate(value, batch.stop, samples, diagnostics)


def _baselines(task: Task, given: Any) -> tuple[int, Callable[[int], Tensor]]:
    """How many there are, and what makes each, `(1, C, H, W)`."""

    def fed(pixels: Tensor) -> Tensor:
        return task.model.pixels_to_input(pixels).reshape(task.x.shape)

    if isinstance(given, str) and given == "noise":
        frame = task.prepared.pixels

        def noise(index: int) -> Tensor:
            generator = task.random(-2 - index)
            return fed(torch.rand(frame.shape, generator=generator, dtype=torch.float32).to(frame))

        return _NOISES, noise
    if isinstance(given, str):
        known = [fed(blank(task, kind)) for kind in given.split("+")]
    else:
        known = [task.model.prepare(image).input for image in _several(given)]
    for one in known:
        if one.shape != task.x.shape:
            raise ValueError(
                f"baselines has an image that is fed to the model as {_size(one)}, the photo as "
                f"{_size(task.x)}. Give images of the photo's size and channels."
            )
    return len(known), known.__getitem__


def _size(x: Tensor) -> str:
    return " x ".join(map(str, x.shape[1:]))


def _mean_score(task: Task, count: int, baseline: Callable[[int], Tensor]) -> float:
    def evaluate(first: int, last: int) -> float:
        with torch.inference_mode():
            rows = torch.cat([baseline(index) for index in range(first, last)])
            scores = task.score(task.model.logits(rows, exact=task.exact))
        return float(scores.cpu().double().sum())

    batches = task.model.batcher("forward").run(count, evaluate)
    return sum(found for _, _, found in batches) / count
