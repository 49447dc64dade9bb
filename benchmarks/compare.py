"""Ten gradient and CAM methods of one photo in one `xai.compare`, beside the peers' ten calls.

Same network, same photo, same class, one process, in turn; the peers' calls are Captum 0.9's and
pytorch-grad-cam 1.5's, one after the other. Run with
``python -m benchmarks.compare [--net ...] [--repeats N] [--write]``.

pytorch-grad-cam's Eigen-CAM centers the activations, which the paper does not, and its Grad-CAM++
adds 1e-6 to a denominator of about that size: their maps are other ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import captum.attr
import pytorch_grad_cam
import torch
from torch import Tensor

import xaiwidgets as xai
from benchmarks.measure import machine, medians
from benchmarks.peers import Call, Subject, apart, grad_cam_library
from benchmarks.results import arguments, show, table

CAPTUM = {
    "saliency": "Saliency",
    "input_x_gradient": "InputXGradient",
    "guided_backprop": "GuidedBackprop",
    "deconvnet": "Deconvolution",
    "guided_grad_cam": "GuidedGradCam",
}
GRAD_CAM = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "xgrad_cam": "XGradCAM",
    "layer_cam": "LayerCAM",
    "eigen_cam": "EigenCAM",
}
METHODS = (*CAPTUM, *GRAD_CAM)
HEADS = ("method", "ours alone ms", "peer", "peer ms", "rel. L2 difference")


def captum_call(method: str, subject: Subject) -> Call:
    kind = getattr(captum.attr, CAPTUM[method])
    guided = method == "guided_grad_cam"
    options: dict[str, Any] = {"saliency": {"abs": False}}.get(method, {})
    if guided:
        options = {"interpolate_mode": "bilinear"}

    def call() -> Tensor:
        made = kind(subject.net, subject.layer) if guided else kind(subject.net)
        found: Tensor = made.attribute(
            subject.x.clone().requires_grad_(True), target=subject.task.target, **options
        )
        return found[0].detach()

    return call


def peer_of(method: str, subject: Subject) -> Call:
    if method in CAPTUM:
        return captum_call(method, subject)
    return grad_cam_library(getattr(pytorch_grad_cam, GRAD_CAM[method]), subject)


def lines(net: str, device: torch.device, repeats: int) -> Iterator[str]:
    yield f"Machine: {machine(device)}; {net}\n"
    subject = Subject(net, device)
    model, target = subject.task.model, subject.task.target
    photo = xai.photo("cat")

    def together() -> Any:
        return xai.compare(model, photo, list(METHODS), target, progress=False)

    mine = [subject.ours(method) for method in METHODS]
    peers = [peer_of(method, subject) for method in METHODS]
    calls: list[Callable[[], Any]] = [*mine, *peers, together]
    for call in calls:
        call()
    *each, whole = medians(calls, device, repeats)
    ours, theirs = each[: len(METHODS)], each[len(METHODS) :]

    def rows() -> Iterator[list[str]]:
        for method, one, other in zip(METHODS, ours, theirs, strict=True):
            value = one.value.value
            gap = (
                f"{float((value - other.value).norm() / other.value.norm()):.1e}"
                if method in CAPTUM
                else apart(value, other.value)
            )
            name = "Captum" if method in CAPTUM else "pytorch-grad-cam"
            yield [method, f"{1000 * one.seconds:.0f}", name, f"{1000 * other.seconds:.0f}", gap]

    yield from table(HEADS, rows())
    apart_seconds = sum(one.seconds for one in ours)
    their_seconds = sum(other.seconds for other in theirs)
    found = {key.method: whole.value[key].attribution for key in whole.value}
    worst = max(
        float((torch.from_numpy(found[method]) - one.value.value.float()).norm())
        / float(one.value.value.norm())
        for method, one in zip(METHODS, ours, strict=True)
    )
    yield (
        f"\nAll ten: {1000 * whole.seconds:.0f} ms in one `xai.compare`, {1000 * apart_seconds:.0f}"
        f" ms one by one, {1000 * their_seconds:.0f} ms by the peers: "
        f"{their_seconds / whole.seconds:.2f}x. Together or alone, ours differ by {worst:.1e}. "
        f"Memory: {whole.mebibytes:.0f} MiB, the peers' calls at most "
        f"{max(other.mebibytes for other in theirs):.0f} MiB."
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--net", default="resnet50")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    show("compare", lines(options.net, device, options.repeats), options.write)


if __name__ == "__main__":
    main()
