"""How far an average over random samples has settled, told from its two halves.

The pictures from the even and from the odd samples are independent, so their correlation r says
how repeatable a picture of half the samples is. Spearman and Brown (1910): two pictures of all
samples would correlate by R = 2r / (1 + r), and one of them with the picture of infinitely many
samples by sqrt(R), which is `settled`.

Steps of a path are no random samples, but their halves interleave (`half_of`), so that the errors
of the two are no more alike than those of random ones: measured, `settled` is then a little lower
than the correlation with the finished picture.
"""

from __future__ import annotations

import math

from torch import Tensor


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson correlation of two tensors of one shape, 0 where one of them is constant."""
    one, other = one.double().flatten(), other.double().flatten()
    one, other = one - one.mean(), other - other.mean()
    size = float(one.norm() * other.norm())
    return float(one @ other) / size if size > 0 else 0.0


def agreement(even: Tensor, odd: Tensor) -> dict[str, float]:
    """Diagnostics of a picture, from those of its halves.

    Returns:
        `split_half`: Pearson correlation of the halves, -1..1; `settled`: the correlation that is
        to be expected of the whole with the picture of infinitely many samples, 0..1.
    """
    found = correlation(even, odd)
    known = max(found, 0.0)
    return {"split_half": found, "settled": min(1.0, math.sqrt(2 * known / (1 + known)))}


def half_of(number: int) -> int:
    """The half, 0 or 1, that element `number` of a van der Corput sequence goes to.

    Its number of binary ones, odd or even: of two neighbors on the path one goes to each half,
    after every power of two. (Even and odd elements lie in the path's first and second part.)
    """
    return number.bit_count() % 2
