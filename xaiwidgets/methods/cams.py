"""What the methods of class activation maps share.

All of them show a map of a layer,

    M(i, j) = sum over channels k of  w_k(i, j) A_k(i, j),

and differ in the weights w. The map is enlarged to the frame bilinearly, without re-scaling its
values; a transformer's tokens are read as the map of their patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.blocks import block_places
from xaiwidgets.engine.head import Head
from xaiwidgets.engine.passes import At
from xaiwidgets.engine.places import Place, last_place, named_place
from xaiwidgets.goals import RegionGoal
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Layer
from xaiwidgets.methods.passes import gradients_at, once

LayerName = Annotated[
    str | None,
    Layer("Layer", "Whose map is shown; the default is the last one with spatial extent."),
]
Weigh = Callable[[Tensor, Tensor], Tensor]
"""Takes activation and gradient `(C, h, w)`; gives weights `(C, 1, 1)` or `(C, h, w)`."""


@dataclass(frozen=True)
class LayerMap:
    """A map as the layer has it, before it is enlarged.

    Attributes:
        layer: its name.
        map: `(h, w)`, on the CPU.
        weights: of the channels, `(C,)`, on the CPU, where a channel has one weight.
    """

    layer: str
    map: Tensor
    weights: Tensor | None = None


def place_of(task: Task, layer: str | None) -> Place:
    """The layer of that name, or the last one with spatial extent; before the scores of a region.

    Raises:
        ValueError: for a layer that is not there or cannot be shown as a map.
    """
    if layer is not None:
        return named_place(task.model, task.x, layer, exact=task.exact)
    # Of a segmentation network the last map of all is that of the scores themselves.
    scores = task.score.classes if isinstance(task.score, RegionGoal) else None
    return once(
        task, "last", lambda: last_place(task.model, task.x, exact=task.exact, scores=scores)
    )


def blocks_of(task: Task) -> list[Place]:
    """The outputs of the network's blocks, see `xaiwidgets.engine.blocks`."""
    return once(task, "blocks", lambda: block_places(task.model, task.x, exact=task.exact))


def at_place(task: Task, place: Place) -> At:
    """The activation of a layer, and the gradient of the score towards it.

    Raises:
        ValueError: when only tokens that are no patches have a gradient.
    """
    (at,) = gradients_at(task, [place])
    if at.elsewhere > 0 and not bool(at.gradient.any()):
        raise ValueError(
            f'The score depends on layer "{place.name}" only through its class token or '
            "registers, not through its patches, so there is no map to show. Choose an earlier "
            "layer, or None for the last one whose patches count."
        )
    return at


def shown(
    task: Task,
    place: Place,
    small: Tensor,
    weights: Tensor | None = None,
    done: int = 1,
    total: int = 1,
    diagnostics: dict[str, float] | None = None,
) -> Estimate:
    """The estimate that a map `(h, w)` of a layer makes."""
    small = small.detach().contiguous().to("cpu", copy=True)
    if weights is not None:
        weights = weights.detach().flatten().to("cpu", copy=True)
    value = enlarged(small, task.x.shape[-2], task.x.shape[-1])
    detail = LayerMap(place.name, small, weights)
    return Estimate(value, done, total, diagnostics or {}, detail)


def enlarged(small: Tensor, height: int, width: int) -> Tensor:
    """A map `(h, w)` at the size of the frame, bilinearly."""
    size = (height, width)
    return functional.interpolate(small[None, None], size, mode="bilinear")[0, 0]


def weighted(task: Task, layer: str | None, weigh: Weigh) -> Iterator[Estimate]:
    """ReLU of the activation's channels, weighted, of one pass of the network."""
    place = place_of(task, layer)
    at = at_place(task, place)
    weights = weigh(at.activation, at.gradient)
    small = (weights * at.activation).sum(0).relu()
    yield shown(task, place, small, weights if weights[0].numel() == 1 else None)


@dataclass(frozen=True)
class Linear:
    """A head that is a linear function of the means of its channels.

    Attributes:
        weights: of the score, `(C,)`.
        score: of the photo.
        score_of_nothing: with all channels at zero.
    """

    weights: Tensor
    score: float
    score_of_nothing: float

    def is_affine(self, activation: Tensor) -> bool:
        """Whether the score itself, not only the logits, is linear in the channels' means."""
        parts = (self.weights * activation.mean((1, 2))).double()
        gap = abs(self.score - float(parts.sum()) - self.score_of_nothing)
        scale = abs(self.score) + float(parts.abs().sum())
        return gap <= 100 * torch.finfo(activation.dtype).eps * scale


def linear_head(task: Task, head: Head) -> Linear | None:
    """The head's weights where it is global average pooling and a linear layer, `None` elsewhere.

    It is judged by what it does, not by how it is written: for such a head, and no other, the
    gradient of every class is the same at all places of the map and for all activations. That is
    tested at the photo's activation and at a random one, for a mixture of all classes.
    """
    activation = head.activation.detach()
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(activation.shape, generator=generator, dtype=torch.float32)
    # Large and of both signs: any activation function behind it would show.
    random = random.to(activation) * (10 * activation.abs().max()).clamp_min(1000)
    rows = torch.stack([activation, activation, random, torch.zeros_like(activation)])
    rows.requires_grad_(True)
    logits = head.logits(rows)
    mixture = torch.linspace(1, 2, logits.shape[1]).to(logits)
    scores = task.score(logits)
    total = scores[0] + (logits[1:3] * mixture).sum()
    if not total.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(total, rows)
    means = gradient.mean((2, 3), keepdim=True)
    limit = 100 * torch.finfo(gradient.dtype).eps
    spread = (gradient[:3] - means[:3]).abs().amax((1, 2, 3))
    same = bool((means[1] - means[2]).abs().max() <= limit * means[1].abs().max())
    if not same or not bool((spread <= limit * means[:3].abs().amax((1, 2, 3))).all()):
        return None
    weights = means[0, :, 0, 0] * activation[0].numel()
    return Linear(weights, float(scores[0].detach()), float(scores[3].detach()))
