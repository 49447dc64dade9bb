"""Photos cut into segments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import xaiwidgets as xai
from xaiwidgets.methods import registry
from xaiwidgets.methods.segments import segment


def _halves() -> torch.Tensor:
    pixels = torch.zeros(3, 30, 40)
    pixels[0, :, :20] = 1
    return pixels


@pytest.mark.parametrize("kind", ["slic", "quickshift", "grid"])
@pytest.mark.parametrize("channels", [1, 3])
def test_labels_count_up_and_are_always_the_same(kind: str, channels: int) -> None:
    pixels = torch.rand(channels, 33, 47, generator=torch.Generator().manual_seed(0))
    labels = segment(pixels, kind, 12)
    assert labels.shape == (33, 47)
    assert labels.dtype == torch.int64
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert torch.equal(labels, segment(pixels, kind, 12))


@pytest.mark.parametrize("kind", ["slic", "quickshift"])
def test_superpixels_keep_to_edges(kind: str) -> None:
    labels = segment(_halves(), kind, 8)
    # Superpixels are found on slightly blurred pixels, so the edge is sharp to two of them.
    left, right = labels[:, :18].unique(), labels[:, 22:].unique()
    assert not set(left.tolist()) & set(right.tolist())


@pytest.mark.parametrize("kind", ["slic", "grid"])
def test_about_as_many_as_asked_for(kind: str) -> None:
    pixels = xai.load().prepare(xai.photo("cat")).pixels if kind == "slic" else _halves()
    for count in (9, 50):
        found = int(segment(pixels, kind, count).max()) + 1
        assert 0.6 * count <= found <= 1.4 * count


def test_grid() -> None:
    assert segment(torch.zeros(3, 4, 6), "grid", 6).tolist() == [
        [0, 0, 1, 1, 2, 2],
        [0, 0, 1, 1, 2, 2],
        [3, 3, 4, 4, 5, 5],
        [3, 3, 4, 4, 5, 5],
    ]
    assert segment(torch.zeros(1, 1, 3), "grid", 3).tolist() == [[0, 1, 2]]
    assert segment(torch.zeros(1, 2, 2), "grid", 400).tolist() == [[0, 1], [2, 3]]


def test_given_labels() -> None:
    labels = np.array([[7, 7, -2], [5, 5, -2]])
    assert segment(torch.zeros(3, 2, 3), labels, 50).tolist() == [[2, 2, 0], [1, 1, 0]]
    with pytest.raises(ValueError, match="2 x 3 pixels, but the model sees 4 x 4"):
        segment(torch.zeros(3, 4, 4), labels, 50)
    with pytest.raises(ValueError, match="4900 parts; at most 4000"):
        segment(torch.zeros(3, 70, 70), np.arange(4900).reshape(70, 70), 50)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros(4, int), np.zeros((0, 3), int)])
def test_what_are_no_labels(wrong: np.ndarray) -> None:
    model = xai.Model(nn.Flatten(), preprocess="identity", device="cpu")
    with pytest.raises(ValueError, match="segmentation must be one of"):
        xai.explain(model, torch.zeros(1, 2, 2), "lime", segmentation=wrong)
    parameter = registry.get("lime").parameters["segmentation"]
    with pytest.raises(ValueError, match="Did you mean"):
        parameter.check("slick")
