"""How settled a picture is said to be, and stopping there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xaiwidgets as xai
from tests.unit.methods.test_invariance import _model, _photo

METHODS = {
    "smoothgrad": {"samples": 400, "noise": 0.5},
    "integrated_gradients": {"steps": 400},
    "occlusion": {"patch_size": 3, "stride": 1},
    "rise": {"masks": 1000, "cells": 4},
}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_said_is_what_comes(method: str) -> None:
    """The picture at which it says r correlates with the last one that well, hardly ever less."""
    steps = list(xai.explaining(_model(), _photo(), method, 2, **METHODS[method]))  # type: ignore[arg-type]

    def flat(value: torch.Tensor) -> np.ndarray:
        return (value if value.ndim == 2 else value.sum(0)).numpy().ravel()

    last = flat(steps[-1].value)
    told = [step for step in steps if 32 <= step.done < steps[-1].total / 2]
    assert told
    off = [step.diagnostics["settled"] - np.corrcoef(flat(step.value), last)[0, 1] for step in told]
    # Occlusion's places are not samples of a mean, whose halves understate the whole.
    lowest = -0.2 if method == "occlusion" else -0.1
    assert lowest < float(np.mean(off)) < 0.05
    assert steps[-1].diagnostics["settled"] > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_stops_when_settled(method: str) -> None:
    options = {"settled": 0.8, **METHODS[method]}
    *_, last = xai.explaining(_model(), _photo(), method, 2, **options)  # type: ignore[arg-type]
    assert last.finished
    assert last.diagnostics["settled"] >= 0.8
    whole = xai.explain(_model(), _photo(), method, 2, progress=False, **METHODS[method])  # type: ignore[arg-type]
    if method != "occlusion":
        assert whole.diagnostics["settled"] >= last.diagnostics["settled"] - 0.05
    assert last.done >= 16


def test_methods_without_samples_cannot_be_stopped_by_it() -> None:
    with pytest.raises(ValueError, match="does not tell how far its picture has settled"):
        xai.explain(_model(), _photo(), "saliency", 2, settled=0.9)


@pytest.mark.parametrize("settled", [0.2, 1.5, float("nan"), "0.9", True])
def test_bad_values_are_refused(settled: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"settled must be a number from 0\.5 to 1"):
        xai.explain(_model(), _photo(), "smoothgrad", 2, settled=settled)  # type: ignore[arg-type]
