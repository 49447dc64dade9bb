"""LRP through what has no weights: every rule as a dense matrix, with an epsilon that counts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xaiwidgets.engine.rules import Rules
from xaiwidgets.methods.lrp_operations import weightless

EPS = 0.05
SHAPE = (1, 4, 6, 6)


@functools.cache
def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relevance_of(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    """What ours hands down to each input, and the relevance that it was given, at last."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    with torch.enable_grad(), Rules(weightless(EPS)):
        output = function(*leaves)
    torch.testing.assert_close(output.detach(), function(*inputs))
    given = _random(*output.shape, seed=9)
    return (*torch.autograd.grad(output, leaves, given), given)


def _stable(z: Tensor) -> Tensor:
    return z + torch.where(z < 0, -EPS, EPS)


def shares(matrix: Tensor, x: Tensor, z: Tensor, given: Tensor) -> Tensor:
    """R_i = sum over j of  x_i M_ij R_j / stab(z_j)."""
    each = given.flatten() / _stable(z.flatten())
    return (x.flatten() * (matrix @ each)).reshape(x.shape)


def matrix_of(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Of a function that is linear but for a constant, `(inputs, outputs)`."""
    none = function(torch.zeros(shape, dtype=torch.float64))
    rows = torch.eye(none.new_zeros(shape).numel(), dtype=torch.float64)
    return torch.stack([(function(row.reshape(shape)) - none).flatten() for row in rows])


BIAS, SCALE = _random(4, seed=1), _random(4, seed=2)
MEANS, VARIANCES = _random(4, seed=3), _random(4, seed=4).square() + 0.5
LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean((2, 3)),
    "sum": lambda x: x.sum(1),
    "average pooling": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive pooling": lambda x: F.adaptive_avg_pool2d(x, 4),
    "enlarging": lambda x: F.interpolate(x, (9, 8), mode="bilinear"),
    "batch normalization": lambda x: F.batch_norm(x, MEANS, VARIANCES, SCALE, BIAS),
    "a constant added": lambda x: x + BIAS[:, None, None],
    "a constant taken off": lambda x: x - BIAS[:, None, None],
    "taken off a constant": lambda x: 2.5 - x,
    "of itself": lambda x: x + x.flip(3),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operations(name: str) -> None:
    function, x = LINEAR[name], _random(*SHAPE)
    found, given = relevance_of(function, x)
    expected = shares(matrix_of(function, SHAPE), x, function(x), given)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def _layer_norm(x: Tensor, like: Tensor) -> Tensor:
    deviation = (like.var(3, keepdim=True, correction=0) + 1e-5).sqrt()
    return (x - x.mean(3, keepdim=True)) / deviation * _random(6, seed=5) + _random(6, seed=6)


def _group_norm(x: Tensor, like: Tensor) -> Tensor:
    parts, like = x.reshape(1, 2, -1), like.reshape(1, 2, -1)
    deviation = (like.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    normal = ((parts - parts.mean(2, keepdim=True)) / deviation).reshape(x.shape)
    return normal * SCALE[:, None, None] + BIAS[:, None, None]


def _rms_norm(x: Tensor, like: Tensor) -> Tensor:
    return x / (like.square().mean(3, keepdim=True) + 1e-6).sqrt() * _random(6, seed=5)


# As it is called, and with the deviation of another tensor, of which it is linear.
NORMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "layer": (
        lambda x: F.layer_norm(x, (6,), _random(6, seed=5), _random(6, seed=6)),
        _layer_norm,
    ),
    "group": (lambda x: F.group_norm(x, 2, SCALE, BIAS), _group_norm),
    "root mean square": (lambda x: F.rms_norm(x, (6,), _random(6, seed=5), 1e-6), _rms_norm),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalizations_with_their_deviation_held(name: str) -> None:
    (function, held), x = NORMS[name], _random(*SHAPE)
    found, given = relevance_of(function, x)
    expected = shares(matrix_of(lambda row: held(row, x), SHAPE), x, function(x), given)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_two_sides_of_a_sum(sign: int) -> None:
    a, b = _random(*SHAPE), _random(1, 4, 1, 6, seed=7)
    left, right, given = relevance_of(lambda a, b: a + b if sign > 0 else a - b, a, b)
    each = given / _stable(a + sign * b)
    torch.testing.assert_close(left, a * each)
    torch.testing.assert_close(right, (sign * b * each).sum(2, keepdim=True))


PASSING: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "hardswish": F.hardswish,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "a constant factor": lambda x: x * BIAS[:, None, None],
    "a constant below": lambda x: x / 3,
    "negative": lambda x: -x,
}


@pytest.mark.parametrize("name", PASSING)
def test_all_passes(name: str) -> None:
    found, given = relevance_of(PASSING[name], _random(*SHAPE))
    assert torch.equal(found, given)


def test_factors_get_half_each() -> None:
    """Of each product, and of each of the products that a matrix product sums up."""
    a, b = _random(*SHAPE), _random(1, 4, 1, 1, seed=7)
    left, right, given = relevance_of(torch.mul, a, b)
    torch.testing.assert_close(left, given / 2)
    torch.testing.assert_close(right, (given / 2).sum((2, 3), keepdim=True))
    a, b = _random(2, 3, 5), _random(2, 5, 4, seed=8)
    for function in (torch.matmul, lambda a, b: torch.einsum("nik,nkj->nij", a, b)):
        left, right, given = _products(function, a, b)
        terms = a[..., None] * b[:, None]
        # Each of k terms is two contributions, one of either side.
        each = terms * (given / _stable(2 * terms.sum(2)))[:, :, None]
        torch.testing.assert_close(left, each.sum(3))
        torch.testing.assert_close(right, each.sum(1))


def _products(function: Any, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """A product of two activations belongs to the layers with weights, which tell it apart."""
    from xaiwidgets.methods.lrp_operations import Steps

    steps, leaves = Steps(EPS), [each.clone().requires_grad_() for each in (a, b)]
    output = steps.product(Rules({}), function, *leaves)
    given = _random(*output.shape, seed=9)
    return (*torch.autograd.grad(output, leaves, given), given)


@pytest.mark.parametrize("dim", [-1, 1])
def test_softmax(dim: int) -> None:
    """R_i = x_i (R_i - s_i sum of R): x_i times the Jacobian times R_j / s_j."""
    x = _random(2, 3, 5)
    found, given = relevance_of(lambda x: torch.softmax(x, dim), x)
    s = x.softmax(dim)
    jacobian = torch.autograd.functional.jacobian(lambda x: x.softmax(dim), x)
    expected = x * torch.einsum("abcijk,abc->ijk", jacobian, given / s)
    torch.testing.assert_close(found, expected)


def test_softmax_of_masked_places() -> None:
    x = torch.tensor([[1.0, -torch.inf, 2.0]], dtype=torch.float64)
    found, given = relevance_of(lambda x: torch.softmax(x, 1), x)
    s = x.softmax(1)
    assert found[0, 1] == 0
    torch.testing.assert_close(found[0, 2], 2 * (given[0, 2] - s[0, 2] * given.sum()))
