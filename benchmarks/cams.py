"""Class activation maps beside pytorch-grad-cam 1.5, torch-cam 0.5 and Captum 0.9.

Same network, same photo, same class, one process, in turn. Run with
``python -m benchmarks.cams [--nets ...] [--methods ...] [--repeats N] [--write]``.

- Ablation-CAM: one run of the network for each channel there. Where those are too many to wait
  for, they are timed over the first of them, which all take the same work, and multiplied up.
- Score-CAM: one run for each channel too; for ResNet-50 that of an earlier layer with fewer of
  them, which take as long each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_grad_cam
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer
from torch import Tensor

from benchmarks.measure import Measured, machine, measured, medians
from benchmarks.peers import (
    Call,
    Subject,
    apart,
    captum_grad_cam,
    grad_cam_library,
    masks_as_in_the_paper,
    torchcam_grad_cam,
)
from benchmarks.results import arguments, show, table
from xaiwidgets.methods.cams import LayerMap
from xaiwidgets.methods.estimate import Estimate

NETS = ("resnet50", "efficientnet_lite0")
METHODS = ("grad_cam", "ablation_cam", "score_cam")
HEADS = (
    *("method", "network", "channels", "peer", "ours ms", "peer ms", "ratio"),
    *("ours MiB", "peer MiB", "rel. L2 difference"),
)
# Channels of a layer that pytorch-grad-cam's Ablation-CAM is timed over; all where none is said.
FEW = {"resnet50": 128}
# Layers of Score-CAM other than the last.
EARLIER = {"resnet50": "layer1"}


def grad_cam(subject: Subject, repeats: int) -> Iterator[list[str]]:
    peers: dict[str, Call] = {
        "pytorch-grad-cam": grad_cam_library(pytorch_grad_cam.GradCAM, subject),
        "torch-cam": torchcam_grad_cam(subject),
        "Captum": captum_grad_cam(subject),
    }
    mine = subject.ours("grad_cam")
    calls: list[Any] = [lambda: mine().value, *peers.values()]
    for call in calls:
        call()
    found, *theirs = medians(calls, subject.x.device, repeats)
    weights = _detail(mine()).weights
    channels = "" if weights is None else str(len(weights))
    for peer, each in zip(peers, theirs, strict=True):
        yield _row("Grad-CAM", subject, channels, peer, found, each, each.seconds)


def ablation_cam(subject: Subject, _repeats: int) -> Iterator[list[str]]:
    mine = subject.ours("ablation_cam")
    mine()
    found = measured(mine, subject.x.device)
    weights = _detail(found.value).weights
    assert weights is not None
    few = min(FEW.get(subject.name, len(weights)), len(weights))
    peer = _Ablation(subject, few)
    theirs = measured(peer, subject.x.device)
    gap = float((weights[:few].double() - theirs.value).norm() / theirs.value.norm())
    seconds = theirs.seconds * len(weights) / few
    said = str(len(weights)) if few == len(weights) else f"{len(weights)}, of which {few} timed"
    row = _row("Ablation-CAM", subject, said, "pytorch-grad-cam", found, theirs, seconds)
    yield [*row[:-1], f"{gap:.1e} (weights)"]


class _Ablation:
    """pytorch-grad-cam's weights of a layer's first channels, `(n,)`."""

    def __init__(self, subject: Subject, count: int) -> None:
        self._subject, self._count = subject, count

    def __call__(self) -> Tensor:
        count, kept = self._count, []

        class First(AblationLayer):  # type: ignore[misc]
            def activations_to_be_ablated(self, *_: Any) -> Any:
                self.indices = super().activations_to_be_ablated(*_)[:count]
                return self.indices

        class Kept(pytorch_grad_cam.AblationCAM):  # type: ignore[misc]
            def get_cam_weights(self, *args: Any) -> Any:
                kept.append(super().get_cam_weights(*args))
                return kept[-1]

        def made(net: Any, layers: Any) -> Any:
            return Kept(net, layers, ablation_layer=First())

        grad_cam_library(made, self._subject)()
        return torch.from_numpy(kept[0])[0, :count].double()


def score_cam(subject: Subject, _repeats: int) -> Iterator[list[str]]:
    name = EARLIER.get(subject.name)
    layer = subject.net.get_submodule(name) if name else None
    # By now the size of its batches is known.
    subject.ours("rise", masks=64)()
    found = measured(subject.ours("score_cam", layer=name), subject.x.device)
    peer = grad_cam_library(pytorch_grad_cam.ScoreCAM, subject, layer)
    with masks_as_in_the_paper():
        theirs = measured(peer, subject.x.device)
    detail = _detail(found.value)
    assert detail.weights is not None
    said = f"{len(detail.weights)} of {name or 'the last layer'}"
    yield _row("Score-CAM", subject, said, "pytorch-grad-cam", found, theirs, theirs.seconds)


def _detail(estimate: Estimate) -> LayerMap:
    assert isinstance(estimate.detail, LayerMap)
    return estimate.detail


def _row(
    method: str,
    subject: Subject,
    channels: str,
    peer: str,
    found: Measured[Any],
    theirs: Measured[Tensor],
    seconds: float,
) -> list[str]:
    value = found.value.value if isinstance(found.value, Estimate) else found.value
    gap = apart(value, theirs.value) if theirs.value.shape == value.shape else ""
    times = [f"{1000 * each:.0f}" for each in (found.seconds, seconds)]
    memory = [f"{each.mebibytes:.0f}" for each in (found, theirs)]
    ratio = f"{seconds / found.seconds:.2f}x"
    return [method, subject.name, channels, peer, *times, ratio, *memory, gap]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    runs = {"grad_cam": grad_cam, "ablation_cam": ablation_cam, "score_cam": score_cam}

    def lines() -> Iterator[str]:
        yield f"Machine: {machine(device)}\n"
        subjects = [Subject(name, device) for name in options.nets]
        yield from table(
            HEADS,
            (
                row
                for method in options.methods
                for subject in subjects
                for row in runs[method](subject, options.repeats)
            ),
        )

    show("cams", lines(), options.write)


if __name__ == "__main__":
    main()
