"""From whatever a network returns to scores of classes, `(N, K)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_NAMES = ("logits", "out")
_HINT = "Give Model an output= function that takes what the network returns and gives (N, K) logits"


def extract_logits(output: Any, rows: int, pick: Callable[[Any], Any] | None = None) -> Tensor:
    """The scores of all classes, `(N, K)`.

    Args:
        output: what the network returned: a tensor; a mapping or an object (dataclass, named
            tuple) with "logits" or "out"; or a tuple or list, of which the first is taken.
        rows: number of images that went in, N.
        pick: takes `output` and gives the logits, where none of these fits.

    Returns:
        `(N, K)`. Maps `(N, K, H, W)`, as segmentation gives, are averaged over H and W; a single
        score for each image, `(N,)`, becomes `(N, 1)`.

    Raises:
        TypeError: when there are no floating-point scores in it.
        ValueError: when they have another shape.
    """
    return scores_of_classes(find_scores(output, pick), rows)


def scores_of_classes(found: Tensor, rows: int) -> Tensor:
    """The same of the scores that `find_scores` found."""
    if found.ndim == 4:
        found = found.mean(dim=(-2, -1))
    elif found.shape == (rows,):
        found = found[:, None]
    if found.ndim != 2 or found.shape[0] != rows or found.shape[1] == 0:
        raise ValueError(
            f"The network returns scores of shape {tuple(found.shape)} for {rows} image(s); "
            f"allowed are ({rows}, K) and ({rows}, K, H, W). {_HINT}."
        )
    return found


def find_scores(output: Any, pick: Callable[[Any], Any] | None = None) -> Tensor:
    """The scores in what a network returned, as they are; arguments as for `extract_logits`.

    Raises:
        TypeError: when there are no floating-point scores in it.
    """
    found = pick(output) if pick is not None else _inside(output)
    if not isinstance(found, Tensor):
        source = "output= gave" if pick is not None else "The network returns"
        raise TypeError(f"{source} {_told(found)}, in which no logits were found. {_HINT}.")
    if not found.is_floating_point():
        raise TypeError(
            f"The network returns {found.dtype} values, not logits: classes that were already "
            f"decided have no gradient. Return the scores before argmax, or: {_HINT}."
        )
    return found


def check_finite(logits: Tensor) -> Tensor:
    """Return `logits`, or raise.

    Raises:
        ValueError: when a score is NaN or infinite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(
            "The model gives NaN or infinite scores for this photo, so there is nothing to "
            "explain. Check its weights, its dtype and its preprocessing."
        )
    return logits


def network_error(name: str, error: Exception, x: Tensor) -> RuntimeError:
    """What to raise when torch refused to run network `name` on the input `x`."""
    shape = ", ".join(map(str, x.shape))
    advice = (
        'If it takes another size or number of channels, say so: xai.Model(net, preprocess={"size":'
        ' ..., "mean": [...], "std": [...]}).'
    )
    if len(x) > 1:
        advice = (
            f"It was given {len(x)} images at once; where its forward is written for one, as with "
            "x.view(1, -1), write x.flatten(1)."
        )
    return RuntimeError(
        f"The network ({name}) raised {type(error).__name__} for an input of shape ({shape}), "
        f"{str(x.dtype).removeprefix('torch.')} on {x.device}: {error}. {advice}"
    )


def _inside(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        named = (output[name] for name in _NAMES if output.get(name) is not None)
        return next(named, output)
    for name in _NAMES:
        value = getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    if isinstance(output, list | tuple) and output:
        return _inside(output[0])
    return output


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {', '.join(map(repr, value)) or 'nothing in it'}"
    return f"a value of type {type(value).__name__}"
