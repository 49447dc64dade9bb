"""Layer-wise input x gradient: what each place of a layer contributes, averaged over layers.

    R_l(i, j) = sum over channels k of  A_lk(i, j) dS_c / dA_lk(i, j)

for the activation A_l of layer l; the mean over layers is shown. At a transformer's blocks these
are its class-activation tokens ("CAT"): Qiang et al., "AttCAT: Explaining Transformers via
Attentive Class Activation Tokens", 2022 (NeurIPS 35), there multiplied by attention, which
is left out here.

R_l sums to about the same for every layer, however fine its map is (exactly, for ReLUs without
biases). So each value is spread evenly over the pixels that it stands for, and layers of different
resolution count alike. All layers take one pass forward and one back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch

from xaiwidgets.methods.cams import LayerMap, at_place, blocks_of, enlarged, place_of
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Layer, Range
from xaiwidgets.methods.passes import gradients_at
from xaiwidgets.methods.registry import method


@method(
    title="Layer input x gradient",
    family="layer-wise",
    paper="Qiang et al.: AttCAT: Attentive Class Activation Tokens (2022), without attention",
    url="https://papers.nips.cc/paper_files/paper/2022/hash/20e45668fefa793bd9f2edf19be12c4b-Abstract-Conference.html",
    needs="gradients, layers with spatial extent",
    shares=("blocks",),
    widget="LayerIxG",
)
def layer_ixg(
    task: Task,
    *,
    layer: Annotated[
        str | None, Layer("Layer", "One layer alone; the default is the mean over all blocks.")
    ] = None,
    skip_first: Annotated[
        int, Range(0, 50, 1, "Skip first", help="Blocks at the beginning that are left out.")
    ] = 0,
    skip_last: Annotated[
        int, Range(0, 50, 1, "Skip last", help="Blocks at the end that are left out.")
    ] = 0,
) -> Iterator[Estimate]:
    """Layer-wise input x gradient, `(H, W)`, signed, in logits per pixel.

    `detail` of its estimate is a tuple of `LayerMap`, one a layer, in logits per place.
    Diagnostics: `layers` that went into the mean.

    Raises:
        ValueError: when all blocks are skipped.
    """
    height, width = task.x.shape[-2:]
    if layer is not None:
        places = [place_of(task, layer)]
        found = [at_place(task, places[0])]
    else:
        blocks = blocks_of(task)
        places = blocks[skip_first : len(blocks) - skip_last]
        if not places:
            raise ValueError(
                f"skip_first={skip_first} and skip_last={skip_last} leave none of the network's "
                f"{len(blocks)} blocks. Skip at most {len(blocks) - 1} in all."
            )
        found = gradients_at(task, places)
    value = torch.zeros(height, width, dtype=task.x.dtype)
    maps = []
    for place, at in zip(places, found, strict=True):
        small = (at.activation * at.gradient).sum(0).cpu()
        maps.append(LayerMap(place.name, small))
        value += enlarged(small, height, width) * (small.numel() / value.numel() / len(places))
    yield Estimate(value, 1, 1, {"layers": float(len(places))}, tuple(maps))
