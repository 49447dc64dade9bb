"""RISE beside a loop in the way of its authors' code, and LIME beside lime 0.2.

Same network, same photo, same masks or samples, one process. Run with
``python -m benchmarks.black_box [--nets ...] [--methods ...] [--count N]``.

- RISE: the authors' code makes its masks once, for many photos, and multiplies the photo by all of
  them at once before it runs the network on a hundred at a time. Making the masks is not counted.
- LIME: the same segments, samples and fill; lime gets a `classifier_fn` that takes a list of
  images, as it asks for, normalizes them, and runs the network without gradients. By itself it
  gives it ten at a time.
- Each peer at its own default batch size, and at the one that is best for it here.

The second table is of RISE alone: the paper's estimator, and the centered one, our default, with a
quarter of the masks. How repeatable a map is, the correlation of its two halves tells.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import Measured, machine, measured
from benchmarks.peers import Call, Subject, apart
from benchmarks.results import arguments, show, table, tell
from xaiwidgets.methods.estimate import Estimate
from xaiwidgets.methods.lime import coin_flips
from xaiwidgets.methods.segments import segment

NETS = ("resnet50", "efficientnet_lite0")
HEADS = (
    *("method", "network", "masked photos", "peer", "batch", "ours s", "peer s", "ratio"),
    *("ours MiB", "peer MiB", "rel. L2 difference"),
)
ESTIMATORS = ("network", "estimator", "masks", "s", "correlation of the halves", "settled")
COUNTS = {"resnet50": 200, "efficientnet_lite0": 1000}
# Of photos that the network is run on: the peers' defaults, and what else is tried.
DEFAULTS = {"rise": 100, "lime": 10}
BATCHES = (4, 10, 30, 100)
# lime's own width; its kernel is exp(-d^2 / (2 width^2)), ours has no 2.
WIDTH = 0.25
SEGMENTS = 50


def rise_loop(subject: Subject, masks: Tensor, batch: int) -> Call:
    """The authors' way: all masked photos in memory, `batch` through the network at once.

    Args:
        subject: network and photo.
        masks: `(N, H, W)`, made before.
        batch: of photos that the network is run on; theirs is 100.
    """

    def call() -> Tensor:
        count = len(masks)
        with torch.no_grad():
            stack = masks[:, None] * subject.x
            scores = torch.cat([subject.net(part).softmax(1) for part in torch.split(stack, batch)])
            maps = scores.T @ masks.reshape(count, -1)
        height, width = masks.shape[1:]
        return maps.reshape(-1, height, width)[subject.task.target] / count / 0.5

    return call


def rise_masks(subject: Subject, count: int, cells: int = 7) -> Tensor:
    """The masks that ours draws, made one by one: enlarged, then cut out."""
    height, width = subject.x.shape[-2:]
    step = [math.ceil(side / cells) for side in (height, width)]
    size = [(cells + 1) * side for side in step]
    masks = torch.empty(count, height, width)
    for index in range(count):
        random = subject.task.random(index)
        grid = torch.rand(cells, cells, generator=random, dtype=torch.float64) < 0.5
        draws = torch.rand(2, generator=random, dtype=torch.float64).tolist()
        top, left = (int(draw * side) for draw, side in zip(draws, step, strict=True))
        large = functional.interpolate(grid.float()[None, None], size, mode="bilinear")[0, 0]
        masks[index] = large[top : top + height, left : left + width]
    return masks.to(subject.x)


def lime_library(subject: Subject, samples: int, batch: int) -> Call:
    """lime's weights, each at its segment's pixels, `(H, W)`; `batch` samples at a time."""
    task, net = subject.task, subject.net
    pixels = task.prepared.pixels
    image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())

    def probabilities(images: NDArray[Any]) -> NDArray[Any]:
        batch = torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)
        with torch.no_grad():
            found: NDArray[Any] = net(task.model.pixels_to_input(batch)).softmax(1).cpu().numpy()
        return found

    def call() -> Tensor:
        labels = segment(pixels, "slic", SEGMENTS)
        explainer = LimeImageExplainer(kernel_width=WIDTH, feature_selection="none")
        explainer.random_state = _Flips(coin_flips(task, samples, int(labels.max()) + 1))
        with redirect_stderr(StringIO()):
            found = explainer.explain_instance(
                image,
                probabilities,
                labels=(task.target,),
                top_labels=None,
                hide_color=pixels.mean((1, 2)).numpy(),
                num_samples=samples,
                batch_size=batch,
                segmentation_fn=lambda _: labels.numpy(),
            )
        weights = torch.zeros(int(labels.max()) + 1, dtype=torch.float64)
        for number, weight in found.local_exp[task.target]:
            weights[number] = weight
        return weights[labels]

    return call


class _Flips:
    """Stands for numpy's generator where lime draws its samples: it draws ours."""

    def __init__(self, kept: Tensor) -> None:
        self._kept = kept.numpy().astype(int)

    def randint(self, low: int, high: int | None = None, size: int | None = None) -> Any:
        if size is None:
            return 0
        assert (low, high, size) == (0, 2, self._kept.size)
        return self._kept.ravel().copy()


def rise(subject: Subject, count: int) -> tuple[Call, Callable[[int, int], Call]]:
    """Our map, and the peer's from so many masks, a batch at a time."""
    mine = subject.ours("rise", masks=count, estimator="paper")
    masks = rise_masks(subject, count)
    return lambda: mine().value, lambda few, batch: rise_loop(subject, masks[:few], batch)


def lime(subject: Subject, count: int) -> tuple[Call, Callable[[int, int], Call]]:
    """Our map, and the peer's from so many samples, a batch at a time."""
    mine = subject.ours("lime", samples=count, segments=SEGMENTS, width=WIDTH * 2**0.5)
    return lambda: mine().value, lambda few, batch: lime_library(subject, few, batch)


METHODS = {"rise": rise, "lime": lime}
PEERS = {"rise": "authors' way", "lime": "lime"}


def rows(subject: Subject, method: str, count: int) -> Iterator[list[str]]:
    mine, peer = METHODS[method](subject, count)
    device = subject.x.device
    # By now the size of our batches is known, and the network is warm.
    subject.ours("rise", masks=64)()
    few = min(count, 100)
    seconds: dict[int, float] = {}
    for batch in BATCHES:
        tell(f"{subject.name} {method}: {PEERS[method]} with {batch} at a time, {few} in all")
        seconds[batch] = min(measured(peer(few, batch), device).seconds for _ in range(2))
    default, best = DEFAULTS[method], min(BATCHES, key=lambda size: seconds[size])
    tell(f"{subject.name} {method}: ours, and {PEERS[method]}")
    calls = [mine, *(peer(count, batch) for batch in dict.fromkeys((default, best)))]
    found, *theirs = (measured(call, device) for call in calls)
    told = [f"{default}, its default", f"{best}, its best"]
    if default == best:
        told = [f"{default}, its default and best"]
    for at_once, each in zip(told, theirs, strict=True):
        yield [
            *(method, subject.name, str(count), PEERS[method], at_once),
            *(f"{one.seconds:.2f}" for one in (found, each)),
            f"{each.seconds / found.seconds:.2f}x",
            *(f"{one.mebibytes:.0f}" for one in (found, each)),
            apart(found.value, each.value),
        ]


def estimator_rows(subject: Subject, count: int) -> Iterator[list[str]]:
    subject.ours("rise", masks=64)()
    for estimator, masks in (("paper", count), ("centered", count // 4)):
        tell(f"{subject.name} rise: {estimator}")
        run = subject.ours("rise", masks=masks, estimator=estimator)
        found: Measured[Estimate] = measured(run, subject.x.device)
        told = found.value.diagnostics
        yield [
            *(subject.name, estimator, str(masks), f"{found.seconds:.2f}"),
            *(f"{told[name]:.3f}" for name in ("split_half", "settled")),
        ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--count", type=int, help="of masked photos")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)

    def lines() -> Iterator[str]:
        yield f"Machine: {machine(device)}\n"
        subjects = [Subject(name, device) for name in options.nets]
        counts = {one.name: options.count or COUNTS.get(one.name, 200) for one in subjects}
        yield from table(
            HEADS,
            (
                row
                for method in options.methods
                for subject in subjects
                for row in rows(subject, method, counts[subject.name])
            ),
        )
        if "rise" in options.methods:
            yield ""
            each = (estimator_rows(subject, counts[subject.name]) for subject in subjects)
            yield from table(ESTIMATORS, itertools.chain.from_iterable(each))

    show("black box", lines(), options.write)


if __name__ == "__main__":
    main()
