"""Meaningful perturbation: the smallest mask that takes the class away, or that keeps it.

    deletion:      argmin over m of  l1 ||1 - m||_1 + tv sum_u |grad m(u)|^3 + E_t[ f_c(P(x_t; m)) ]
    preservation:  argmin over m of  l1 ||m||_1     + tv sum_u |grad m(u)|^3 - E_t[ f_c(P(x_t; m)) ]

where P(x; m) = M x + (1 - M) r blends the photo with a reference r, M is the mask m of 28 x 28
cells upsampled by a Gaussian, and x_t is the photo moved by a random t of a few pixels. Fong,
Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", 2017 (arXiv
1704.03296): Adam with rate 0.1; f_c the probability; l1 = 1e-4,
tv = 1e-2 and power 3; it begins with the smallest centered disk that has 99 % of the effect.

Details of our own: the paper's norms are sums over 28 x 28 cells, and other sizes are scaled to
them; the Gaussian's sigma is 5/8 of a cell and its weights are normalized; edges are repeated where
the photo moves; preservation begins with the disk that keeps 99 % of the score; the last iteration,
which is what is shown, does not move the photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.descent import chained, descend
from xaiwidgets.engine.masking import blended_logits
from xaiwidgets.methods.baselines import BLANKS, blank
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.masks import (
    RESOLUTION,
    SCORE,
    Upsampling,
    blend,
    cells,
    score_of,
    variation,
)
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method

_CELLS = 28 * 28
_POWER = 3.0
_RATE = 0.1
_SIGMA = 5 / 8
_EFFECT = 0.99
_DISKS = 9


@method(
    title="Meaningful perturbation",
    family="mask",
    paper="Fong, Vedaldi: Interpretable Explanations of Black Boxes by Meaningful Perturbation "
    "(2017)",
    url="https://arxiv.org/abs/1704.03296",
    needs="gradients",
)
def meaningful_perturbation(
    task: Task,
    *,
    iterations: Annotated[int, Range(2, 1000, 1, "Iterations", help="Steps of Adam.")] = 300,
    game: Annotated[
        str,
        Choice(
            ("deletion", "preservation"),
            "Game",
            help="Find what takes the class away when gone, or what keeps it when all else is.",
        ),
    ] = "deletion",
    reference: Annotated[
        str, Choice(BLANKS, "Reference", help="What is shown where the photo is taken away.")
    ] = "blur",
    l1: Annotated[
        float, Range(0, 0.01, 0.0001, "Size weight", help="Weight of the mask's area.")
    ] = 1e-4,
    tv: Annotated[
        float, Range(0, 1, 0.01, "Roughness weight", help="Weight of the mask's variation.")
    ] = 1e-2,
    jitter: Annotated[
        int, Range(0, 16, 1, "Jitter", "px", "How far the photo is moved at random.")
    ] = 4,
    resolution: Annotated[int, RESOLUTION] = 28,
    score: Annotated[str, SCORE] = "probability",
) -> Iterator[Estimate]:
    """What is taken away (deletion) or kept (preservation), `(H, W)`, 0 to 1: 1 is important.

    Diagnostics: `score_photo`, `score_reference`, `score_masked` (of the blended photo that the map
    makes), `area` (mean of the map), `loss`.
    """
    x, frame = task.x, (task.x.shape[-2], task.x.shape[-1])
    empty = task.model.pixels_to_input(blank(task, reference)).reshape(x.shape)
    coarse = cells(task, resolution)
    upsample = Upsampling(coarse, frame, _SIGMA, x)
    deletes = game == "deletion"
    scale = _CELLS / (coarse[0] * coarse[1])
    last = iterations - 1

    def loss(logits: Tensor, _start: int, _stop: int) -> Tensor:
        return score_of(task, logits, score) * (1 if deletes else -1)

    def penalty(mask: Tensor) -> Tensor:
        size = (1 - mask if deletes else mask).sum()
        return scale * (l1 * size + tv * variation(mask, _POWER))

    def slope(mask: Tensor, iteration: int) -> tuple[Tensor, tuple[Tensor, float, float]]:
        shift = _shift(task.seed, iteration, jitter if iteration < last else 0)

        def images(mask: Tensor) -> Tensor:
            return blend(_moved(x, shift), _moved(empty, shift), upsample(mask))

        found, value, logits = chained(task.model, mask, images, loss, penalty, exact=task.exact)
        return found, (upsample(mask)[0, 0], value, float(score_of(task, logits, score)))

    disks = _disks(coarse, deletes, x)
    effects = _effects(task, empty, upsample(disks)[:, 0], score)
    clean, blanked = effects[:2]
    start = disks[_first_enough(effects, deletes)][None].clone()
    spent = len(effects)
    for count, (mask, value, seen) in descend(start, slope, iterations=iterations, rate=_RATE):
        shown = (1 - mask if deletes else mask).cpu()
        yield Estimate(
            shown,
            spent + count,
            spent + iterations,
            {
                "score_photo": clean,
                "score_reference": blanked,
                "score_masked": seen,
                "area": float(shown.mean()),
                "loss": value,
            },
        )


def _disks(coarse: tuple[int, int], deletes: bool, like: Tensor) -> Tensor:
    """Masks of ever larger centered disks, `(n, 1, h, w)`, the last of them whole."""
    rows, columns = (
        (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1 for side in coarse
    )
    far = (rows[:, None] ** 2 + columns**2).sqrt()
    radii = torch.linspace(2**0.5 / _DISKS, 2**0.5, _DISKS, dtype=torch.float64)
    inside = (far <= radii[:, None, None])[:, None]
    return (~inside if deletes else inside).to(like)


def _effects(task: Task, empty: Tensor, disks: Tensor, score: str) -> list[float]:
    """Scores of the photo, of the reference, and of what each of the masks `(n, H, W)` leaves."""
    ends = torch.tensor([1, 0]).to(disks)[:, None, None].expand(-1, *disks.shape[1:])
    tried = torch.cat([ends, disks])
    parts = blended_logits(
        *(task.model, task.x, empty, len(tried)),
        lambda start, stop: tried[start:stop],
        exact=task.exact,
    )
    found: list[float] = score_of(task, torch.cat([part[2] for part in parts]), score).tolist()
    return found


def _first_enough(effects: list[float], deletes: bool) -> int:
    clean, blanked, *disks = effects
    whole = clean - blanked
    reached = [(clean - each if deletes else each - blanked) >= _EFFECT * whole for each in disks]
    # Where the class does not fall to the reference, no disk is special; the middle one is taken.
    return reached.index(True) if whole > 0 and any(reached) else _DISKS // 2


def _shift(seed: int, iteration: int, jitter: int) -> tuple[int, int]:
    if jitter < 2:
        return 0, 0
    generator = torch.Generator().manual_seed((seed * 1_000_003 + iteration) % 2**63)
    down, right = torch.randint(jitter, (2,), generator=generator).tolist()
    return down - jitter // 2, right - jitter // 2


def _moved(x: Tensor, shift: tuple[int, int]) -> Tensor:
    """The image moved down and right, its edges repeated."""
    down, right = shift
    if not down and not right:
        return x
    pad = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    height, width = x.shape[-2:]
    wide = functional.pad(x, pad, mode="replicate")
    return wide[..., max(-down, 0) :, max(-right, 0) :][..., :height, :width]
