"""Many explanations at once are the same as one after the other, with fewer passes."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from tests.oracle import nets
from tests.toys import Functional, InPlace, Residual, Reused, noise, toy_model
from xaiwidgets.comparison.plan import Key, make_plan
from xaiwidgets.comparison.runner import Runner
from xaiwidgets.engine.passes import Shared, gradients_at
from xaiwidgets.engine.places import last_place, named_place
from xaiwidgets.methods import registry
from xaiwidgets.model import Model

TEN = (
    "saliency",
    "input_x_gradient",
    "guided_backprop",
    "deconvnet",
    "cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "xgrad_cam",
    "layer_cam",
    "layer_ixg",
)
SHARING = (*TEN, "guided_grad_cam", "eigen_cam", "ablation_cam", "score_cam")


def test_every_method_that_shares_is_checked() -> None:
    assert set(SHARING) == {spec.name for spec in registry.methods() if spec.shares}


@pytest.mark.parametrize("net", [Functional, Reused, InPlace, Residual])
def test_same_numbers_as_single_calls(net: type[nn.Module]) -> None:
    model = toy_model(net(), dtype=torch.float64)
    methods = [*SHARING, ("grad_cam", {"layer": "second"}), ("layer_ixg", {"skip_first": 1})]
    found = xai.compare(model, noise(), methods, [0, 3, 4])
    assert len(found) + len(found.errors) == 3 * len(methods)
    for key, explanation in found.items():
        alone = xai.explain(
            model, noise(), explanation.method, explanation.target, **explanation.params
        )
        scale = float(np.abs(alone.attribution).max())
        np.testing.assert_allclose(
            explanation.attribution, alone.attribution, rtol=0, atol=1e-6 * scale, err_msg=str(key)
        )
        assert explanation.score == pytest.approx(alone.score, rel=1e-6)
        for name, value in alone.diagnostics.items():
            assert explanation.diagnostics[name] == pytest.approx(value, rel=1e-6, abs=1e-9)
    for key, error in found.errors.items():
        target = int(key.target.removeprefix("class "))
        with pytest.raises(ValueError) as alone_error:
            xai.explain(model, noise(), key.method, target)
        assert str(alone_error.value) == error


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_same_bits_on_real_networks(name: str) -> None:
    model, photo = nets.model(name), nets.photo()
    found = xai.compare(model, photo, ["saliency", "grad_cam", "layer_ixg"], [281, 287])
    for key, explanation in found.items():
        alone = xai.explain(model, photo, key.method, explanation.target)
        np.testing.assert_array_equal(explanation.attribution, alone.attribution)


def test_transformer() -> None:
    from torchvision.models import VisionTransformer

    torch.manual_seed(1)
    net = VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=5)
    nn.init.normal_(net.heads.head.weight)
    model = toy_model(net, dtype=torch.float64, preprocess={"size": 32})
    found = xai.compare(model, noise(), ["saliency", "xgrad_cam", "grad_cam", "layer_ixg"], 3)
    assert len(found) == 4
    for key, explanation in found.items():
        alone = xai.explain(model, noise(), key.method, 3)
        scale = float(np.abs(alone.attribution).max())
        np.testing.assert_allclose(
            explanation.attribution, alone.attribution, rtol=0, atol=1e-6 * scale
        )


def square(output: Tensor) -> Tensor:
    return output[:, 1] ** 2 - output[:, 4]


def test_targets_of_every_kind() -> None:
    model = toy_model(InPlace(), dtype=torch.float64)
    targets = [None, [0, 2], xai.Difference(3, 1), square]
    methods = ["saliency", "input_x_gradient", "guided_backprop", "grad_cam", "layer_ixg"]
    found = xai.compare(model, noise(), methods, targets)
    assert len(found) + len(found.errors) == 20
    labels = ["top class", "class 0 + class 2", "class 3, not class 1", "square"]
    for key, explanation in found.items():
        alone = xai.explain(model, noise(), key.method, targets[labels.index(key.target)])
        scale = float(np.abs(alone.attribution).max())
        np.testing.assert_allclose(
            explanation.attribution, alone.attribution, rtol=0, atol=1e-6 * scale, err_msg=str(key)
        )
        assert explanation.category == alone.category
        assert explanation.score == pytest.approx(alone.score, rel=1e-6)
    for key in found.errors:
        with pytest.raises(ValueError):
            xai.explain(model, noise(), key.method, targets[labels.index(key.target)])


def test_modules_and_functional_code_in_one_pass() -> None:
    """A place may be a module's output or an operator's result; both are found in one pass."""
    model = toy_model(Functional(), dtype=torch.float64)
    x = model.prepare(noise()).input
    places = [named_place(model, x, "second", exact=True), last_place(model, x, exact=True)]
    assert [place.result is None for place in places] == [True, False]

    def score(logits: Tensor) -> Tensor:
        return logits[:, 2]

    for together, place in zip(gradients_at(model, x, places, score), places, strict=True):
        (alone,) = gradients_at(model, x, [place], score)
        assert torch.equal(together.activation, alone.activation)
        assert torch.equal(together.gradient, alone.gradient)


class Counting(InPlace):
    """Counts its forward passes; copies share the count."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = Passes()

    def forward(self, x: Tensor) -> Tensor:
        self.passes.count += 1
        return super().forward(x)


class Passes:
    def __init__(self) -> None:
        self.count = 0

    def __deepcopy__(self, memo: Any) -> Passes:
        return self


def test_ten_methods_share_their_passes() -> None:
    net = Counting()
    model = toy_model(net)
    xai.compare(model, noise(), TEN)  # what is found out once for a network
    net.passes.count = 0
    xai.compare(model, noise(), TEN)
    # The clean one, with and without folding (which changes what some layers give), the one under
    # the rules of rectifiers, and CAM's record of what lies before its layer, with its check.
    few = net.passes.count
    assert few <= 5
    net.passes.count = 0
    found = xai.compare(model, noise(), TEN[:4], [0, 1, 2])
    assert len(found) == 12
    assert net.passes.count <= few


def test_a_network_that_does_not_do_the_same_twice_falls_back() -> None:
    """A pass that cannot be shared is none; each method then runs, or refuses, by itself."""
    model = toy_model(InPlace())
    x = model.prepare(noise()).input

    def broken(*args: Any, **kwargs: Any) -> Tensor:
        raise RuntimeError("not now")

    shared = Shared(model, x, [], inputs=True, exact=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "logits", broken)
        assert shared.logits() is None
        assert shared.gradient(lambda logits: logits[:, 0]) is None


def test_passes_are_freed() -> None:
    plan = make_plan(toy_model(InPlace()), {"a": noise(), "b": noise(22), "c": noise(24)}, TEN, 1)
    runner = Runner(plan)
    for cell in plan.cells:
        if plan.key(cell).method in ("saliency", "cam"):
            for _ in runner.steps(cell):
                pass
    kept = [shared for shared in runner._shared.values() if shared is not None]
    assert len(kept) == 2
    runner.free()
    assert not runner._shared
    assert not any(shared._passes or shared._pulled or shared._kept for shared in kept)


def test_models_that_read_the_output_are_freed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1))
    targets = [1, (2, 3), xai.Region((2, 2, 9, 9), 1), lambda output: output[:, 0].mean((1, 2))]
    plan = make_plan(toy_model(net), noise(), "saliency", targets)
    runner = Runner(plan)
    first, *_, last = plan.cells
    scores = {cell: runner.task(cell).logits for cell in plan.cells}
    kept, freed = runner.task(first), weakref.ref(runner.task(last).model)
    runner.free()
    gc.collect()
    assert runner.task(first) is kept
    assert freed() is None
    for cell, logits in scores.items():
        assert torch.equal(runner.task(cell).logits, logits)


def test_labels_and_lookup() -> None:
    one, other = toy_model(InPlace(), name="toy"), toy_model(Functional(), name="toy")
    found = xai.compare(
        [one, other],
        [noise(), noise(30)],
        ["saliency", ("smoothgrad", {"samples": 2}), "saliency"],
        [None, 1],
    )
    assert len(found) == 24
    assert {key.model for key in found} == {"toy", "toy (2)"}
    assert {key.image for key in found} == {"image 1", "image 2"}
    assert {key.target for key in found} == {"top class", "class 1"}
    assert {key.method for key in found} == {"saliency", "smoothgrad(samples=2)", "saliency (2)"}
    key = Key("smoothgrad(samples=2)", "class 1", "image 2", "toy (2)")
    assert found[key].params["samples"] == 2
    assert found[tuple(key)].target == 1
    keys, matrix = found.similarity("top_k", "image 2")
    assert matrix.shape == (12, 12)
    assert all(each.image == "image 2" for each in keys)
    with pytest.raises(ValueError, match="image must be one of"):
        found.similarity()
    assert "24 maps" in repr(found)


def test_refusals_stand_beside_the_others() -> None:
    model = toy_model(InPlace())
    found = xai.compare(model, noise(), ["saliency", ("cam", {"layer": "first"})], 0)
    assert [key.method for key in found] == ["saliency"]
    ((key, error),) = found.errors.items()
    assert "CAM needs" in error
    with pytest.raises(KeyError, match="has no map: CAM needs"):
        found[key]
    with pytest.raises(ValueError, match="CAM needs"):
        xai.compare(model, noise(), ("cam", {"layer": "first"}), 0)


def test_failures_stand_beside_the_others() -> None:
    class One(InPlace):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                raise ZeroDivisionError("for one image alone")
            return super().forward(x)

    model = toy_model(One())
    found = xai.compare(model, noise(), ["saliency", ("smoothgrad", {"samples": 20})], 0)
    assert [key.method for key in found] == ["saliency"]
    assert list(found.errors.values()) == ["ZeroDivisionError: for one image alone"]
    with pytest.raises(ZeroDivisionError, match="one image alone"):
        xai.compare(model, noise(), ("smoothgrad", {"samples": 20}), 0)


def _model() -> Model:
    return toy_model(InPlace())


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"models": InPlace()}, TypeError, "xai.Model"),
        ({"models": []}, ValueError, "no model to compare"),
        ({"methods": []}, ValueError, "no method to compare"),
        ({"methods": ["salency"]}, ValueError, "Did you mean saliency"),
        ({"methods": [("saliency", 3)]}, TypeError, "name, parameters"),
        ({"methods": [("smoothgrad", {"noises": 1})]}, TypeError, 'mean "noise"'),
        ({"methods": [("smoothgrad", {"noise": 9})]}, ValueError, "noise"),
        ({"methods": 3}, TypeError, "by its name"),
        ({"targets": []}, ValueError, "no target to compare"),
        ({"targets": 77}, ValueError, "out of range"),
        ({"images": [noise()] * 97}, ValueError, "at most 96"),
        ({"seed": -1}, ValueError, "seed"),
        ({"precision": "half"}, ValueError, "precision"),
    ],
)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], told: str) -> None:
    given = {"models": _model(), "images": noise(), "methods": ["saliency"], **arguments}
    with pytest.raises(error, match=told):
        xai.compare(**given)
