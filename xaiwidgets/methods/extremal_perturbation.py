"""Extremal perturbation: of all smooth masks of a given area, the one with the largest effect.

    m_a = argmax over smooth m of  S_c(m x) - lambda || vecsort(m) - r_a ||^2     (preserve)
    m_a = argmin over smooth m of  S_c((1 - m) x) + lambda || vecsort(m) - r_a ||^2     (delete)

Fong, Patrick, Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
2019 (arXiv 1910.08485). vecsort sorts the mask's pixels; r_a is zeros and then ones, a
the share of ones, so the mask becomes 0 or 1 with just that area and no weight has to be tuned. m x
blurs the photo where the mask is low; smooth masks are maxima of soft disks (`smooth_masks`). As in
the paper, masks start at one half, lambda starts at 300 and grows by 1.0035 an iteration over 800
iterations; over fewer it grows as far.

Several areas are optimized as one batch, independent of each other; the asked-for one is shown.

Details of our own: the squared norm is the mean over pixels; Adam instead of stochastic descent
with momentum, for a tenth of the iterations; cells are 1/32 of the shorter side; T = 1/20; the
widest blur is 20 of 224 pixels, edges mirrored; the first iteration has no lambda, because all
pixels are equal then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xaiwidgets.engine.descent import chained, descend
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.masks import RESOLUTION, SCORE, cells, score_of
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method
from xaiwidgets.methods.smooth_masks import Blurs, SoftDisks, area_penalty, widest

AREAS = (0.05, 0.1, 0.2, 0.4)
"""Always computed, beside the one that is asked for."""
_LAMBDA = 300.0
_GROWTH = 1.0035**800
_RATE = 0.05
_TEMPERATURE = 1 / 20


@dataclass(frozen=True)
class Extremal:
    """The masks of all areas.

    Attributes:
        areas: what was asked for, rising.
        masks: `(n, H, W)`, 0 to 1.
        scores: the class's score of what each mask leaves.
        clean: its score of the photo.
        penalties: how far each mask is from its area and from 0 and 1.
        loss: of all together.
    """

    areas: tuple[float, ...]
    masks: Tensor
    scores: list[float]
    clean: float
    penalties: list[float]
    loss: float


@method(
    title="Extremal perturbation",
    family="mask",
    paper="Fong, Patrick, Vedaldi: Understanding Deep Networks via Extremal Perturbations and "
    "Smooth Masks (2019)",
    url="https://arxiv.org/abs/1910.08485",
    needs="gradients",
)
def extremal_perturbation(
    task: Task,
    *,
    area: Annotated[
        float, Range(0.01, 0.99, 0.01, "Area", "%", "Share of the photo that the mask covers.")
    ] = 0.1,
    iterations: Annotated[int, Range(2, 1000, 1, "Iterations", help="Steps of Adam.")] = 80,
    game: Annotated[
        str,
        Choice(
            ("preserve", "delete"),
            "Game",
            help="The area that alone keeps the class best, or whose loss hurts it most.",
        ),
    ] = "preserve",
    resolution: Annotated[int, RESOLUTION] = 32,
    score: Annotated[str, SCORE] = "logit",
) -> Iterator[Estimate]:
    """The mask of the asked-for area, `(H, W)`, 0 to 1: 1 is important. `detail` is `Extremal`.

    Diagnostics: `score_photo`; `score_masked` (of what the mask leaves); `area` (mean of the mask);
    `area_penalty` (0 when it is 0 and 1 with just the area); `loss` of all areas together.
    """
    frame = (task.x.shape[-2], task.x.shape[-1])
    areas = tuple(sorted({*AREAS, area}))
    wanted = torch.tensor(areas, dtype=torch.float64, device=task.x.device)
    coarse = cells(task, resolution)
    disks, blurs = SoftDisks(coarse, frame, _TEMPERATURE, task.x), Blurs(task.x, widest(frame))
    keeps = game == "preserve"
    clean = float(score_of(task, task.logits[None], score))

    def images(mask: Tensor) -> Tensor:
        wide: Tensor = disks(mask)
        return blurs(wide if keeps else 1 - wide)

    def loss(logits: Tensor, _start: int, _stop: int) -> Tensor:
        return score_of(task, logits, score) * (-1 if keeps else 1)

    def slope(mask: Tensor, iteration: int) -> tuple[Tensor, Extremal]:
        # At first all pixels are equal, and would be ranked by where they are.
        weight = _LAMBDA * _GROWTH ** (iteration / iterations) if iteration else 0.0

        def penalty(mask: Tensor) -> Tensor:
            return weight * area_penalty(disks(mask), wanted).sum()

        found, total, logits = chained(task.model, mask, images, loss, penalty, exact=task.exact)
        wide = disks(mask)
        return found, Extremal(
            areas,
            wide[:, 0].cpu(),
            score_of(task, logits, score).tolist(),
            clean,
            area_penalty(wide, wanted).tolist(),
            total,
        )

    start = task.x.new_full((len(areas), 1, *coarse), 0.5)
    for done, found in descend(start, slope, iterations=iterations, rate=_RATE):
        yield reread(found, area, done * len(areas), iterations * len(areas))


def reread(found: Extremal, area: float, done: int = 1, total: int = 1) -> Estimate:
    """The explanation for another area, the nearest of those that are there."""
    index = min(range(len(found.areas)), key=lambda i: abs(found.areas[i] - area))
    mask = found.masks[index]
    return Estimate(
        mask,
        done,
        total,
        {
            "score_photo": found.clean,
            "score_masked": found.scores[index],
            "area": float(mask.mean()),
            "area_penalty": found.penalties[index],
            "loss": found.loss,
        },
        found,
    )
