"""Every method on every network: works, or is refused with a reason.

``python -m benchmarks.networks`` runs all of them, small (few steps, small photos; of a method that
would ask for thousands of passes, the first estimates). A cell says "works" when every estimate is
finite and the network is left as it was, "zero map" when besides nothing but zeros is shown, and
"refused" when the method raised a ValueError that says why. Anything else fails the command, and so
does a network whose prepared copies have other gradients than the network itself, in float64. The
last row tells which layer the class activation maps show, and its size. ``--nets`` and
``--methods`` print a part, which cannot be written.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from benchmarks import results
from benchmarks.measure import machine
from xaiwidgets.engine.batching import Batcher
from xaiwidgets.engine.gradients import gradient
from xaiwidgets.engine.logits import extract_logits
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods import registry
from xaiwidgets.methods.cams import place_of
from xaiwidgets.methods.estimate import Task
from xaiwidgets.model import Model
from xaiwidgets.preprocess import make_preprocess

SECTION = "networks"

# Of whichever method has a parameter of that name.
SMALL: dict[str, Any] = {
    "steps": 4,
    "samples": 8,
    "base_steps": 2,
    "iterations": 3,
    "masks": 8,
    "segments": 4,
    "patch_size": 40,
    "stride": 40,
    "cells": 4,
    "resolution": 6,
}
LAYER = "(layer of the maps)"
# Estimates after which a method has shown that it works here.
_ENOUGH = 3


@dataclass(frozen=True)
class Network:
    """A column of the table.

    Attributes:
        title: as people read it.
        make: the plain network.
        side: of the photo, in pixels.
        target: what is explained.
    """

    title: str
    make: Callable[[], nn.Module]
    side: int
    target: Any = None


def _torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import torchvision

        torch.manual_seed(0)
        net: Any = torchvision.models.get_model(name, weights=None, **options)
        if name.startswith("vit"):
            # Its head starts at zero, which would leave nothing to explain.
            nn.init.normal_(net.heads.head.weight, std=0.02)
        return settled(net)

    return make


def _lite0() -> nn.Module:
    return xai.load(device="cpu").net


@functools.cache
def _photos() -> Tensor:
    """All the sample photos at several sizes, `(N, 3, 128, 128)`."""
    prepare = make_preprocess({"size": 128, "resize": 128}, 3).prepare
    shown = torch.cat([prepare(xai.photo(name))[1][None] for name in xai.photos()])
    parts = [shown, shown.flip(3), shown[..., 20:84, 30:94]]
    return torch.cat([functional.interpolate(part, (128, 128)) for part in parts])


def settled(net: nn.Module) -> nn.Module:
    """The network with normalizations as after training: the statistics of photos."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
        norm.momentum = None
    if norms:
        net.train()
        with torch.no_grad():
            net(_photos())
    return net.eval()


NETWORKS = {
    "efficientnet_lite0": Network("EfficientNet-Lite0", _lite0, 96),
    "resnet18": Network("ResNet-18", _torchvision("resnet18"), 96),
    "vgg16": Network("VGG-16", _torchvision("vgg16"), 64),
    "googlenet": Network(
        "GoogLeNet", _torchvision("googlenet", aux_logits=False, init_weights=False), 96
    ),
    "densenet121": Network("DenseNet-121", _torchvision("densenet121"), 96),
    "mobilenet_v3_large": Network("MobileNetV3", _torchvision("mobilenet_v3_large"), 96),
    "convnext_tiny": Network("ConvNeXt-T", _torchvision("convnext_tiny"), 96),
    "vit_b_16": Network("ViT-B/16", _torchvision("vit_b_16", image_size=96), 96),
    "swin_t": Network("Swin-T", _torchvision("swin_t"), 96),
    # At 96 pixels nothing but 1x1 would be left of its last maps.
    "inception_v3": Network(
        "Inception-v3", _torchvision("inception_v3", aux_logits=False, init_weights=False), 128
    ),
    "fcn_resnet50": Network(
        "FCN-ResNet50, class", _torchvision("fcn_resnet50", weights_backbone=None), 64
    ),
    "fcn_resnet50_region": Network(
        "FCN-ResNet50, region",
        _torchvision("fcn_resnet50", weights_backbone=None),
        64,
        xai.Region((16, 20, 48, 50)),
    ),
}


@functools.cache
def task_of(name: str) -> Task:
    network = NETWORKS[name]
    side = network.side
    net = network.make()
    model = Model(net, {"size": side, "resize": side}, device="cpu", name=network.title)
    for kind in ("gradient", "forward"):
        # A measured size goes by the clock.
        model._batchers[kind] = Batcher(model.device, 4)
    return make_task(model, xai.photo("cat"), network.target)


def check_copies(name: str) -> None:
    """Fail when the gradient of a prepared copy is not that of the plain network, in float64."""
    network = NETWORKS[name]
    net = network.make().double()
    side = network.side
    model = Model(net, {"size": side, "resize": side}, device="cpu", dtype=torch.float64)
    task = make_task(model, xai.photo("cat"), None)
    x = task.x.clone().requires_grad_(True)
    (plain,) = torch.autograd.grad(extract_logits(net(x), 1)[0, task.target], x)
    for exact in (False, True):
        found, _ = gradient(model, task.x, task.score, exact=exact)
        gap = float((found - plain).norm() / plain.norm())
        if not gap < 1e-8:
            raise AssertionError(f"{name}: gradients differ by {gap:.1e}")


def default_layer(name: str) -> str:
    """The layer that class activation maps show, and its size."""
    task = task_of(name)
    place = place_of(task, None)
    return f"{place.name} ({place.grid.height}x{place.grid.width})"


def small(method: str) -> dict[str, Any]:
    """Parameters with which a method is quick."""
    return {name: value for name, value in SMALL.items() if name in registry.get(method).parameters}


def cell(name: str, method: str) -> str:
    """ "works", "zero map", or the reason why it is refused."""
    task = task_of(name)
    before = _hooks(task.model)
    zero = True
    try:
        steps = estimates(task, method, small(method))
        for count, estimate in enumerate(steps, 1):
            if estimate.value.shape[-2:] != task.x.shape[-2:]:
                raise AssertionError(f"{method} on {name}: map of {tuple(estimate.value.shape)}")
            zero = not bool(estimate.value.any())
            if count >= _ENOUGH and not zero:
                break
        steps.close()
    except ValueError as error:
        text = str(error)
        if "NaN" in text:
            raise AssertionError(f"{method} on {name}: {text}") from error
        return text
    finally:
        if _hooks(task.model) != before:
            raise AssertionError(f"{method} on {name} left hooks behind")
    return "zero map" if zero else "works"


def _hooks(model: Model) -> list[int]:
    return [
        len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks)
        for net in (model.net, model.fast)
        for each in net.modules()
    ]


Cells = dict[tuple[str, str], str]


def table(cells: Cells, names: Iterable[str], methods: Iterable[str]) -> str:
    """As markdown, reasons below."""
    names = list(names)
    reasons: dict[str, int] = {}
    titles = " | ".join(NETWORKS[name].title for name in names)
    lines = [f"| method | {titles} |", "|---|" + "---|" * len(names)]
    for method in methods:
        shown = []
        for name in names:
            found = cells[method, name]
            if method != LAYER and found not in ("works", "zero map"):
                found = f"refused ({reasons.setdefault(found, len(reasons) + 1)})"
            shown.append(found)
        lines.append(f"| {method} | {' | '.join(shown)} |")
    lines += ["", *(f"{number}. {text}" for text, number in reasons.items())]
    return "\n".join(lines).rstrip()


def read(text: str) -> Cells:
    """The cells of a table: methods by name, networks by their key."""
    lines = text.splitlines()
    rows = [[part.strip() for part in line.strip("| ").split("|")] for line in lines if "|" in line]
    reasons = dict(line.split(". ", 1) for line in lines if line[:1].isdigit())
    keys = {network.title: name for name, network in NETWORKS.items()}
    cells = {}
    for row in rows[2:]:
        for title, value in zip(rows[0][1:], row[1:], strict=True):
            found = reasons[value[9:-1]] if value.startswith("refused") else value
            cells[row[0], keys[title]] = found
    return cells


def written() -> str:
    """The table as it stands in RESULTS.md."""
    return results.read(SECTION)


def main() -> None:
    parser = results.arguments(__doc__)
    known = [spec.name for spec in registry.methods()]
    parser.add_argument("--nets", nargs="+", choices=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=known)
    parser.add_argument("--times", action="store_true", help="say which cells take long")
    options = parser.parse_args()
    if options.write and (options.nets or options.methods):
        parser.error("RESULTS.md has the whole table: leave --nets and --methods out to write it.")
    names, methods = options.nets or list(NETWORKS), options.methods or known
    cells: Cells = {}
    failures = []
    for name in names:
        check_copies(name)
        cells[LAYER, name] = default_layer(name)
        for method in methods:
            began = time.perf_counter()
            try:
                cells[method, name] = cell(name, method)
            except Exception as error:
                cells[method, name] = "fails"
                failures.append(f"{method} on {name}: {type(error).__name__}: {error}")
            taken = time.perf_counter() - began
            if options.times and taken > 1:
                results.tell(f"{name} {method} {taken:.1f} s")
        task_of.cache_clear()
    lines = [f"Machine: {machine(torch.device('cpu'))}\n"]
    lines.append(table(cells, names, [*methods, LAYER]))
    results.show(SECTION, lines, options.write and not failures)
    if failures:
        sys.exit("\n".join(["", *failures]))


if __name__ == "__main__":
    main()
