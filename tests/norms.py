"""Batch normalizations that do something."""

from torch import nn


def draw_statistics(norm: nn.BatchNorm2d, far: float, most: float) -> None:
    """Running statistics at random: means up to `far` from 0, variances from 0.5 to `most`."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    nn.init.uniform_(mean, -far, far)
    nn.init.uniform_(variance, 0.5, most)
