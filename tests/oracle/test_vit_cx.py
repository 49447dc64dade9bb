"""ViT-CX against its authors' steps at full size, one mask after the other."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer, VisionTransformer

import xaiwidgets as xai
from tests.oracle.black_box import small_task
from tests.toys import Functional, InPlace, noise, toy_model
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Task, last_of
from xaiwidgets.methods.vit_cx import Impacts, clustered, features, place_of_features
from xaiwidgets.model import Model

SIDE = 32


def _transformer() -> nn.Module:
    net = VisionTransformer(SIDE, 8, 2, 2, 24, 32, num_classes=5)
    nn.init.normal_(net.heads.head.weight, std=0.5)
    return net


def _swin() -> nn.Module:
    return SwinTransformer([4, 4], 12, [2, 1], [1, 2], [4, 4], num_classes=5)


MAKERS: dict[str, Any] = {"vit": _transformer, "swin": _swin, "cnn": Functional}


@functools.cache
def _task(name: str) -> Task:
    torch.manual_seed(1)
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": SIDE, "resize": SIDE}
    net = MAKERS[name]()
    return make_task(Model(net, preprocess, device="cpu", dtype=torch.float64), noise(40), seed=5)


def _features(task: Task, name: str) -> Tensor:
    """Taken by a hook, and put on a grid by someone who knows the network."""
    net = task.model.net
    modules = dict(net.named_modules())
    layer = {
        "vit": "encoder.layers.encoder_layer_1.ln_1",
        "swin": "features.3.0.norm1",
        "cnn": "second",
    }[name]
    found = []
    handle = modules[layer].register_forward_hook(lambda *args: found.append(args[2][0]))
    with torch.no_grad():
        net(task.x)
    handle.remove()
    if name == "vit":
        return found[0][1:].reshape(4, 4, 24).permute(2, 0, 1)
    return found[0].permute(2, 0, 1) if name == "swin" else found[0].relu()


def _unit(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - low) / (high - low))[(high > low).flatten()]


def _enlarge(maps: Tensor) -> Tensor:
    return F.interpolate(maps[None], (SIDE, SIDE), mode="bilinear")[0]


def _masks(maps: Tensor, distance: float) -> dict[frozenset[int], Tensor]:
    masks = _unit(_enlarge(maps))
    rows = masks.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=2)
    labels = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="precomputed", linkage="complete"
    ).fit_predict((1 - cosine).clamp_min(0).numpy())
    groups = [frozenset((labels == label).nonzero()[0].tolist()) for label in set(labels)]
    return {group: _unit(masks[sorted(group)].sum(0)[None])[0] for group in groups}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kind", ["probability", "logit"])
def test_the_authors_steps(name: str, kind: str) -> None:
    task, distance, sigma = _task(name), 0.08, 0.3
    masks = list(_masks(_features(task, name), distance).values())
    maps = features(task, place_of_features(task))
    made = clustered(maps, (SIDE, SIDE), distance)
    assert 1 < len(masks) == len(made) <= len(maps)
    large = _enlarge(made)
    # Noise goes with the number of a mask, so the order is ours; the masks are theirs.
    order = [min(masks, key=lambda m: float((m - one).abs().max())) for one in large]
    torch.testing.assert_close(torch.stack(order), large, rtol=0, atol=1e-9)
    assert len({id(mask) for mask in order}) == len(masks)

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = task.model.net(x)[0]
        return (logits.softmax(0) if kind == "probability" else logits)[task.target]

    total, cover = torch.zeros(2, SIDE, SIDE, dtype=torch.float64)
    for number, mask in enumerate(order):
        hidden = sigma * task.noise(number) * (1 - mask)
        impact = answer(task.x * mask + hidden) - answer(task.x + hidden) + answer(task.x)
        total += impact * mask
        cover += mask
    params = {"distance": distance, "noise": sigma, "score": kind}
    last = last_of(estimates(task, "vit_cx", params))
    torch.testing.assert_close(last.value, total / cover, rtol=1e-8, atol=1e-12)
    assert last.diagnostics["masks"] == len(masks)


@pytest.mark.parametrize("name", MAKERS)
def test_features_are_found_and_lie_on_the_grid(name: str) -> None:
    task = _task(name)
    maps = features(task, place_of_features(task))
    torch.testing.assert_close(maps, _features(task, name), rtol=0, atol=1e-12)


def test_another_class_costs_nothing() -> None:
    task = _task("vit")
    last = last_of(estimates(task, "vit_cx", {}))
    other = Task(task.model, task.prepared, 3, task.logits, task.seed)
    expected = last_of(estimates(other, "vit_cx", {"score": "logit"})).value
    found = last.detail.attribution(lambda logits: logits[:, 3], "logit")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_an_activation_that_overwrites_changes_nothing() -> None:
    values = [
        last_of(estimates(make_task(toy_model(net), noise()), "vit_cx", {})).value
        for net in (Functional(), InPlace())
    ]
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-6)


def test_masks_by_hand() -> None:
    """Two alike, one opposite, one without any structure."""
    ramp = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    maps = torch.stack([ramp, 3 * ramp - 1, -ramp, ramp * 0 + 4])
    made = clustered(maps, (1, 8), 0.1)
    assert len(made) == 2
    large = F.interpolate(made[None], (1, 8), mode="bilinear")[0, :, 0]
    # Bilinear enlarging is flat for half a cell at both ends: 2 of 8 pixels each.
    rising = torch.tensor([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(large, torch.stack([rising, 1 - rising]), rtol=0, atol=1e-12)


def test_where_no_mask_lets_anything_through() -> None:
    """One mask: its impact everywhere but at its lowest place, which is 0 only but for rounding."""
    logits, clean = torch.tensor([[[3.0], [1.0]]]).double(), torch.tensor([5.0]).double()
    for seed in range(40):
        maps = torch.rand(1, 3, 5, generator=torch.Generator().manual_seed(seed)).double()
        found = Impacts(clustered(maps, (8, 11), 0.1), (8, 11), logits, clean, 1)
        value = found.attribution(lambda z: z[:, 0], "logit")
        nothing = found.mask(0, 1)[0] < 1e-12
        assert nothing.any()
        assert not value[nothing].any()
        torch.testing.assert_close(
            value[~nothing], torch.full((88,), 7.0).double()[~nothing.ravel()]
        )


def test_what_has_no_features() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    model = Model(flat, preprocess={"mean": [0.5] * 3, "std": [0.5] * 3, "size": 2}, device="cpu")
    with pytest.raises(ValueError, match="no layer with spatial extent"):
        xai.explain(model, torch.rand(3, 2, 2), "vit_cx")

    class Dead(Functional):
        def activate(self, x: Tensor) -> Tensor:
            return F.relu(x * 0 - 1)

    net = Dead()
    with torch.no_grad():
        net.second.weight.zero_()
    with pytest.raises(ValueError, match="the same everywhere"):
        xai.explain(toy_model(net), noise(), "vit_cx")


def test_maps_of_another_shape_than_the_photo() -> None:
    """A convolution's map lies on the photo however its two strides differ."""

    class Flat(Functional):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, stride=(1, 5), padding=1)
            self.fill()

    task = make_task(toy_model(Flat(), dtype=torch.float64), noise())
    net: Any = task.model.net
    with torch.no_grad():
        expected = net.second(net.norm(net.first(task.x)).relu()).relu()[0]
    found = features(task, place_of_features(task))
    assert found.shape[1:] == (16, 4)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_another_layer() -> None:
    """By name, as it is, and what is made of its maps."""
    task = _task("cnn")
    net: Any = task.model.net
    with torch.no_grad():
        maps = net.norm(net.first(task.x))[0]
    assert float(maps.min()) < 0
    place = place_of_features(task, "norm")
    torch.testing.assert_close(features(task, place), maps, rtol=0, atol=1e-12)
    early = last_of(estimates(task, "vit_cx", {"layer": "norm"}))
    assert early.diagnostics["features"] == len(maps)
    assert early.detail.grids.shape[1:] == maps.shape[1:]
    assert not torch.equal(early.value, last_of(estimates(task, "vit_cx", {})).value)
    with pytest.raises(ValueError, match="no layer"):
        list(estimates(task, "vit_cx", {"layer": "nowhere"}))


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("efficientnet_lite0", "_swish", (1280, 2, 2)),
        ("resnet18", "layer4", (512, 2, 2)),
        ("googlenet", "inception5b", (1024, 2, 2)),
    ],
)
def test_the_layer_that_is_chosen(name: str, layer: str, shape: tuple[int, ...]) -> None:
    task = small_task(name)
    place = place_of_features(task)
    found = features(task, place)
    assert (place.name, found.shape) == (layer, shape)
    modules, outputs = dict(task.model.net.named_modules()), []
    handle = modules[layer].register_forward_hook(lambda *args: outputs.append(args[2].clone()))
    with torch.no_grad():
        task.model.net(task.x)
    handle.remove()
    # Of the last use: EfficientNet has one activation for its first and its last convolution.
    torch.testing.assert_close(found, outputs[-1][0], rtol=1e-9, atol=1e-12)


class Tokens(nn.Module):
    """A transformer with extra tokens before and behind the patches."""

    def __init__(self, before: int, behind: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 8, stride=8)
        self.before = nn.Parameter(torch.randn(1, before, 12))
        self.behind = nn.Parameter(torch.randn(1, behind, 12))
        self.norm1, self.attention = (
            nn.LayerNorm(12),
            nn.MultiheadAttention(12, 2, batch_first=True),
        )
        self.norm2, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).mT
        extra = (part.expand(len(x), -1, -1) for part in (self.before, self.behind))
        one, two = extra
        x = torch.cat([one, patches, two], 1)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head(self.norm2(x).mean(1))


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (1, 0), (5, 0), (0, 1), (2, 3)])
def test_extra_tokens_wherever_they_are(before: int, behind: int) -> None:
    torch.manual_seed(0)
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": SIDE, "resize": SIDE}
    net = Tokens(before, behind)
    model = Model(net, preprocess, device="cpu", dtype=torch.float64)
    task = make_task(model, noise(40))
    own: Any = model.net
    with torch.no_grad():
        expected = own.norm1(own.patch(task.x)[0].flatten(1).T)
    place = place_of_features(task)
    assert place.name == "norm1"
    found = features(task, place)
    torch.testing.assert_close(found, expected.T.reshape(12, 4, 4), rtol=0, atol=1e-12)
