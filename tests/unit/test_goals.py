"""What a target stands for: resolving, names, keys, what is read off an output, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from xaiwidgets.explanation import make_task
from xaiwidgets.model import Model
from xaiwidgets.targets import kind_of, read_plain, resolve_target, to_plain

NAMES = ["ant", "bee", "cow", "dog"]
LOGITS = torch.tensor([0.0, 3.0, 1.0, 2.0])


class Maps(nn.Module):
    """Scores of four classes at every second pixel, `(N, 4, 6, 8)` of 12 x 16 photos."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU(), nn.Conv2d(5, 4, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.body(x), "aux": x}


@pytest.fixture
def model() -> Model:
    return Model(Maps(), {"size": (12, 16)}, NAMES, "cpu", dtype=torch.float64)


@pytest.fixture
def photo() -> Tensor:
    return torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("given", "resolved", "kind", "plain"),
    [
        ("dog", 3, "class", 3),
        (None, 1, "class", 1),
        (["dog"], 3, "class", 3),
        (["dog", 0], (3, 0), "classes", [3, 0]),
        (("bee", "cow"), (1, 2), "classes", [1, 2]),
        (
            xai.Difference("dog", "COW"),
            xai.Difference(3, 2),
            "difference",
            {"why": 3, "why_not": 2},
        ),
        (xai.Difference(None, [0, "cow"]), xai.Difference(1, (0, 2)), "difference", None),
        ({"why": 3, "why_not": [0, 2]}, xai.Difference(3, (0, 2)), "difference", None),
    ],
)
def test_classes(given: Any, resolved: Any, kind: str, plain: Any) -> None:
    found = resolve_target(given, LOGITS, NAMES)
    assert found == resolved
    assert kind_of(found) == kind
    assert plain is None or to_plain(found) == plain
    assert resolve_target(found, LOGITS, NAMES) == found
    assert resolve_target(to_plain(found), LOGITS, NAMES) == found


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ([], ValueError, "at least one"),
        ([1, "bee"], ValueError, r"named twice in the target: \[1, 1\]"),
        (xai.Difference(1, "bee"), ValueError, "named twice"),
        (xai.Difference(None, "bee"), ValueError, "named twice"),
        (xai.Difference(1, None), ValueError, "as its second"),
        (xai.Difference(xai.Difference(1, 2), 0), TypeError, "not of other differences"),
        ([1, 2.0], TypeError, r"index \(a whole number\) or its name, not by 2.0"),
        (["bee", "dgo"], ValueError, "no class 'dgo'.*'dog'"),
        ([4], ValueError, "out of range"),
        ({"why": 1}, TypeError, "index"),
        (int, TypeError, "index"),
        (np.array([1, 2]), TypeError, "index"),
    ],
)
def test_classes_refused(model: Model, photo: Tensor, given: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        resolve_target(given, LOGITS, NAMES)
    with pytest.raises((ValueError, TypeError)):
        xai.explain(model, photo, "saliency", given if given != xai.Difference(None, "bee") else [])


def test_names(model: Model) -> None:
    assert model.goal(2).name == "cow"
    assert model.goal((0, 3)).name == "ant + dog"
    assert model.goal(xai.Difference(2, (0, 3))).name == "cow, not ant + dog"


def test_explanation(model: Model, photo: Tensor, tmp_path: Path) -> None:
    found = xai.explain(model, photo, "saliency", xai.Difference("cow", "ant"))
    logits = {p.name: p.logit for p in model.predict(photo, 4)}
    assert found.target == xai.Difference(2, 0)
    assert found.category == "cow, not ant"
    assert found.score == pytest.approx(logits["cow"] - logits["ant"])
    again = xai.explain(model, photo, "saliency", found.target)
    assert np.array_equal(again.attribution, found.attribution)
    assert "cow, not ant" in repr(found)
    with np.load(found.save(tmp_path / "x.npz")) as saved:
        assert str(saved["target"]) == "cow, not ant"
    assert found.plot()


def test_equal_goals_have_equal_keys(model: Model, photo: Tensor) -> None:
    def key(target: Any) -> Any:
        return make_task(model, photo, target).score.key

    mask = np.zeros((12, 16), bool)
    mask[2:4] = True
    assert key([1, 2]) == key(["bee", "cow"]) != key([2, 1])
    assert key(xai.Region((0, 0, 2, 2), "bee")) == key(xai.Region([0, 0, 2, 2], 1))
    assert key(xai.Region(mask, 1)) == key(xai.Region(torch.from_numpy(mask), 1))
    assert key(xai.Region(mask, 1)) != key(xai.Region(mask, 2)) != key(xai.Region(~mask, 2))
    assert key(mean_of_bee) == key(mean_of_bee) != key(lambda output: mean_of_bee(output))
    unhashable = Unhashable()
    assert key(unhashable) == key(unhashable) != key(Unhashable())
    assert len({key(1), key((1, 2)), key(unhashable), key(xai.Region(mask, 1))}) == 4


def mean_of_bee(output: dict[str, Tensor]) -> Tensor:
    return output["out"][:, 1].mean((1, 2))


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __call__(self, output: dict[str, Tensor]) -> Tensor:
        return mean_of_bee(output)


# --- regions


def test_box_at_half_the_resolution(model: Model, photo: Tensor) -> None:
    task = make_task(model, photo, xai.Region((1, 4, 5, 6), "cow"))
    maps = model.net(task.x)["out"][0]
    shares = torch.zeros(6, 8, dtype=torch.float64)
    # Pixel rows 1 to 4: row 0 of the maps is covered by half, row 1 wholly, row 2 by half.
    shares[0, 2], shares[1, 2], shares[2, 2] = 0.5, 1, 0.5
    shares /= 2
    assert task.target == xai.Region((1, 4, 5, 6), 2)
    assert task.score.name == "cow in a region"
    assert float(task.score(task.logits)) == pytest.approx(
        float((maps[2] * shares).sum()), abs=1e-12
    )
    expected = float((maps.softmax(0)[2] * shares).sum())
    assert float(task.score.probability(task.logits)) == pytest.approx(expected, abs=1e-12)


def test_mask_of_the_maps_and_of_the_frame(model: Model, photo: Tensor) -> None:
    small = torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    large = small.repeat_interleave(2, 0).repeat_interleave(2, 1)
    one, other = (make_task(model, photo, xai.Region(mask, 1)) for mask in (small, large))
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-12, atol=1e-12)
    maps = model.net(one.x)["out"][0, 1]
    assert float(one.logits[0]) == pytest.approx(float(maps[small].mean()), abs=1e-12)


def test_class_of_a_region_that_is_not_given(model: Model, photo: Tensor) -> None:
    task = make_task(model, photo, xai.Region((0, 0, 6, 6)))
    maps = model.net(task.x)["out"][0, :, :3, :3].mean((1, 2))
    assert task.target == xai.Region((0, 0, 6, 6), int(maps.argmax()))
    found = xai.explain(model, photo, "saliency", to_plain(task.target))
    assert found.target == task.target


def test_one_class(photo: Tensor) -> None:
    net = nn.Conv2d(3, 1, 1)
    task = make_task(Model(net, {"size": (12, 16)}, device="cpu"), photo, xai.Region((0, 0, 1, 1)))
    assert float(task.logits[1]) == pytest.approx(float(task.logits[0].sigmoid()))


def test_regions_as_plain_values() -> None:
    mask = np.zeros((2, 5), bool)
    mask[0, 0] = mask[0, 1] = mask[1, 3] = mask[1, 4] = True
    plain = to_plain(xai.Region(mask, 2))
    # Place 0 is the lowest bit of the first byte, place 9 the second one of the second.
    assert plain == {"region": {"bits": bytes([3, 3]), "shape": [2, 5]}, "category": 2}
    assert to_plain(xai.Region((1, 2, 3, 4), 2)) == {"region": [1, 2, 3, 4], "category": 2}
    half = to_plain(xai.Region([[0.5, 0.0]], 0))["region"]
    assert half == {"weights": bytes([0, 0, 0, 0x3F, 0, 0, 0, 0]), "shape": [1, 2]}
    generator = np.random.default_rng(0)
    for shape in ((1, 1), (1, 7), (3, 3), (8, 8), (12, 16)):
        for where in (generator.random(shape) > 0.3, generator.random(shape), np.ones(shape)):
            region = xai.Region(where, 1)
            again = read_plain(to_plain(region))
            assert again == region
            assert hash(again) == hash(region)


def test_maps_are_known_once_the_network_has_run(model: Model, photo: Tensor) -> None:
    assert model.map_size is None
    model.predict(photo, 1)
    assert model.map_size == (6, 8)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    classifier = Model(net, {"size": (12, 16)}, device="cpu")
    classifier.predict(photo, 1)
    assert classifier.map_size is None


def test_each_photo_has_its_own_maps(model: Model, photo: Tensor) -> None:
    for picture in (photo, 1 - photo, photo):
        for precision in ("fast", "exact"):
            region = xai.Region((0, 0, 4, 6), 1)
            task = make_task(model, picture, region, precision=precision)
            expected = model.net(task.x)["out"][0, 1, :2, :3].mean()
            assert float(task.logits[0]) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("where", "category", "error", "text"),
    [
        ((0, 0, 13, 4), 1, ValueError, "over the edge of the frame, which is 12 pixels high"),
        ((4, 0, 4, 4), 1, ValueError, "0 <= top < bottom"),
        ((0.5, 0, 4, 4), 1, TypeError, "box of four whole numbers"),
        ("cat", 1, TypeError, "box of four whole numbers"),
        ([[1], [1, 0]], 1, TypeError, "box of four whole numbers"),
        (np.zeros((12, 16)), 1, ValueError, "0 everywhere"),
        (np.full((12, 16), -1.0), 1, ValueError, "weights of at least 0"),
        (np.full((12, 16), np.nan), 1, ValueError, "weights of at least 0"),
        (np.ones((5, 5)), 1, ValueError, r"size of the frame, \(12, 16\), or of the"),
        ((0, 0, 4, 4), "dgo", ValueError, "Nearest names: 'dog'"),
        ((0, 0, 4, 4), 4, ValueError, "4 is out of range"),
    ],
)
def test_regions_refused(
    model: Model, photo: Tensor, where: Any, category: Any, error: type, text: str
) -> None:
    with pytest.raises(error, match=text):
        xai.explain(model, photo, "saliency", xai.Region(where, category))


def test_region_of_a_classifier_is_refused(photo: Tensor) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    with pytest.raises(ValueError, match="needs a network that gives maps of scores"):
        xai.explain(
            Model(net, {"size": 12}, device="cpu"), photo, "saliency", xai.Region((0, 0, 1, 1))
        )


# --- callables


class Boxes(nn.Module):
    """A detector: for each photo ten boxes of four corners and a score."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(24, 50)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        found = self.head(self.body(x).flatten(1)).reshape(len(x), 10, 5)
        return [{"boxes": each[:, :4], "scores": each[:, 4]} for each in found]


class Words(nn.Module):
    """Log-probabilities of three words in turn, of a vocabulary of nine."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(24, 27)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1)).reshape(len(x), 3, 9)


def detection(output: list[dict[str, Tensor]]) -> Tensor:
    return torch.stack([each["scores"][3] for each in output])


def token(output: Tensor) -> Tensor:
    return output.log_softmax(2)[:, 1, 5]


@pytest.mark.parametrize(("net", "target"), [(Boxes(), detection), (Words(), token)])
def test_outputs_that_are_no_classes(net: nn.Module, target: Any, photo: Tensor) -> None:
    model = Model(net, {"size": (12, 16)}, device="cpu", dtype=torch.float64)
    with pytest.raises((TypeError, ValueError), match=r"output=|allowed are"):
        xai.explain(model, photo, "saliency")
    task = make_task(model, photo, target)
    x = task.x.clone().requires_grad_(True)
    score = target(model.net(x))[0]
    (expected,) = torch.autograd.grad(score, x)
    for precision in ("fast", "exact"):
        found = xai.explain(model, photo, "saliency", target, precision=precision)
        np.testing.assert_allclose(found.attribution, expected[0].float(), rtol=1e-6, atol=1e-9)
    assert found.score == pytest.approx(float(score.detach()))
    assert found.category == target.__name__
    for method in ("occlusion", "rise", "grad_cam", "integrated_gradients"):
        assert np.isfinite(xai.explain(model, photo, method, target).attribution).all()


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        (lambda output: output["out"], ValueError, r"of shape \(1,\) here; it gave \(1, 4, 6, 8\)"),
        (lambda output: output["out"].sum(), ValueError, r"it gave \(\)"),
        (lambda output: 3.0, TypeError, "it gave float"),
        (lambda output: output["out"].argmax(1).float().sum((1, 2)).long(), TypeError, "int64"),
        (lambda output: output["out"].sum((1, 2, 3)) / 0, ValueError, "NaN or infinite"),
        (lambda output: output["nothing"], KeyError, "nothing"),
    ],
)
def test_callables_refused(
    model: Model, photo: Tensor, target: Any, error: type, text: str
) -> None:
    with pytest.raises(error, match=text):
        xai.explain(model, photo, "saliency", target)


def test_callable_without_gradient(model: Model, photo: Tensor) -> None:
    def decided(output: dict[str, Tensor]) -> Tensor:
        return (output["out"].argmax(1) == 1).double().mean((1, 2))

    with pytest.raises(ValueError, match="does not depend on the image through differentiable"):
        xai.explain(model, photo, "saliency", decided)
    xai.explain(model, photo, "occlusion", decided, patch_size=4, stride=4)


def test_a_model_for_one_target_answers_no_other(model: Model, photo: Tensor) -> None:
    task = make_task(model, photo, mean_of_bee)
    with pytest.raises(ValueError, match="'mean_of_bee' off its network, nothing else"):
        task.model.goal(3)
    # The model that was given still answers for classes.
    assert make_task(model, photo, 3).target == 3
