"""Weighted least squares from sums: a fit costs the same after ten samples as after a million.

All that a linear model  y = b + z w  needs of its samples (z, y) with weights pi is

    M = sum over samples of  pi * [1, z, y] [1, z, y]^T,    (d + 2, d + 2)

which is gathered batch by batch in float64; halves of the samples are added up to the whole.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor


def moments(z: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The sums M of samples z `(n, d)`, y `(n,)` and weights `(n,)`, float64."""
    y, weights = y.double()[:, None], weights.double()[:, None]
    rows = torch.cat([torch.ones_like(y), z.double(), y], 1)
    return rows.T @ (weights * rows)


class Fit(NamedTuple):
    """A linear model.

    Attributes:
        weights: `(d,)`; 0 for what was left out.
        intercept: its value where all of z is 0.
        r2: share of the weighted variance of y that it explains, at most 1; 0 without variance.
    """

    weights: Tensor
    intercept: float
    r2: float


def ridge(sums: Tensor, alpha: float, chosen: Tensor | None = None) -> Fit:
    """Minimize  sum of pi (y - b - z w)^2 + alpha |w|^2.

    Args:
        sums: M, as `moments` gives it.
        alpha: above 0.
        chosen: which entries of z may take part, `(k,)`; default all.
    """
    total, gram, product, variance = _centered(sums)
    places = torch.arange(len(gram)) if chosen is None else chosen
    some = gram[places][:, places]
    fitted = torch.linalg.solve(some + alpha * torch.eye(len(some)).to(some), product[places])
    weights = torch.zeros_like(product)
    weights[places] = fitted
    rest = variance - 2 * fitted @ product[places] + fitted @ some @ fitted
    r2 = 1 - float(rest / variance) if variance > 0 else 0.0
    intercept = float((sums[0, -1] - weights @ sums[1:-1, 0]) / total)
    return Fit(weights, intercept, r2)


def lasso_choice(sums: Tensor, count: int) -> Tensor:
    """The entries of z that the lasso path takes in first, at most `count` of them.

    Efron, Hastie, Johnstone, Tibshirani, "Least angle regression", 2004; of its path, the last step
    that has no more than `count` weights.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    _, gram, product, _ = _centered(sums)
    largest = float(product.abs().max())
    if largest == 0:
        return torch.zeros(0, dtype=torch.long)
    # Fewer samples than entries leave directions without any; the path would divide by zero.
    some = gram + 1e-12 * gram.trace() * torch.eye(len(gram)).to(gram)
    with warnings.catch_warnings():
        # It warns where it leaves out an entry that equals another one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # It stops at 1e-7, whatever the scale, so the scale is settled first.
        path = lars_path_gram(
            (product / largest).numpy(), some.numpy(), n_samples=1, method="lasso"
        )[2]
    steps = [column.nonzero()[0] for column in path.T]
    fitting = [step for step in steps if len(step) <= count]
    return torch.as_tensor(fitting[-1], dtype=torch.long)


def constrained(sums: Tensor, total: float) -> Tensor:
    """Minimize  sum of pi (y - z w)^2  among the w that add up to `total`; `(d,)`.

    Where the samples leave the answer open, the one that spreads the rest evenly.
    """
    gram, product = sums[1:-1, 1:-1], sums[1:-1, -1]
    count = len(gram)
    even = torch.full_like(product, total / count)
    # Whatever is added to the even share must add up to zero.
    level = torch.eye(count).to(gram) - 1 / count
    inverse = torch.linalg.pinv(level @ gram @ level, hermitian=True, rtol=1e-10)
    change: Tensor = level @ (inverse @ (level @ (product - gram @ even)))
    return even + change


def _centered(sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sum of weights, and the moments about the weighted means."""
    total, means = sums[0, 0], sums[0] / sums[0, 0]
    about = sums - total * torch.outer(means, means)
    return total, about[1:-1, 1:-1], about[1:-1, -1], about[-1, -1]
