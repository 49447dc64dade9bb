"""ViT-CX: masks that the network makes itself, from its last features, and their causal impact.

    s_i = p_c(x * M_i + z_i (1 - M_i)) - p_c(x + z_i (1 - M_i)) + p_c(x)
    R = sum over i of  s_i M_i / sum over i of  M_i

Xie, Li, Cao, Zhang, "ViT-CX: Causal Explanation of Vision Transformers", 2023 (arXiv 2211.03064).
The features of the patches before the last attention are enlarged to the photo and scaled to 0..1;
those that look alike (complete linkage of the cosine distance) are added up to one mask M_i. z_i is
Gaussian noise on the part that a mask hides: the second term takes off what the noise does by
itself. Dividing by the sum of masks corrects for pixels that many masks cover. (The authors' code
divides by the number of masks as well, which scales the whole picture.)

What a block's normalization hands to its last attention is the default layer; for networks without
attention it is the last one with spatial extent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from xaiwidgets.engine.gradients import Score
from xaiwidgets.engine.head import activation_at
from xaiwidgets.engine.masking import masked_logits
from xaiwidgets.engine.places import Place, named_place
from xaiwidgets.engine.upload import upload
from xaiwidgets.methods.cams import place_of
from xaiwidgets.methods.estimate import Estimate, Task
from xaiwidgets.methods.params import Layer, Range
from xaiwidgets.methods.registry import method
from xaiwidgets.methods.scores import ScoreKind, scored

_AT_ONCE = 64
_NOTHING = 1e-9


@dataclass
class Impacts:
    """What the network said of each masked photo so far.

    Attributes:
        grids: masks before they are enlarged, `(N, h, w)`, those of most features first.
        frame: `(H, W)` of the photo.
        logits: of all classes, of the masked photo and of the photo with noise, `(N, 2, K)`.
        clean: logits of the photo, `(K,)`.
        done: number of masks so far.
    """

    grids: Tensor
    frame: tuple[int, int]
    logits: Tensor
    clean: Tensor
    done: int = 0

    def mask(self, start: int, stop: int) -> Tensor:
        """Masks from `start` to `stop`, `(n, H, W)`, 0..1."""
        return enlarged(self.grids[start:stop], self.frame)

    def attribution(self, score: Score, kind: str = "probability") -> Tensor:
        """The map of any score of the logits, `(H, W)`, float64; the network is not run."""
        sums = _Sums(self, score, kind)
        for start in range(0, self.done, _AT_ONCE):
            sums.add(start, min(start + _AT_ONCE, self.done))
        return sums.map()


@method(
    title="ViT-CX",
    family="perturbation",
    paper="Xie, Li, Cao, Zhang: ViT-CX: Causal Explanation of Vision Transformers (2023)",
    url="https://arxiv.org/abs/2211.03064",
    needs="maps of features: patch tokens, or a layer with spatial extent",
)
def vit_cx(
    task: Task,
    *,
    layer: Annotated[
        str | None,
        Layer(
            "Layer",
            "Whose features become masks; the default is the last before an attention, or with "
            "spatial extent.",
        ),
    ] = None,
    distance: Annotated[
        float,
        Range(
            0.01,
            1,
            0.01,
            "Distance",
            help="Features whose cosine distance is below this are one mask; more, fewer masks.",
        ),
    ] = 0.1,
    noise: Annotated[
        float,
        Range(0, 1, 0.01, "Noise", help="Sigma of the noise on what is hidden, in input units."),
    ] = 0.1,
    score: ScoreKind = "probability",
) -> Iterator[Estimate]:
    """ViT-CX, `(H, W)`, in probability (or logits).

    Memory does not grow with the number of masks, but for their grids `(N, h, w)` and the scores of
    all classes, `(N, 2, K)`, which let `Impacts.attribution` explain another class at no cost.

    Diagnostics: `masks`, their number; `features` that they were made from.

    Raises:
        ValueError: for a network or a layer without maps of features, or with constant ones.
    """
    maps = features(task, place_of_features(task, layer))
    frame = (task.x.shape[-2], task.x.shape[-1])
    grids = clustered(maps, frame, distance)
    count = len(grids)
    newest: tuple[int, Tensor, Tensor] = (-1, grids, grids)

    def paint(image: Tensor, index: int) -> None:
        nonlocal newest
        number, noisy = divmod(index, 2)
        if newest[0] != number:
            mask = enlarged(grids[number : number + 1], frame)
            mask = upload(mask, image.device, image.dtype)
            newest = (number, mask, task.noise(number)[0] * (1 - mask) * noise)
        if not noisy:
            image.mul_(newest[1])
        image.add_(newest[2])

    found: Impacts | None = None
    sums: _Sums | None = None
    for start, stop, logits in masked_logits(
        task.model, task.x, 2 * count, paint, exact=task.exact
    ):
        if found is None or sums is None:
            empty = logits.new_zeros(count, 2, logits.shape[1])
            found = Impacts(grids, frame, empty, task.logits)
            sums = _Sums(found, task.score, score)
        found.logits.flatten(0, 1)[start:stop] = logits
        before, found.done = found.done, stop // 2
        sums.add(before, found.done)
        # Before the first pair is complete there is nothing to show.
        if found.done:
            diagnostics = {"masks": float(count), "features": float(len(maps))}
            yield Estimate(sums.map().to(logits.dtype), stop, 2 * count, diagnostics, found)


def place_of_features(task: Task, layer: str | None = None) -> Place:
    """The layer of that name, else the last before an attention, else that with spatial extent.

    Raises:
        ValueError: where there is none, or it cannot be shown as a map.
    """
    last = _before_last_attention(task) if layer is None else None
    if last is not None:
        try:
            return named_place(task.model, task.x, last, exact=task.exact)
        except ValueError:
            # Attention to something else than a photo's patches.
            pass
    return place_of(task, layer)


def features(task: Task, place: Place) -> Tensor:
    """What a place gives, as maps `(D, h, w)`, float64, on the CPU."""
    return activation_at(task.model, task.x, place).double().cpu()


def _before_last_attention(task: Task) -> str | None:
    norms: dict[str | None, str] = {}
    found: str | None = None
    for layer in task.model.layers():
        if "Norm" in layer.type and layer.output_shape is not None:
            norms[layer.parent] = layer.name
        elif "Attention" in layer.type:
            # Of the same block: where it is normalized afterwards, there is none before.
            found = norms.get(layer.parent, found)
    return found


class _Sums:
    """Gathers masks and their impacts, in place."""

    def __init__(self, found: Impacts, score: Score, kind: str) -> None:
        self._found, self._score, self._kind = found, score, kind
        self._clean = scored(found.clean[None], score, kind)
        self._impacts = torch.zeros(found.frame, dtype=torch.float64)
        self._cover = torch.zeros_like(self._impacts)

    def add(self, start: int, stop: int) -> None:
        if start == stop:
            return
        masked, noisy = (
            scored(logits, self._score, self._kind)
            for logits in self._found.logits[start:stop].unbind(1)
        )
        masks = self._found.mask(start, stop)
        self._impacts += torch.einsum("n,nhw->hw", masked - noisy + self._clean, masks)
        self._cover += masks.sum(0)

    def map(self) -> Tensor:
        # What no mask covers was never asked about; a mask's lowest place is 0 but for rounding.
        covered = self._cover > _NOTHING
        return torch.where(covered, self._impacts / self._cover.where(covered, 1), 0.0)


def clustered(maps: Tensor, frame: tuple[int, int], distance: float) -> Tensor:
    """Masks before they are enlarged, `(N, h, w)`, float64: those of most features first.

    Args:
        maps: of features, `(D, h, w)`.
        frame: `(H, W)` of the photo; enlarged to that size, each mask runs from 0 to 1.
        distance: of complete linkage.

    Raises:
        ValueError: when every map is constant.
    """
    from sklearn.cluster import AgglomerativeClustering

    scaled = _scaled(maps.double(), frame)
    if not len(scaled):
        raise ValueError(
            "The features are the same everywhere in the photo, so no masks can be made of them. "
            "Choose another layer, or use rise or lime, which look at no layer."
        )
    if len(scaled) == 1:
        return scaled
    nearby = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="precomputed", linkage="complete"
    )
    labels = torch.from_numpy(nearby.fit_predict(_distances(scaled, frame).numpy()))
    order = labels.bincount().argsort(descending=True, stable=True)
    return _scaled(torch.stack([scaled[labels == label].sum(0) for label in order]), frame)


def enlarged(grids: Tensor, frame: tuple[int, int]) -> Tensor:
    """Grids `(n, h, w)` as large as the photo, `(n, H, W)`, bilinear."""
    return functional.interpolate(grids[None], frame, mode="bilinear", align_corners=False)[0]


def _scaled(grids: Tensor, frame: tuple[int, int]) -> Tensor:
    """Shifted and scaled so that, enlarged, they run from 0 to 1; without constant ones."""
    ends = [
        (large.amin((1, 2)), large.amax((1, 2)))
        for large in (enlarged(part, frame) for part in torch.split(grids, _AT_ONCE))
    ]
    low, high = (torch.cat(end)[:, None, None] for end in zip(*ends, strict=True))
    varied = (high - low).flatten() > 1e-12 * high.abs().amax().clamp_min(1e-300)
    return ((grids - low) / (high - low).clamp_min(1e-300))[varied]


def _distances(grids: Tensor, frame: tuple[int, int]) -> Tensor:
    """Cosine distances of the enlarged grids, `(N, N)`, without enlarging them.

    Enlarging is separable and linear, A grid B^T, so inner products are those of the small grids
    under A^T A and B^T B.
    """
    rows, columns = (
        functional.interpolate(torch.eye(short, dtype=torch.float64)[:, None], long, mode="linear")[
            :, 0
        ]
        for short, long in zip(grids.shape[1:], frame, strict=True)
    )
    weighted = (rows @ rows.T) @ grids @ (columns @ columns.T)
    inner = weighted.flatten(1) @ grids.flatten(1).T
    size = inner.diagonal().sqrt()
    distances = (1 - inner / (size[:, None] * size)).clamp_min(0)
    return ((distances + distances.T) / 2).fill_diagonal_(0)
