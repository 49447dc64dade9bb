"""SmoothGrad from its two halves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.toys import Residual, noise, toy_model
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Task
from xaiwidgets.methods.halves import agreement

FORMS: dict[str, Any] = {
    "mean": lambda samples: samples.mean(0),
    "squared": lambda samples: samples.square().mean(0),
    "variance": lambda samples: samples.var(0, correction=0),
}


def _samples(task: Task, count: int, share: float) -> Tensor:
    """Gradients at the noisy photos, one by one, in plain torch."""
    sigma = share * float(task.x.max() - task.x.min())
    found = []
    for index in range(count):
        x = (task.x + sigma * task.noise(index)).requires_grad_(True)
        found.append(torch.autograd.grad(task.model.net(x)[0, task.target], x)[0][0])
    return torch.stack(found)


@pytest.mark.parametrize("form", FORMS)
def test_every_estimate_and_its_halves(form: str) -> None:
    task = make_task(toy_model(Residual(), dtype=torch.float64), noise(), 1)
    samples = _samples(task, 9, 0.2)
    made = FORMS[form]
    for estimate in estimates(task, "smoothgrad", {"samples": 9, "noise": 0.2, "form": form}):
        some = samples[: estimate.done]
        torch.testing.assert_close(estimate.value, made(some), rtol=1e-9, atol=1e-12)
        assert estimate.diagnostics["samples"] == estimate.done
        if estimate.done >= 2:
            expected = agreement(made(some[0::2]).sum(0), made(some[1::2]).sum(0))
            for name, value in expected.items():
                assert estimate.diagnostics[name] == pytest.approx(value, abs=1e-9)
    assert estimate.finished


def test_one_sample_has_not_settled() -> None:
    task = make_task(toy_model(Residual()), noise(), 1)
    (only,) = estimates(task, "smoothgrad", {"samples": 1})
    assert only.diagnostics["settled"] == 0
