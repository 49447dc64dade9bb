"""Integrated gradients, SmoothGrad and occlusion beside Captum 0.9 at its best batch size.

Same network, same photo, same noise, one process, in turn.

The floor of occlusion is counted in multiply-adds: those that the windows cannot do without (what
a window changes, computed once), at the pace of our plain way. "saved" is how many times fewer they
are than those of whole images; 1 where the plain way was chosen.

Run with ``python -m benchmarks.attribution [--nets ...] [--methods ...] [--repeats N] [--small]``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from benchmarks.measure import Measured, interleaved, machine
from benchmarks.results import arguments, show, table, tell
from xaiwidgets.engine.masking import masked_logits
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Estimate, Task, last_of
from xaiwidgets.model import Model

NETS = ("efficientnet_lite0", "resnet18", "vgg16")
METHODS = ("integrated_gradients", "smoothgrad", "occlusion")
BATCHES = (4, 8, 16)

SPEED = ("ours s", "Captum s (batch)", "ratio")
REST = ("ours MiB", "Captum MiB", "rel. L2 difference", "max difference")
HEADS = ("network", "method", *SPEED, *REST)
OCCLUSION_HEADS = ("network", "patch / stride", "windows", *SPEED, "saved", "floor s", *REST)

Call = Callable[[], Estimate | Tensor]


def network(name: str, device: torch.device) -> tuple[nn.Module, Model]:
    """The plain network, and ours of it."""
    if name == "efficientnet_lite0":
        from tests.oracle.nets import plain_lite0

        # Its package says on stdout that it has loaded them.
        with redirect_stdout(StringIO()):
            net = plain_lite0().to(device)
        preprocess: Any = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3, "size": 224}
    else:
        import torchvision

        torch.manual_seed(0)
        net = torchvision.models.get_model(name, weights=None).eval().to(device)
        preprocess = None
    return net, Model(net, preprocess=preprocess, device=str(device))


def ours(task: Task, method: str, params: dict[str, Any]) -> Call:
    return lambda: last_of(estimates(task, method, params))


def theirs(net: nn.Module, task: Task, method: str, params: dict[str, Any], batch: int) -> Call:
    """Captum's call for the same definition, `batch` evaluations at a time."""
    if method == "integrated_gradients":
        start = task.model.pixels_to_input(blank(task, "black")).reshape(task.x.shape)

        def call() -> Tensor:
            found: Tensor = captum.attr.IntegratedGradients(net).attribute(
                task.x.clone(),
                start,
                task.target,
                n_steps=params["steps"],
                method="riemann_middle",
                internal_batch_size=batch,
            )
            return found

    elif method == "smoothgrad":
        sigma = params["noise"] * float(task.x.max() - task.x.min())

        def call() -> Tensor:
            with _SameNoise(task):
                found: Tensor = captum.attr.NoiseTunnel(captum.attr.Saliency(net)).attribute(
                    task.x.clone(),
                    nt_samples=params["samples"],
                    nt_samples_batch_size=batch,
                    stdevs=sigma,
                    target=task.target,
                    abs=False,
                )
            return found

    else:
        patch, stride = params["patch_size"], params["stride"]
        filling = task.model.pixels_to_input(blank(task, "black")).reshape(task.x.shape)

        def call() -> Tensor:
            found: Tensor = captum.attr.Occlusion(_telling(net)).attribute(
                task.x,
                (3, patch, patch),
                (3, stride, stride),
                filling,
                task.target,
                perturbations_per_eval=batch,
            )[:, 0]
            return found

    return call


def _telling(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network, saying now and then how far it is: some calls take minutes."""
    images, said = 0, time.perf_counter()

    def run(x: Tensor) -> Tensor:
        nonlocal images, said
        found: Tensor = net(x)
        images += len(x)
        if time.perf_counter() - said > 10:
            said = time.perf_counter()
            tell(f"{images} images so far")
        return found

    return run


class _SameNoise:
    """Captum draws our noise: sample k always the same, whatever the batch."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._next = 0
        self._library: Any = torch
        self._normal = torch.normal

    def __enter__(self) -> None:
        def same(mean: float, std: Tensor) -> Tensor:
            first, self._next = self._next, self._next + len(std)
            return torch.cat([self._task.noise(k) for k in range(first, self._next)]) * std

        self._library.normal = same

    def __exit__(self, *_: object) -> None:
        self._library.normal = self._normal


FULL: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 50, "baseline": "black", "grid": "uniform"},
    "smoothgrad": {"samples": 50, "noise": 0.15},
    "occlusion": {"patch_size": 16, "stride": 8, "fill": "black", "score": "logit"},
}
# Windows side by side on the slow one.
STRIDES = {"vgg16": 16}
# The same work in small, to find the peer's best batch size and to warm up.
SMALL: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 16, "baseline": "black", "grid": "uniform"},
    "smoothgrad": {"samples": 16, "noise": 0.15},
    "occlusion": {"patch_size": 52, "stride": 43, "fill": "black", "score": "logit"},
}


class Case:
    """A network, ours of it, and a photo."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self.net, model = network(name, device)
        self.task = make_task(model, xai.photo("cat"))

    def best_batch(self, method: str) -> int:
        """Captum's."""
        seconds = {}
        for batch in BATCHES:
            tell(f"{self.name} {method}: Captum with {batch} at a time, in small")
            call = theirs(self.net, self.task, method, SMALL[method], batch)
            call()
            began = time.perf_counter()
            call()
            seconds[batch] = time.perf_counter() - began
        return min(seconds, key=lambda batch: seconds[batch])

    def measure(
        self, method: str, small: bool, repeats: int
    ) -> tuple[dict[str, Any], Measured[Estimate], Measured[Tensor], int]:
        """The parameters, our estimate, Captum's map, and its batch size."""
        batch = self.best_batch(method)
        ours(self.task, method, SMALL[method])()
        params = dict((SMALL if small else FULL)[method])
        if method == "occlusion" and not small:
            params["stride"] = STRIDES.get(self.name, params["stride"])
        calls = {
            "ours": ours(self.task, method, params),
            f"Captum with {batch} at a time": theirs(self.net, self.task, method, params, batch),
        }

        def told(who: str) -> Callable[[], Any]:
            def call() -> Any:
                tell(f"{self.name} {method}: {who}")
                return calls[who]()

            return call

        mine, peer = interleaved([told(who) for who in calls], self.device, repeats)
        return params, mine, peer, batch

    def plain_seconds(self, patch: int) -> float:
        """What an image with a patch takes our plain way, at the size of batch it settled on."""
        task, count = self.task, self.task.model.batcher("forward").size or 8

        def paint(image: Tensor, index: int) -> None:
            image[:, index : index + patch, index : index + patch] = 0

        found = []
        for _ in range(3):
            began = time.perf_counter()
            deque(masked_logits(task.model, task.x, count, paint, first=count), maxlen=0)
            found.append((time.perf_counter() - began) / count)
        return min(found)


def speed(mine: Measured[Estimate], peer: Measured[Tensor], batch: int) -> list[str]:
    ratio = f"{peer.seconds / mine.seconds:.2f}x"
    return [f"{mine.seconds:.2f}", f"{peer.seconds:.2f} ({batch})", ratio]


def rest(mine: Measured[Estimate], peer: Measured[Tensor]) -> list[str]:
    a, b = mine.value.value.double().cpu(), peer.value.double().cpu()
    b = b.reshape(a.shape)
    return [
        *(f"{each.mebibytes:.0f}" for each in (mine, peer)),
        f"{float((a - b).norm() / b.norm()):.1e}",
        f"{float((a - b).abs().max()):.1e}",
    ]


def row(case: Case, method: str, small: bool, repeats: int) -> list[str]:
    _, mine, peer, batch = case.measure(method, small, repeats)
    return [case.name, method, *speed(mine, peer, batch), *rest(mine, peer)]


def occlusion_row(case: Case, small: bool, repeats: int) -> list[str]:
    params, mine, peer, batch = case.measure("occlusion", small, repeats)
    told = mine.value.diagnostics
    floor = told["positions"] * case.plain_seconds(params["patch_size"])
    saved = told["multiply_adds_saved"]
    return [
        *(case.name, f"{params['patch_size']} / {params['stride']}"),
        *(f"{told['positions']:.0f}", *speed(mine, peer, batch)),
        *(f"{saved:.2f}x", f"{floor / saved:.2f}", *rest(mine, peer)),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="little work, to try it out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    small, repeats = options.small, options.repeats
    gradients = [method for method in options.methods if method != "occlusion"]

    def lines() -> Iterator[str]:
        yield f"Machine: {machine(device)}\n"
        cases = (Case(name, device) for name in options.nets)
        each = ((case, method) for case in cases for method in gradients)
        yield from table(HEADS, (row(*one, small, repeats) for one in each))

    def occlusion_lines() -> Iterator[str]:
        yield f"Machine: {machine(device)}\n"
        cases = (Case(name, device) for name in options.nets)
        yield from table(OCCLUSION_HEADS, (occlusion_row(one, small, repeats) for one in cases))

    if gradients:
        show("attribution", lines(), options.write)
        print()
    if "occlusion" in options.methods:
        show("occlusion beside captum", occlusion_lines(), options.write)


if __name__ == "__main__":
    main()
