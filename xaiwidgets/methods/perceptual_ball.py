"""Perceptual ball: the smallest change that costs the class its lead, small inside the network too.

    argmin over x' of  max(0, S_c(x') - max over j != c of S_j(x') + margin)
                       + w_image d(x', x) + w_feature mean over layers l of d(phi_l(x'), phi_l(x))

    d(a, b) = || a - b ||^2 / || b ||^2,    R(x) = blur of  sum over channels of |x' - x|

Elliott, Law, Russell, "Explaining Classifiers using Adversarial Perturbations on the Perceptual
Ball", 2019 (arXiv 1912.09405). An adversarial perturbation breaks the network anywhere; held back
by a perceptual loss on the activations phi_l it has to change the object itself, so where it is
strong is where the evidence lies.

Details of our own: distances are relative, so that weights mean the same at every layer and for
every network; by default the layers are the last ones with weights at each resolution (of a
transformer, four evenly spaced blocks); Adam with one common scale for all pixels (with its own for
each, all would change alike) and a thousandth of the input's range as its rate; pixels stay between
black and white; the blur's sigma is a share of the shorter side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from torch import Tensor

from xaiwidgets.engine.descent import descend
from xaiwidgets.engine.features import logits_and_features
from xaiwidgets.engine.gaussian import blur
from xaiwidgets.engine.layers import Layer
from xaiwidgets.goals import Goal
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Choice, Range
from xaiwidgets.methods.registry import method

_RATE = 0.001
_BLOCKS = 4
_TOLD = ("lead", "image_distance", "feature_distance", "loss")


def _names(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise TypeError("layers are given as a list of names")
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"a layer is given by its name, not by {name!r}")
    return list(value)


@method(
    title="Perceptual ball",
    family="mask",
    paper="Elliott, Law, Russell: Explaining Classifiers using Adversarial Perturbations on the "
    "Perceptual Ball (2019)",
    url="https://arxiv.org/abs/1912.09405",
    needs="gradients, at least two classes, and layers whose activations can be read",
    targets=("class", "difference"),
)
def perceptual_ball(
    task: Task,
    *,
    iterations: Annotated[int, Range(2, 1000, 1, "Iterations", help="Steps of Adam.")] = 100,
    margin: Annotated[
        float,
        Range(0, 10, 0.1, "Margin", "logits", "By how much another class has to lead at the end."),
    ] = 1.0,
    w_image: Annotated[
        float, Range(0, 1000, 1, "Image weight", help="Weight of the change of the image.")
    ] = 100.0,
    w_feature: Annotated[
        float, Range(0, 100, 0.1, "Feature weight", help="Weight of the change of activations.")
    ] = 5.0,
    layers: Annotated[
        Any,
        Choice(
            ("auto", "none"),
            "Layers",
            help="Whose activations may change little; none is a plain adversarial perturbation.",
            also=_names,
            also_text="a list of names of layers",
        ),
    ] = "auto",
    smoothing: Annotated[
        float,
        Range(0, 0.2, 0.005, "Smoothing", "%", "Sigma of the map's blur, of the shorter side."),
    ] = 0.02,
) -> Iterator[Estimate]:
    """How much each pixel is changed, summed over channels and blurred, `(H, W)`, never negative.

    The network is always run as it is written. The first estimate is zero: nothing is changed yet.

    For a difference of classes the lead is that difference: why the one and not the other.

    Diagnostics: `lead` (the class's logit minus the highest other, after the change; below 0 the
    class is lost); `lead_photo`; `image_distance` and `feature_distance` (d above); `loss`;
    `layers` (how many).

    Raises:
        ValueError: for a network with a single class, or a layer that is not there.
    """
    if len(task.logits) < 2:
        raise ValueError(
            "The network has one class, so no other can take the lead. Use a method that needs "
            "one score only, such as meaningful_perturbation."
        )
    frame = (task.x.shape[-2], task.x.shape[-1])
    names = chosen_layers(task.model.layers(), frame) if layers == "auto" else layers
    names = [] if names == "none" else list(names)
    x = task.x
    pixels = task.prepared.pixels
    black, white = (
        task.model.pixels_to_input(color(pixels)).reshape(x.shape)
        for color in (torch.zeros_like, torch.ones_like)
    )
    with torch.no_grad():
        _, clean = logits_and_features(task.model, x, names)

    def slope(point: Tensor, _: int) -> tuple[Tensor, tuple[Tensor, dict[str, float]]]:
        changed = point.detach().clone().requires_grad_(True)
        with torch.enable_grad(), task.model.running():
            logits, features = logits_and_features(task.model, changed, names)
            lead = _lead(logits[0], task.score)
            image = _distance(changed, x)
            inside = [
                _distance(one, other)
                for ours, theirs in zip(features, clean, strict=True)
                for one, other in zip(ours, theirs, strict=True)
            ]
            feature = torch.stack(inside).mean() if inside else torch.zeros_like(image)
            loss = (lead + margin).clamp_min(0) + w_image * image + w_feature * feature
            if not lead.requires_grad:
                raise ValueError(
                    "The score does not depend on the image through differentiable operations. "
                    "Use a method that needs no gradient, such as occlusion."
                )
            (found,) = torch.autograd.grad(loss, changed)
        # Read together: each reading waits for the device.
        numbers = torch.stack([lead, image, feature, loss]).tolist()
        told = dict(zip(_TOLD, numbers, strict=True))
        return found, (blur((point - x).abs().sum(1), smoothing * min(x.shape[-2:]))[0], told)

    more = {"lead_photo": float(_lead(task.logits, task.score)), "layers": float(len(names))}
    bounds = torch.minimum(black, white), torch.maximum(black, white)
    for done, (value, told) in descend(
        x,
        slope,
        iterations=iterations,
        together=True,
        rate=_RATE * float((bounds[1] - bounds[0]).max()),
        # A photo given as a tensor may lie outside of black and white.
        low=torch.minimum(bounds[0], x),
        high=torch.maximum(bounds[1], x),
    ):
        yield Estimate(value.contiguous().cpu(), done, iterations, {**told, **more})


def _lead(logits: Tensor, score: Goal) -> Tensor:
    if score.kind == "difference":
        return score(logits)
    others = torch.cat([logits[: score.target], logits[score.target + 1 :]])
    return logits[score.target] - others.max()


def _distance(one: Tensor, other: Tensor) -> Tensor:
    size = other.square().sum()
    return (one - other).square().sum() / size.where(size > 0, 1)


def chosen_layers(layers: list[Layer], frame: tuple[int, int]) -> list[str]:
    """The last layer with weights at each resolution, or evenly spaced blocks of a transformer.

    Args:
        layers: of the model.
        frame: height and width of the photo.

    Raises:
        ValueError: when there is neither.
    """
    able = [layer for layer in layers if layer.name and layer.parameters and layer.output_shape]
    by_size: dict[tuple[int, ...], Layer] = {}
    for layer in able:
        size = _size(layer.output_shape or (), frame)
        if size:
            held = by_size.get(size)
            # The outermost, and of those the last: a stage rather than its last convolution.
            if held is None or layer.depth <= held.depth:
                by_size[size] = layer
    if len(by_size) > 1:
        return [layer.name for layer in by_size.values()]
    families: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for layer in able:
        if len(layer.output_shape or ()) == 3:
            families.setdefault((layer.parent or "", layer.output_shape or ()), []).append(
                layer.name
            )
    blocks = max(families.values(), key=len, default=[layer.name for layer in by_size.values()])
    if not blocks:
        raise ValueError(
            "No layers with maps or tokens were found. Name some of model.layers() in layers, or "
            'take layers="none".'
        )
    count = min(_BLOCKS, len(blocks))
    return [blocks[(k + 1) * len(blocks) // count - 1] for k in range(count)]


def _size(shape: tuple[int, ...], frame: tuple[int, int]) -> tuple[int, ...]:
    """Rows and columns of a map, be channels first or last; nothing for what is no map."""
    if len(shape) != 4:
        return ()
    # Channels hardly ever continue the frame's shape; where they do, they come first as usual.
    wanted = math.log(frame[0] / frame[1])
    size = min((shape[2:], shape[1:3]), key=lambda pair: abs(math.log(pair[0] / pair[1]) - wanted))
    return size if size[0] * size[1] > 1 else ()
