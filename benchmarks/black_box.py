"""RISE beside a loop in the way of its authors' code, and LIME beside lime 0.2.

Same network, same photo, same masks or samples, one process. Run with
``python -m benchmarks.black_box [--nets ...] [--methods ...] [--write]``.

- RISE: the authors' code makes its masks once, for many photos, and multiplies the photo by all of
  them at once before it runs the network on a hundred at a time; or on ten, where that is faster.
  Making the masks is not counted.
- LIME: the same segments, samples and fill; lime gets a `classifier_fn` that takes a list of
  images, as it asks for, normalizes them, and runs the network without gradients.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
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
from benchmarks.results import show, table
from xaiwidgets.methods.lime import coin_flips
from xaiwidgets.methods.segments import segment

NETS = ("resnet50", "efficientnet_lite0")
METHODS = ("rise", "lime")
HEADS = ("method", "network", "masked photos", "peer", "ours s", "peer s", "ratio", "ours MiB")
HEADS += ("peer MiB", "rel. L2 difference")
COUNTS = {"resnet50": 200, "efficientnet_lite0": 1000}
BATCHES = (10, 100)
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


def lime_library(subject: Subject, samples: int) -> Call:
    """lime's weights, each at its segment's pixels, `(H, W)`."""
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


def rise(subject: Subject, count: int) -> tuple[str, Measured[Tensor], Measured[Tensor]]:
    mine = subject.ours("rise", masks=count, estimator="paper")
    masks = rise_masks(subject, count)
    subject.ours("rise", masks=64)()
    device = subject.x.device
    rise_loop(subject, masks[:4], 4)()
    seconds = {
        batch: measured(rise_loop(subject, masks[:100], batch), device).seconds for batch in BATCHES
    }
    batch = min(BATCHES, key=lambda size: seconds[size])
    found = measured(lambda: mine().value, device)
    return f"authors' way ({batch})", found, measured(rise_loop(subject, masks, batch), device)


def lime(subject: Subject, count: int) -> tuple[str, Measured[Tensor], Measured[Tensor]]:
    mine = subject.ours("lime", samples=count, segments=SEGMENTS, width=WIDTH * 2**0.5)
    subject.ours("rise", masks=64)()
    lime_library(subject, 20)()
    found = measured(lambda: mine().value, subject.x.device)
    return "lime", found, measured(lime_library(subject, count), subject.x.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--count", type=int, help="of masked photos")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    options = parser.parse_args()
    device = torch.device(options.device)
    runs = {"rise": rise, "lime": lime}

    def rows(subjects: list[Subject]) -> Iterator[list[str]]:
        for method in options.methods:
            for subject in subjects:
                count = options.count or COUNTS.get(subject.name, 200)
                peer, found, theirs = runs[method](subject, count)
                yield [
                    *(method, subject.name, str(count), peer),
                    *(f"{each.seconds:.2f}" for each in (found, theirs)),
                    f"{theirs.seconds / found.seconds:.2f}x",
                    *(f"{each.mebibytes:.0f}" for each in (found, theirs)),
                    apart(found.value, theirs.value),
                ]

    def lines() -> Iterator[str]:
        yield f"Machine: {machine(device)}\n"
        yield from table(HEADS, rows([Subject(name, device) for name in options.nets]))

    show("black box", lines(), options.write)


if __name__ == "__main__":
    main()
