"""What a reduced precision costs: measured on the clean photo, once for each explanation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from xaiwidgets.engine.gradients import gradient
from xaiwidgets.engine.precision import REDUCED
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.passes import input_gradient, once

_TINY = 1e-12


def with_error(task: Task, steps: Iterator[Estimate], gradients: bool) -> Iterator[Estimate]:
    """The same estimates; in a reduced precision their diagnostics tell of its error.

    Args:
        task: what is explained.
        steps: of the method.
        gradients: whether it uses gradients.
    """
    return _told(task, steps, gradients) if task.model.precision in REDUCED else steps


def _told(task: Task, steps: Iterator[Estimate], gradients: bool) -> Iterator[Estimate]:
    key = ("precision error", gradients, task.score.key)
    error = once(task, key, lambda: precision_error(task, gradients))
    for estimate in steps:
        yield replace(estimate, diagnostics={**estimate.diagnostics, **error})


def precision_error(task: Task, gradients: bool) -> dict[str, float]:
    """How far the task's precision is from full precision, both on the clean photo.

    `precision_error` is the difference of the target's score, relative to the full one;
    `precision_error_gradient` likewise the L2 norm of the difference of the gradients.

    Args:
        task: in a reduced precision.
        gradients: tell of the gradient too.
    """
    full = task.model.full()
    if gradients:
        slope, logits = gradient(full, task.x, task.score)
    else:
        with torch.inference_mode():
            logits = full.logits(task.x)
    told = {"precision_error": _apart(task.score(task.logits), task.score(logits[0]))}
    if gradients:
        told["precision_error_gradient"] = _apart(input_gradient(task), slope)
    return told


def _apart(one: Tensor, other: Tensor) -> float:
    ours, theirs = (each.detach().cpu().double() for each in (one, other))
    return float((ours - theirs).norm()) / max(float(theirs.norm()), _TINY)
