"""SmoothGrad: the average of a gradient method over noisy copies of the photo.

    R(x) = 1/n * sum over k of  M_c(x + sigma e_k),    e_k ~ N(0, 1)

Smilkov, Thorat, Kim, Viegas, Wattenberg, "SmoothGrad: removing noise by adding noise", 2017
(arXiv 1706.03825). Sigma is `noise` times (max - min) of the input, as in the paper. Forms: the
mean; the mean of squares (Hooker et al. 2019, arXiv 1806.10758); the variance, VarGrad (Adebayo et
al. 2018, arXiv 1810.03307).

Sample k always sees the same unit noise e_k, so that the picture changes smoothly with sigma.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import Gradients, gradients
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.halves import agreement
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method


@dataclass(frozen=True)
class NoisySample:
    """The newest noisy copy of the photo: its number, and its pixels `(C, H, W)` in 0..1."""

    index: int
    pixels: Tensor


@method(
    title="SmoothGrad",
    family="gradient",
    paper="Smilkov et al.: SmoothGrad: removing noise by adding noise (2017)",
    url="https://arxiv.org/abs/1706.03825",
    needs="gradients",
)
def smoothgrad(
    task: Task,
    *,
    noise: Annotated[
        float,
        Range(0, 0.5, 0.01, "Noise", "%", "Sigma of the noise, as a share of the input's range."),
    ] = 0.15,
    samples: Annotated[
        int, Range(1, 500, 1, "Samples", help="Noisy copies that are averaged.")
    ] = 50,
    base: Annotated[
        str,
        Choice(
            ("saliency", "input_x_gradient", "integrated_gradients"),
            "Base method",
            help="The method that is averaged.",
        ),
    ] = "saliency",
    form: Annotated[
        str,
        Choice(
            ("mean", "squared", "variance"),
            "Form",
            help="Mean, mean of squares (SmoothGrad-Squared), or variance (VarGrad).",
        ),
    ] = "mean",
    base_steps: Annotated[
        int,
        Range(1, 128, 1, "Path steps", help="Steps of the base method integrated gradients."),
    ] = 16,
) -> Iterator[Estimate]:
    """SmoothGrad, `(C, H, W)`, signed for the mean, never negative for the other forms.

    Diagnostics: `samples` that are complete; `split_half` and `settled`, see `methods.halves`.
    """
    x = task.x
    sigma = noise * float(x.max() - x.min())
    path = base == "integrated_gradients"
    inner = base_steps if path else 1
    start = task.model.pixels_to_input(blank(task, "black")).reshape(x.shape) if path else None
    halves = _Moments(x[0], form), _Moments(x[0], form)
    newest: tuple[int, Tensor] = (-1, x)

    def noisy(sample: int) -> Tensor:
        nonlocal newest
        if newest[0] != sample:
            newest = (sample, torch.add(x, task.noise(sample), alpha=sigma))
        return newest[1]

    def inputs(first: int, last: int) -> Tensor:
        rows = []
        for number in range(first, last):
            sample, step = divmod(number, inner)
            row = noisy(sample)
            if start is not None:
                row = start + (row - start) * ((step + 0.5) / inner)
            rows.append(row)
        return torch.cat(rows)

    def multiplier(batch: Gradients, row: int, sample: int) -> Tensor | float:
        if base == "saliency":
            return 1.0
        return noisy(sample)[0] - start[0] if start is not None else noisy(sample)[0]

    partial = torch.zeros_like(x[0])
    for batch in gradients(task.model, samples * inner, inputs, task.score, exact=task.exact):
        for row, number in enumerate(range(batch.start, batch.stop)):
            sample, step = divmod(number, inner)
            partial += batch.gradients[row]
            if step == inner - 1:
                halves[sample % 2].add(partial * multiplier(batch, row, sample) / inner)
                partial.zero_()
        # Before the first sample of a path is complete there is nothing to show.
        if halves[0].count:
            whole = halves[0].together(halves[1])
            shown = (batch.stop - 1) // inner
            yield Estimate(
                whole.value(),
                batch.stop,
                samples * inner,
                {
                    "samples": float(whole.count),
                    **agreement(*(half.value().sum(0) for half in halves)),
                },
                NoisySample(shown, task.model.input_to_pixels(noisy(shown))[0]),
            )


class _Moments:
    """Mean, mean of squares or variance of what is added, in place."""

    def __init__(self, like: Tensor, form: str) -> None:
        self.form = form
        self.count = 0
        self._mean = torch.zeros_like(like)
        self._spread = torch.zeros_like(like) if form == "variance" else None

    def add(self, value: Tensor) -> None:
        self.count += 1
        if self.form == "squared":
            value = value * value
        # Welford's update: a difference of two large sums would lose the small variance.
        change = value - self._mean
        self._mean += change / self.count
        if self._spread is not None:
            self._spread += change * (value - self._mean)

    def together(self, other: _Moments) -> _Moments:
        """Those of what was added to either (Chan et al. 1979)."""
        whole = _Moments(self._mean, self.form)
        whole.count = self.count + other.count
        share = other.count / whole.count
        change = other._mean - self._mean
        torch.add(self._mean, change, alpha=share, out=whole._mean)
        if self._spread is not None and other._spread is not None:
            between = change.square_().mul_(self.count * share)
            whole._spread = between.add_(self._spread).add_(other._spread)
        return whole

    def value(self) -> Tensor:
        shown = self._mean if self._spread is None else self._spread / max(1, self.count)
        return shown.contiguous().to("cpu", copy=True)
