"""The networks at a small size: masked photos are many, and the answers are the same."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from tests.oracle.nets import photo, raw
from xaiwidgets.engine.gradients import Score
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.estimate import Task
from xaiwidgets.model import Model

NETS = ("efficientnet_lite0", "resnet18", "googlenet")
SIDE = 64


@functools.cache
def small_task(name: str, dtype: torch.dtype = torch.float64) -> Task:
    mean, std = ([0.5] * 3, [0.5] * 3) if "lite" in name else ([0.48, 0.46, 0.41], [0.23] * 3)
    preprocess = {"mean": mean, "std": std, "size": SIDE, "resize": SIDE}
    model = Model(raw(name, dtype), preprocess=preprocess, device="cpu", dtype=dtype)
    return make_task(model, photo(), seed=3)


def answer(name: str, x: Tensor, score: Score, kind: str) -> Tensor:
    """The score of each of the images, by the plain network."""
    with torch.no_grad():
        logits = raw(name, x.dtype)(x)
    return score(logits.softmax(1) if kind == "probability" else logits)
