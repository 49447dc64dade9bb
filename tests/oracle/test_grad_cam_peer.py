"""Class activation maps against pytorch-grad-cam 1.5, and by hand where the two differ.

Its maps are taken before it scales them to 0..1 and enlarges them; what it does then is undone for
all methods by one test. The same function written in other units (a layer's output divided by some
factor, and multiplied by it again) leaves every one of these maps as it is, but for the small
constants that it adds to denominators: units are chosen in which those do not count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

from tests.oracle.black_box import small_task
from tests.oracle.cut import F64, cut, gradient_of, last, net_of, small_map, task_of
from tests.oracle.nets import distance, raw
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.cams import enlarged
from xaiwidgets.model import Model

Function = Callable[[Tensor], Tensor]
NETS = ("efficientnet_lite0", "resnet18", "densenet121", "vit", "swin_t")
# Of our method: its name there, and units in which its 1e-6 or 1e-7 do not count.
WEIGHTED = {
    "grad_cam": ("GradCAM", 1.0),
    "grad_cam_plus_plus": ("GradCAMPlusPlus", 1e6),
    "xgrad_cam": ("XGradCAM", 1e-6),
    "layer_cam": ("LayerCAM", 1.0),
}


class Cut(nn.Module):
    """A network in two parts, between which it gives a module to hook."""

    def __init__(self, net: nn.Module, before: Function, behind: Function, unit: float = 1) -> None:
        super().__init__()
        self.net = net
        self.layer = nn.Identity()
        self._before, self._behind, self._unit = before, behind, unit

    def forward(self, x: Tensor) -> Tensor:
        return self._behind(self.layer(self._before(x) / self._unit) * self._unit)


def theirs(
    kind: str, net: nn.Module, layer: nn.Module, x: Tensor, target: int, **options: Any
) -> tuple[Tensor, Tensor]:
    """Their map `(h, w)` as it is before it is scaled, and `(H, W)` as they give it."""
    kept: list[Any] = []
    with getattr(pytorch_grad_cam, kind)(net, [layer], **options) as cam:
        image = cam.get_cam_image

        def keep(*args: Any) -> Any:
            kept.append(image(*args))
            return kept[-1]

        cam.get_cam_image = keep
        whole = cam(x.clone(), [ClassifierOutputTarget(target)])
    net.zero_grad(set_to_none=True)
    return torch.from_numpy(kept[0])[0], torch.from_numpy(whole)[0]


def unit(values: Tensor) -> Tensor:
    """Scaled to 0..1 as they do."""
    values = values - values.min()
    return values / (1e-7 + values.max())


@pytest.mark.parametrize("method", WEIGHTED)
@pytest.mark.parametrize("name", NETS)
def test_weights_from_gradients(name: str, method: str) -> None:
    task = task_of(name)
    kind, units = WEIGHTED[method]
    net = Cut(net_of(name), *cut(name), units)
    small, whole = theirs(kind, net, net.layer, task.x, task.target)
    found = last(task, method)
    assert float(found.detail.map.max()) > 0
    assert distance(found.detail.map, small.clamp_min(0)) < 1e-9
    # The same steps after it as theirs, which are in float32.
    shown = unit(enlarged(unit(found.detail.map), *whole.shape))
    assert distance(shown, whole) < 1e-5


@pytest.mark.parametrize("name", NETS)
def test_eigen_cam(name: str) -> None:
    """They center the columns, which the paper does not: next to its negative every one is."""
    before, behind = cut(name)
    task = task_of(name)

    def doubled(x: Tensor) -> Tensor:
        a = before(x)
        return torch.cat([a, -a], 2)

    net = Cut(net_of(name), doubled, lambda both: behind(both.chunk(2, 2)[0]))
    both, _ = theirs("EigenCAM", net, net.layer, task.x, task.target)
    direction = both.chunk(2, 0)[0]
    # Its sign is that of the linear algebra library; it is kept in float32.
    assert distance(small_map(task, "eigen_cam"), direction * direction.sum().sign()) < 1e-6


def test_eigen_cam_by_hand() -> None:
    """One pattern in all channels, ((1, 2), (3, 4)) (1, 2): the map is |(1, 2)| times the pattern.

    Centered first it is cut off at its mean, and may be upside down.
    """
    pattern = torch.tensor([[1.0, 2], [3, 4]], dtype=F64)
    x = torch.stack([pattern, 2 * pattern])[None]
    net = _pooled(torch.ones(1, 2, dtype=F64))
    task = make_task(Model(net, "identity", device="cpu", dtype=F64), x[0], 0)
    expected = 5**0.5 * pattern
    assert distance(small_map(task, "eigen_cam", layer="layer"), expected) < 1e-12
    small, _ = theirs("EigenCAM", net, net.layer, x, 0)
    assert distance(small.abs(), (expected - expected.mean()).abs()) < 1e-6


class _Pooled(nn.Module):
    """Means of the channels, weighted: its layer is what it is given."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.weights, self.scale = nn.Parameter(weights), nn.Parameter(torch.ones(1, dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.scale).mean((2, 3)) @ self.weights.T


def _pooled(weights: Tensor) -> _Pooled:
    return _Pooled(weights).eval()


def test_grad_cam_plus_plus_by_hand() -> None:
    """Scores of small gradients: 1e-6 in the denominator is not small next to their squares.

    One channel ((1, 3)), g = v / 2 = 1e-4 at both places: 2 g^2 + 4 g^3 = 2.0004e-8, so that
    w = 2 g / (2 + 4 g) = 9.998e-5. With 1e-6 added it is about fifty times less.
    """
    x = torch.tensor([[[[1.0, 3.0]]]], dtype=F64)
    net = _pooled(torch.tensor([[2e-4]], dtype=F64))
    task = make_task(Model(net, "identity", device="cpu", dtype=F64), x[0], 0)
    weight = 2e-4 / (2 + 4e-4)
    found = small_map(task, "grad_cam_plus_plus", layer="layer")
    assert distance(found, weight * x[0, 0]) < 1e-12
    small, _ = theirs("GradCAMPlusPlus", net, net.layer, x, 0)
    assert distance(small, 2 * 1e-12 / (2e-8 + 4e-12 + 1e-6) * x[0, 0]) < 1e-9


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "densenet121"])
def test_ablation_cam(name: str) -> None:
    """Where some activation is 0 and none is below, theirs sets channels to 0 too."""
    task = task_of(name)
    activation = gradient_of(name)[0]
    # Theirs runs all of the network for each batch; the map is put in for what is before it.
    net = Cut(
        net_of(name),
        lambda x: activation[None].expand(len(x), -1, -1, -1),
        lambda a: _head(name, a),
    )
    small, _ = theirs("AblationCAM", net, net.layer, task.x, task.target, batch_size=16)
    # They keep scores in float32, of which the channels' parts are thousandths.
    assert distance(small_map(task, "ablation_cam"), small.clamp_min(0)) < 1e-4


def _head(name: str, a: Tensor) -> Tensor:
    linear = {"efficientnet_lite0": "_fc", "resnet18": "fc", "densenet121": "classifier"}
    result: Tensor = net_of(name).get_submodule(linear[name])(a.mean((2, 3)))
    return result


def test_ablation_cam_of_signed_activations_by_hand() -> None:
    """Means (1, -1/2) and weights (2, 3): the score is 1/2, of which channels are 2 and -3/2.

    Theirs sets a channel to 1e7 below the least activation, and in a batch each one anew.
    """
    x = torch.tensor([[[[2.0, 0.0]], [[-1.0, 0.0]]]], dtype=F64)
    net = _pooled(torch.tensor([[2.0, 3.0]], dtype=F64))
    task = make_task(Model(net, "identity", device="cpu", dtype=F64), x[0], 0)
    found = last(task, "ablation_cam", layer="layer")
    torch.testing.assert_close(found.detail.weights, torch.tensor([4.0, -3.0], dtype=F64))
    assert distance(found.detail.map, torch.tensor([[8.0 + 3, 0]])) < 1e-12
    one, two = (theirs("AblationCAM", net, net.layer, x, 0, batch_size=size)[0] for size in (1, 2))
    assert float(one.abs().max()) > 1e7
    assert distance(one, two) > 0.1


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet18", "layer1"), ("efficientnet_lite0", "_blocks.3"), ("googlenet", "conv2")],
)
def test_score_cam(name: str, layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With masks enlarged as the authors do; see below for how theirs are."""
    bilinear = functools.partial(nn.Upsample, mode="bilinear")
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", bilinear)
    task, net = small_task(name), raw(name, F64)
    small, _ = theirs("ScoreCAM", net, net.get_submodule(layer), task.x, task.target)
    # Scores and weights are float32 there.
    assert distance(small_map(task, "score_cam", layer=layer), small.clamp_min(0)) < 1e-5


def test_masks_of_score_cam_by_hand() -> None:
    """Two cells of three pixels: a cell's value is that of the pixel in its middle.

    Theirs puts the cells' middles at the photo's edges, where no cell has its middle. The map is
    (0, 1): enlarged to six pixels it is 0, 0, 1/3, 2/3, 1, 1 and there 0, 1/5, 2/5, 3/5, 4/5, 1.
    """
    mask = enlarged(torch.tensor([[0.0, 1.0]], dtype=F64), 1, 6)[0]
    expected = torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 1], dtype=F64)
    torch.testing.assert_close(mask, expected)
    upsample: Any = nn.UpsamplingBilinear2d(size=(1, 6))
    large = upsample(torch.tensor([[[[0.0, 1.0]]]], dtype=F64))[0, 0, 0]
    torch.testing.assert_close(large, torch.arange(6, dtype=F64) / 5)
    assert mask[1] == 0
    assert mask[4] == 1


def test_layer_before_an_operation_in_place() -> None:
    """DenseNet's `features` before `relu(..., inplace=True)`: they show what it left there."""
    task, net = task_of("densenet121"), net_of("densenet121")
    features = net.get_submodule("features")
    with torch.no_grad():
        a = features(task.x)
    a.requires_grad_(True)
    (g,) = torch.autograd.grad(_head("densenet121", functional.relu(a))[0, task.target], a)
    weights, signed = g[0].mean((1, 2)), a.detach()[0]
    expected = torch.einsum("k,kij->ij", weights, signed).clamp_min(0)
    overwritten = torch.einsum("k,kij->ij", weights, signed.relu()).clamp_min(0)
    assert distance(small_map(task, "grad_cam", layer="features"), expected) < 1e-9
    small, _ = theirs("GradCAM", net, features, task.x, task.target)
    assert distance(small.clamp_min(0), overwritten) < 1e-9
    assert distance(small.clamp_min(0), expected) > 0.05
