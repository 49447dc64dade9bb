"""Integrated gradients, SmoothGrad and occlusion beside Captum 0.9 at its best batch size.

Same network, same photo, same noise, one process, in turn. Run with
``python -m benchmarks.attribution [--nets ...] [--methods ...] [--repeats N]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from benchmarks.measure import Measured, interleaved, machine
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.model import Model

NETS = ("efficientnet_lite0", "resnet18", "vgg16")
METHODS = ("integrated_gradients", "smoothgrad", "occlusion")
BATCHES = (4, 8, 16)

Call = Callable[[], Tensor]


def network(name: str, device: torch.device) -> tuple[nn.Module, Model]:
    """The plain network, and ours of it."""
    if name == "efficientnet_lite0":
        from tests.oracle.nets import plain_lite0

        net = plain_lite0().to(device)
        preprocess: Any = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3, "size": 224}
    else:
        import torchvision

        torch.manual_seed(0)
        net = torchvision.models.get_model(name, weights=None).eval().to(device)
        preprocess = None
    return net, Model(net, preprocess=preprocess, device=str(device))


def ours(task: Task, method: str, params: dict[str, Any]) -> Call:
    return lambda: last_of(estimates(task, method, params)).value


def theirs(net: nn.Module, task: Task, method: str, params: dict[str, Any], batch: int) -> Call:
    """Captum's call for the same definition, `batch` evaluations at a time."""
    if method == "integrated_gradients":
        start = task.model.pixels_to_input(blank(task, "black")).reshape(task.x.shape)

        def call() -> Tensor:
            return captum.attr.IntegratedGradients(net).attribute(
                task.x.clone(),
                start,
                task.target,
                n_steps=params["steps"],
                method="riemann_middle",
                internal_batch_size=batch,
            )

    elif method == "smoothgrad":
        sigma = params["noise"] * float(task.x.max() - task.x.min())

        def call() -> Tensor:
            with _SameNoise(task):
                return captum.attr.NoiseTunnel(captum.attr.Saliency(net)).attribute(
                    task.x.clone(),
                    nt_samples=params["samples"],
                    nt_samples_batch_size=batch,
                    stdevs=sigma,
                    target=task.target,
                    abs=False,
                )

    else:
        patch, stride = params["patch_size"], params["stride"]
        filling = task.model.pixels_to_input(blank(task, "black")).reshape(task.x.shape)

        def call() -> Tensor:
            return captum.attr.Occlusion(net).attribute(
                task.x,
                (3, patch, patch),
                (3, stride, stride),
                filling,
                task.target,
                perturbations_per_eval=batch,
            )[:, 0]

    return call


class _SameNoise:
    """Captum draws our noise: sample k always the same, whatever the batch."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._next = 0
        self._normal = torch.normal

    def __enter__(self) -> None:
        def same(mean: float, std: Tensor) -> Tensor:
            first, self._next = self._next, self._next + len(std)
            return torch.cat([self._task.noise(k) for k in range(first, self._next)]) * std

        torch.normal = same  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        torch.normal = self._normal  # type: ignore[assignment]


FULL: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 50, "baseline": "black"},
    "smoothgrad": {"samples": 50, "noise": 0.15},
    "occlusion": {"patch_size": 16, "stride": 8, "fill": "black", "score": "logit"},
}
# Windows side by side on the slow one.
STRIDES = {"vgg16": 16}
# The same work in small, to find the peer's best batch size and to warm up.
SMALL: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 16, "baseline": "black"},
    "smoothgrad": {"samples": 16, "noise": 0.15},
    "occlusion": {"patch_size": 52, "stride": 43, "fill": "black", "score": "logit"},
}


def best_batch(net: nn.Module, task: Task, method: str) -> int:
    seconds = {}
    for batch in BATCHES:
        call = theirs(net, task, method, SMALL[method], batch)
        call()
        began = time.perf_counter()
        call()
        seconds[batch] = time.perf_counter() - began
    return min(seconds, key=lambda batch: seconds[batch])


def rows(
    nets: list[str], methods: list[str], device: torch.device, repeats: int
) -> Iterator[tuple[str, str, int, Measured[Tensor], Measured[Tensor]]]:
    for name in nets:
        net, model = network(name, device)
        task = make_task(model, xai.photo("cat"))
        for method in methods:
            batch = best_batch(net, task, method)
            ours(task, method, SMALL[method])()
            params = dict(FULL[method])
            if method == "occlusion":
                params["stride"] = STRIDES.get(name, params["stride"])
            calls = [
                ours(task, method, params),
                theirs(net, task, method, params, batch),
            ]
            mine, peer = interleaved(calls, device, repeats)
            yield name, method, batch, mine, peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"Machine: {machine(device)}\n")
    print(
        "| network | method | ours s | Captum s (batch) | ratio | ours MiB | Captum MiB "
        "| rel. L2 difference | max difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, method, batch, mine, peer in rows(
        options.nets, options.methods, device, options.repeats
    ):
        a, b = mine.value.double().cpu(), peer.value.double().cpu().reshape(mine.value.shape)
        print(
            f"| {name} | {method} | {mine.seconds:.2f} | {peer.seconds:.2f} ({batch}) "
            f"| {peer.seconds / mine.seconds:.2f}x | {mine.mebibytes:.0f} | {peer.mebibytes:.0f} "
            f"| {float((a - b).norm() / b.norm()):.1e} | {float((a - b).abs().max()):.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
