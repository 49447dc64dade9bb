"""What may not change the numbers: precision, memory, a cancel, other photos meanwhile."""

from __future__ import annotations

import functools
import gc
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from tests.unit.methods.test_invariance import CASES, Net, _photo, every_case
from xaiwidgets.engine.batching import Batcher
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods import registry, rise, vit_cx
from xaiwidgets.methods.estimate import Estimate, last_of
from xaiwidgets.model import Model


@pytest.fixture(autouse=True, scope="module")
def _quick_collection() -> Iterator[None]:
    """All that the suite has made so far takes long to look through, again and again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def model_of(net: nn.Module, dtype: torch.dtype = torch.float64, size: int = 4) -> Model:
    preprocess = {"mean": [0.4] * 3, "std": [0.3] * 3, "size": 24}
    model = Model(net, preprocess, device="cpu", dtype=dtype)
    for kind in ("gradient", "forward"):
        model._batchers[kind] = Batcher(model.device, size)
    return model


def run(
    model: Model, method: str, params: dict[str, Any], photo: Tensor | None = None, seed: int = 0
) -> Iterator[Estimate]:
    shown = _photo() if photo is None else photo
    return estimates(make_task(model, shown, 2, seed=seed), method, params)


def value(model: Model, method: str, params: dict[str, Any], **more: Any) -> Tensor:
    return last_of(run(model, method, params, **more)).value


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@every_case
def test_single_precision_agrees_with_double(method: str, params: dict[str, Any]) -> None:
    # Without edges between on and off, on which single precision falls on either side.
    double, single = (
        value(model_of(Net("smooth"), dtype), method, params).double()
        for dtype in (torch.float64, torch.float32)
    )
    assert float((single - double).norm()) < 1e-3 * float(double.norm())


def _is_random(method: str, params: dict[str, Any]) -> bool:
    if method == "kernel_shap":
        # With samples for all coalitions none is drawn.
        return "samples" in params
    always = ("smoothgrad", "rise", "lime", "expected_gradients", "vit_cx")
    return method in (*always, "meaningful_perturbation") or "noise" in params.values()


@every_case
def test_the_seed_matters_where_something_is_random(method: str, params: dict[str, Any]) -> None:
    model = model_of(Net())
    one, other = (value(model, method, params, seed=seed) for seed in (1, 2))
    if _is_random(method, params):
        assert float((one - other).norm()) > 1e-5 * float(one.norm())
    else:
        same(other, one)


# -- memory -------------------------------------------------------------------------------------


class Tight(Net):
    """Has room for two images at once."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 2:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(x)


# One pass of two images at most, one image after the other, or batches of what is behind a layer.
ALONE = {
    *("saliency", "input_x_gradient", "guided_backprop", "deconvnet", "rectgrad", "lrp"),
    *("deeplift", "guided_ig", "layer_ixg", "cam", "grad_cam", "grad_cam_plus_plus", "xgrad_cam"),
    *("layer_cam", "ablation_cam", "eigen_cam", "guided_grad_cam", "phang_mask"),
    "perceptual_ball",
}


@pytest.mark.parametrize(
    ("method", "params"),
    [(method, params) for method, params in CASES if method not in ALONE],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v)),
)
def test_batches_that_do_not_fit(method: str, params: dict[str, Any]) -> None:
    model = model_of(Tight(), size=8)
    found = value(model, method, params)
    assert model.net.refused + model.fast.refused > 0  # type: ignore[operator]
    same(found, value(model_of(Net()), method, params))


# What may be made large, and two sizes of it.
AMOUNTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{
        method: ({"samples": 20}, {"samples": 120})
        for method in ("smoothgrad", "lime", "kernel_shap", "expected_gradients")
    },
    **{
        method: ({"steps": 20}, {"steps": 120})
        for method in ("integrated_gradients", "idgi", "blur_ig", "guided_ig", "xrai")
    },
    **{
        method: ({"iterations": 10}, {"iterations": 60})
        for method in (
            *("meaningful_perturbation", "extremal_perturbation", "phang_mask"),
            "perceptual_ball",
        )
    },
    "rise": ({"masks": 20}, {"masks": 120}),
    "occlusion": ({"patch_size": 6, "stride": 6}, {"patch_size": 6, "stride": 2}),
}


def test_every_amount_is_checked() -> None:
    names = {"samples", "steps", "masks", "iterations", "stride"}
    assert set(AMOUNTS) == {
        spec.name for spec in registry.methods() if names & set(spec.parameters)
    }


@pytest.mark.parametrize("method", AMOUNTS)
def test_memory_does_not_grow_with_the_work(method: str) -> None:
    """What a method keeps between two estimates, in maps as large as the photo."""
    model = model_of(Net())

    def alive(params: dict[str, Any]) -> int:
        # What is there already is none of its doing.
        gc.freeze()
        steps = run(model, method, params)
        for estimate in steps:
            if estimate.done >= 0.9 * estimate.total:
                break
        gc.collect()
        kept = [t for t in gc.get_objects() if type(t) is Tensor and t.shape[-1:] == (24,)]
        return sum(map(Tensor.numel, kept))

    few, many = (alive(params) for params in AMOUNTS[method])
    assert few > 0
    # Batches are not all of one size: some images more or less are no growth.
    assert many <= few + 4 * 3 * 24 * 24


@pytest.mark.parametrize(("method", "module"), [("rise", rise), ("vit_cx", vit_cx)])
def test_chunks_that_maps_are_made_in(
    method: str, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(Net())
    (params, *_) = (given for name, given in CASES if name == method)
    last = last_of(run(model, method, params))
    for chunk in (1, 5):
        monkeypatch.setattr(module, "_AT_ONCE", chunk)
        same(last.detail.attribution(lambda logits: logits[:, 2]), last.value)
        same(value(model, method, params), last.value)


# -- a cancel, and other work meanwhile ---------------------------------------------------------


def _nothing_is_left_on(model: Model) -> None:
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert not _get_current_function_mode_stack()
    for net in (model.net, model.fast):
        for module in net.modules():
            for kind in ("forward", "forward_pre", "backward", "backward_pre"):
                assert not getattr(module, f"_{kind}_hooks")


@every_case
def test_cancel_at_any_estimate(method: str, params: dict[str, Any]) -> None:
    model = model_of(Net())
    weights = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    whole = list(run(model, method, params))
    expected = {estimate.done: estimate.value for estimate in whole}
    for stop in range(1, len(whole) + 1):
        steps = run(model, method, params)
        found = list(itertools.islice(steps, stop))[-1]
        _nothing_is_left_on(model)
        steps.close()  # type: ignore[attr-defined]
        _nothing_is_left_on(model)
        # Which way occlusion goes, and so how far at a time, is measured.
        if method != "occlusion" or found.done in expected:
            same(found.value, expected[found.done])
    for name, tensor in model.net.state_dict().items():
        assert torch.equal(tensor, weights[name])
    same(value(model, method, params), whole[-1].value)


PHOTOS = [_photo(seed) for seed in (21, 22)]


@functools.cache
def _alone(case: int) -> list[Tensor]:
    method, params = CASES[case]
    return [value(model_of(Net()), method, params, photo=photo) for photo in PHOTOS]


@every_case
def test_several_photos_in_turn(method: str, params: dict[str, Any]) -> None:
    """One estimate of each photo after the other, on one model."""
    model = model_of(Net())
    expected = _alone(CASES.index((method, params)))
    runs = {index: run(model, method, params, photo) for index, photo in enumerate(PHOTOS)}
    last: dict[int, Estimate] = {}
    while runs:
        for index in list(runs):
            try:
                last[index] = next(runs[index])
            except StopIteration:
                del runs[index]
    for index, one in enumerate(expected):
        same(last[index].value, one)


@every_case
def test_several_photos_at_the_same_time(method: str, params: dict[str, Any]) -> None:
    """A thread each, on one model."""
    model = model_of(Net())
    expected = _alone(CASES.index((method, params)))
    together = threading.Barrier(len(PHOTOS))

    def explained(photo: Tensor) -> Tensor:
        together.wait()
        return value(model, method, params, photo=photo)

    with ThreadPoolExecutor(len(PHOTOS)) as pool:
        for found, one in zip(pool.map(explained, PHOTOS), expected, strict=True):
            same(found, one)
