"""Class activation maps against plain loops, hand-made cases, Captum 0.9 and torch-cam 0.5."""

from __future__ import annotations

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
import torchcam.methods
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from tests.oracle.cut import F64, cut, frame, gradient_of, last, net_of, small_map, task_of
from tests.oracle.nets import distance, photo
from xaiwidgets.explanation import make_task
from xaiwidgets.model import Model


# Written as sums over places and channels, not as the methods write them.
def plain_grad_cam(a: Tensor, g: Tensor) -> Tensor:
    weights = g.flatten(1).sum(1) / g[0].numel()
    return torch.einsum("k,kij->ij", weights, a).clamp_min(0)


def plain_grad_cam_plus_plus(a: Tensor, g: Tensor) -> Tensor:
    total = torch.zeros_like(a[0])
    for channel, gradient in zip(a, g, strict=True):
        alive = gradient != 0
        below = 2 * gradient[alive] ** 2 + channel.sum() * gradient[alive] ** 3
        alpha = gradient[alive] ** 2 / below
        total += float((alpha * gradient[alive].clamp_min(0)).sum()) * channel
    return total.clamp_min(0)


def plain_xgrad_cam(a: Tensor, g: Tensor) -> Tensor:
    total = torch.zeros_like(a[0])
    for channel, gradient in zip(a, g, strict=True):
        if float(channel.sum()) != 0:
            total += float((channel / channel.sum() * gradient).sum()) * channel
    return total.clamp_min(0)


def plain_layer_cam(a: Tensor, g: Tensor) -> Tensor:
    return torch.einsum("kij,kij->ij", g.clamp_min(0), a).clamp_min(0)


PLAIN = {
    "grad_cam": plain_grad_cam,
    "grad_cam_plus_plus": plain_grad_cam_plus_plus,
    "xgrad_cam": plain_xgrad_cam,
    "layer_cam": plain_layer_cam,
}
NETS = ("efficientnet_lite0", "resnet18", "vgg16", "densenet121", "vit", "swin_t")
every_net = pytest.mark.parametrize("name", NETS)


@every_net
def test_default_layer_by_hand(name: str) -> None:
    """The default layer and all weights of gradients, against a network cut in two by hand."""
    task = task_of(name)
    a, g = gradient_of(name)
    # VGG-16 runs in float32: the same operators in another memory format.
    limit = 1e-9 if task.x.dtype == F64 else 1e-3
    for method, plain in PLAIN.items():
        expected = plain(a, g)
        assert float(expected.max()) > 0, method
        assert distance(small_map(task, method), expected) < limit, method
        assert distance(last(task, method).value, frame(expected, task)) < limit, method
    expected = torch.linalg.eigh(a.flatten(1) @ a.flatten(1).T)[1][:, -1]
    direction = torch.einsum("k,kij->ij", expected, a)
    direction = direction * direction.sum().sign()
    assert distance(small_map(task, "eigen_cam"), direction) < max(limit, 1e-7)


def test_vision_transformer_b_16() -> None:
    """The full size, once, in float32."""
    task = task_of("vit_b_16")
    expected = plain_grad_cam(*gradient_of("vit_b_16"))
    found = last(task, "grad_cam")
    assert found.detail.layer == "encoder.layers.encoder_layer_11.ln_1"
    assert distance(found.detail.map, expected) < 1e-3


@every_net
def test_ablation_cam_by_hand(name: str) -> None:
    """Closed form or head alone, against the cut network with each channel at zero."""
    task = task_of(name)
    before, behind = cut(name)
    with torch.no_grad():
        a = before(task.x)
        score = behind(a)[0, task.target]
        # VGG's head is a hundred million weights.
        channels = range(0, a.shape[1], 12 if name == "vgg16" else 1)
        weights = torch.zeros(a.shape[1], dtype=a.dtype)
        for k in channels:
            without = a.clone()
            without[:, k] = 0
            weights[k] = (score - behind(without)[0, task.target]) / score
    found = last(task, "ablation_cam")
    assert found.detail.weights is not None
    closed = found.diagnostics["closed_form"]
    assert closed == (name not in ("vit", "vgg16"))
    limit = 1e-9 if task.x.dtype == F64 else 1e-3
    assert distance(found.detail.weights[list(channels)], weights[list(channels)]) < limit
    small = torch.einsum("k,kij->ij", found.detail.weights, a[0]).clamp_min(0)
    assert distance(found.detail.map, small) < limit


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "densenet121", "swin_t"])
def test_cam_by_hand(name: str) -> None:
    net: Any = net_of(name)
    linear = {"efficientnet_lite0": "_fc", "resnet18": "fc", "densenet121": "classifier"}
    layer = getattr(net, linear.get(name, "head"))
    task = task_of(name)
    with torch.no_grad():
        a = cut(name)[0](task.x)[0]
    expected = torch.einsum("k,kij->ij", layer.weight[task.target].detach(), a)
    found = last(task, "cam")
    assert distance(found.detail.map, expected) < 1e-9
    assert found.diagnostics["bias"] == pytest.approx(
        float(layer.bias[task.target].detach()), abs=1e-9
    )
    # Grad-CAM is its positive part, up to the number of places.
    assert distance(small_map(task, "grad_cam") * 49, expected.clamp_min(0)) < 1e-9


@pytest.mark.parametrize(
    ("name", "layer"), [("vgg16", None), ("vit", None), ("densenet121", "features")]
)
def test_cam_is_refused(name: str, layer: str | None) -> None:
    with pytest.raises(ValueError, match="global average pooling and one linear layer"):
        last(task_of(name), "cam", layer=layer)


def test_score_cam_by_hand() -> None:
    """A plain loop over the first channels of a small network."""
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5, 3), nn.ReLU(True), nn.Conv2d(6, 9, 3, 2), nn.ReLU(True), nn.Flatten()
    )
    net.append(nn.Linear(9 * 9 * 9, 4))
    net = net.to(F64).eval()
    task = make_task(Model(net, {"size": 64}, device="cpu"), photo(), 1)
    with torch.no_grad():
        a = net[:4](task.x)[0]
        scores = []
        for channel in a:
            mask = functional.interpolate(channel[None, None], (64, 64), mode="bilinear")
            low, high = mask.min(), mask.max()
            mask = (mask - low) / (high - low) if high > low else torch.zeros_like(mask)
            scores.append(net(task.x * mask)[0, 1])
        weights = torch.stack(scores).softmax(0)
    found = last(task, "score_cam", layer="3")
    assert distance(found.detail.weights, weights) < 1e-9
    assert distance(found.detail.map, torch.einsum("k,kij->ij", weights, a).clamp_min(0)) < 1e-9


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer3"), ("resnet18", "layer2.0.bn1")])
def test_grad_cam_of_captum(name: str, layer: str) -> None:
    """Also before an in-place ReLU, which Captum gets right too."""
    task, net = task_of(name), net_of(name)
    cam = captum.attr.LayerGradCam(net, net.get_submodule(layer))
    expected = cam.attribute(task.x.clone(), task.target, relu_attributions=True)
    assert distance(small_map(task, "grad_cam", layer=layer), expected) < 1e-9
    ixg = captum.attr.LayerGradientXActivation(net, net.get_submodule(layer))
    expected = ixg.attribute(task.x.clone(), task.target).sum(1)
    assert distance(last(task, "layer_ixg", layer=layer).detail[0].map, expected) < 1e-9


@pytest.mark.parametrize(
    ("method", "theirs"),
    [("grad_cam", "GradCAM"), ("xgrad_cam", "XGradCAM"), ("layer_cam", "LayerCAM"), ("cam", "CAM")],
)
def test_torchcam(method: str, theirs: str) -> None:
    task, net = task_of("resnet18"), net_of("resnet18")
    options = {"fc_layer": "fc"} if theirs == "CAM" else {}
    with getattr(torchcam.methods, theirs)(net, "layer4", **options) as extractor:
        logits = net(task.x.clone().requires_grad_(True))
        (expected,) = extractor(task.target, logits, normalized=False)
    # They leave the negative part of no map; XGrad-CAM divides by a sum with 1e-8 added.
    assert distance(small_map(task, method, layer="layer4").clamp_min(0), expected) < 1e-6


def test_signed_layer_before_a_functional_relu_in_place() -> None:
    """DenseNet's `features` are signed; libraries that keep the output by a hook see the ReLU's."""
    task = task_of("densenet121")
    net: Any = net_of("densenet121")
    with torch.no_grad():
        a = net.features(task.x)
    assert float(a.min()) < -0.1
    a.requires_grad_(True)
    logits = net.classifier(functional.relu(a).mean((2, 3)))
    (g,) = torch.autograd.grad(logits[0, task.target], a)
    expected = plain_grad_cam(a.detach()[0], g[0])
    assert distance(small_map(task, "grad_cam", layer="features"), expected) < 1e-9
    # What is got from the activation after the ReLU is something else.
    wrong = plain_grad_cam(a.detach()[0].relu(), g[0])
    assert distance(expected, wrong) > 0.05
    with torchcam.methods.GradCAM(net, "features") as extractor:
        logits = net(task.x.clone().requires_grad_(True))
        (theirs,) = extractor(task.target, logits, normalized=False)
    assert distance(theirs, expected) > 0.05


@pytest.mark.parametrize("inplace", [False, True])
def test_hand_made_case(inplace: bool) -> None:
    net = BasicModel_ConvNet_One_Conv(inplace=inplace)
    toy = Model(net, preprocess="identity", device="cpu", dtype=F64)
    task = make_task(toy, torch.arange(16, dtype=F64).reshape(1, 4, 4), 0)

    def check(found: Tensor, expected: list[list[float]]) -> None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)

    check(small_map(task, "grad_cam", layer="conv1"), [[11.25, 13.5], [20.25, 22.5]])
    check(small_map(task, "grad_cam", layer="relu1"), [[0, 4], [28, 32.5]])
    # Of the two channels [[0, 4], [31, 40]] and [[0, 0], [-6, -15]].
    (ixg,) = last(task, "layer_ixg", layer="conv1").detail
    check(ixg.map, [[0, 4], [25, 25]])


def test_guided_grad_cam() -> None:
    """Guided backprop [[0, 1, 1, 1], [1, 3, 3, 2], ...] times the enlarged [[0, 4], [28, 32.5]]."""
    net = BasicModel_ConvNet_One_Conv()
    toy = Model(net, preprocess="identity", device="cpu", dtype=F64)
    photo = torch.arange(16, dtype=F64).reshape(1, 4, 4)
    found = xai.explain(toy, photo, "guided_grad_cam", 0, layer="relu1").attribution[0]
    # Bilinear: 0, 1, 3, 4 above and 28, 29.125, 31.375, 32.5 below, a quarter of the way between.
    quarter, three = [7, 8.03125, 10.09375, 11.125], [21, 22.09375, 24.28125, 25.375]
    lines = [[0, 1, 3, 4], quarter, three, [28, 29.125, 31.375, 32.5]]
    guided = [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]]
    np.testing.assert_allclose(found, np.array(lines) * np.array(guided), rtol=0, atol=1e-6)


def test_weights_of_grad_cam_plus_plus_by_hand() -> None:
    """Four channels on two places; alpha = 1 / (2 + sum(A) g) wherever g is not 0."""
    from xaiwidgets.methods.grad_cam_plus_plus import _weights

    activation = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]], [[5.0, 5.0]], [[-1.0, 0.0]]])
    gradient = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]], [[-1.0, -2.0]], [[2.0, 1.0]]])
    # 1/3 + 1/3; 1/4; nothing positive; 2 - 2 = 0 below, so 0, and 1 / (2 - 1).
    expected = torch.tensor([2 / 3, 1 / 4, 0, 1])
    torch.testing.assert_close(_weights(activation, gradient).flatten(), expected)


def test_layer_ixg_is_conserved_without_biases() -> None:
    """Every layer of ReLUs without biases sums to the score, and so does their mean."""
    torch.manual_seed(4)
    # Whole factors, 40 to 20 to 10: enlarging by others moves a little over the edge.
    parts = [nn.Conv2d(3, 8, 2, 2, bias=False), nn.ReLU(True), nn.Conv2d(8, 8, 2, 2, bias=False)]
    net = nn.Sequential(*parts, nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.append(nn.Linear(8, 3, bias=False))
    toy = Model(net, {"size": 40}, device="cpu", dtype=F64)
    found = xai.explain(toy, photo(), "layer_ixg", 2)
    assert found.diagnostics["layers"] == 2
    assert found.attribution.sum() == pytest.approx(found.score, abs=1e-5)
    one = xai.explain(toy, photo(), "layer_ixg", 2, skip_last=1)
    assert one.diagnostics["layers"] == 1
    with pytest.raises(ValueError, match="none of the network's 2 blocks"):
        xai.explain(toy, photo(), "layer_ixg", 2, skip_first=1, skip_last=1)
