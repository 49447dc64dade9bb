"""`explain`, `explaining` and what they give."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xaiwidgets as xai
from xaiwidgets.model import Model


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    )
    return Model(net, {"size": 16}, ["ant", "bee", "cow"], "cpu")


@pytest.fixture
def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_what_it_gives(model: Model, photo: Image.Image) -> None:
    found = xai.explain(model, photo, "integrated_gradients", target="bee", steps=5)
    assert found.attribution.shape == (3, 16, 16)
    assert found.attribution.dtype == found.heatmap.dtype == np.float32
    np.testing.assert_allclose(found.heatmap, found.attribution.sum(0), rtol=1e-6)
    assert (found.target, found.category) == (1, "bee")
    assert found.params == {
        "steps": 5,
        "baseline": "black",
        "grid": "auto",
        "tolerance": 0.0,
    }
    assert found.seconds > 0
    assert found.score == pytest.approx(
        next(p.logit for p in model.predict(photo) if p.name == "bee")
    )
    gap = found.attribution.sum() - (found.score - found.diagnostics["score_baseline"])
    assert found.diagnostics["completeness_gap"] == pytest.approx(gap, abs=1e-5)
    assert "bee" in repr(found)


def test_default_target_is_the_top_class(model: Model, photo: Image.Image) -> None:
    assert xai.explain(model, photo, "saliency").category == model.predict(photo)[0].name


def test_explaining_ends_where_explain_does(model: Model, photo: Image.Image) -> None:
    # A measured size may change from run to run, and the last digits with it.
    model.batcher("gradient").size = 4
    steps = list(xai.explaining(model, photo, "smoothgrad", samples=12))
    assert len(steps) > 1
    whole = xai.explain(model, photo, "smoothgrad", samples=12, progress=False)
    assert np.array_equal(steps[-1].value.numpy(), whole.attribution)


@pytest.mark.parametrize("method", ["saliency", "grad_cam", "lrp", "smoothgrad", "guided_backprop"])
def test_in_inference_mode(model: Model, photo: Image.Image, method: str) -> None:
    expected = xai.explain(model, photo, method, seed=1).heatmap
    with torch.inference_mode():
        found = xai.explain(model, photo, method, seed=1).heatmap
        (together,) = xai.compare(model, photo, method, seed=1).values()
        steps = xai.explaining(model, photo, method, seed=1)
        for _ in steps:
            # The caller's mode is the caller's, also between two steps.
            assert torch.is_inference_mode_enabled()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(together.heatmap, expected, rtol=1e-4, atol=1e-7)


def test_photo_made_in_inference_mode(model: Model) -> None:
    fed = Model(model.net, "identity", device="cpu")
    with torch.inference_mode():
        x = torch.rand(3, 16, 16)
        assert xai.explain(fed, x, "integrated_gradients", steps=3).heatmap.any()
    assert xai.explain(fed, x, "saliency").heatmap.any()


def test_network_for_one_image_only(photo: Image.Image) -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3 * 16 * 16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.reshape(1, -1))

    model = Model(One(), {"size": 16}, device="cpu")
    assert xai.explain(model, photo, "saliency").heatmap.any()
    with pytest.raises(RuntimeError, match=r"2 images at once.*x\.flatten\(1\)"):
        xai.explain(model, photo, "smoothgrad")


@pytest.mark.parametrize("channels", [2, 6])
def test_plot_of_other_channels_than_photos_have(channels: int, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Model(net, "identity", device="cpu")
    found = xai.explain(model, torch.randn(channels, 12, 12), "saliency")
    assert found.attribution.shape == (channels, 12, 12)
    assert found.save(tmp_path / "map.png").stat().st_size > 0
    widget = xai.Saliency(model, torch.randn(channels, 12, 12))
    widget.wait(60)
    assert widget._photo.startswith(b"\x89PNG")
    widget.close()


def test_explaining_checks_at_the_call(model: Model, photo: Image.Image) -> None:
    assert not inspect.isgeneratorfunction(xai.explaining)
    with pytest.raises(ValueError, match="samples must be"):
        xai.explaining(model, photo, "smoothgrad", samples=0)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".pdf", ".svg"])
def test_save_a_picture(model: Model, photo: Image.Image, tmp_path: Path, ending: str) -> None:
    written = xai.explain(model, photo, "occlusion", patch_size=4, stride=4).save(
        tmp_path / f"map{ending}"
    )
    assert written.stat().st_size > 1000


def test_save_the_numbers(model: Model, photo: Image.Image, tmp_path: Path) -> None:
    found = xai.explain(model, photo, "saliency")
    with np.load(found.save(tmp_path / "map.npz")) as saved:
        assert np.array_equal(saved["attribution"], found.attribution)
        assert int(saved["target"]) == found.target


def test_save_elsewhere_says_what_is_possible(
    model: Model, photo: Image.Image, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"must be \.png"):
        xai.explain(model, photo, "saliency").save(tmp_path / "map.doc")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"method": "salency"}, ValueError, "Did you mean saliency"),
        ({"target": 3}, ValueError, "out of range"),
        ({"target": "be"}, ValueError, "bee"),
        ({"target": 1.0}, TypeError, "index"),
        ({"seed": -1}, ValueError, "seed"),
        ({"precision": "half"}, ValueError, '"fast", "exact", "tf32" or "bf16"'),
        ({"image": "no_such_photo.png"}, FileNotFoundError, "no_such_photo.png"),
        ({"image": 7}, TypeError, "image"),
        ({"alpha": 0.5}, TypeError, 'no parameter "alpha"'),
    ],
)
def test_bad_arguments(
    model: Model, photo: Image.Image, arguments: dict[str, Any], error: type, said: str
) -> None:
    given: dict[str, Any] = {"image": photo, "method": "saliency", **arguments}
    with pytest.raises(error) as raised:
        xai.explain(model, **given)
    assert said in str(raised.value)


def test_model_must_be_wrapped(photo: Image.Image) -> None:
    with pytest.raises(TypeError, match=r"xai\.Model\(net\)"):
        xai.explain(nn.Linear(2, 2), photo, "saliency")  # type: ignore[arg-type]


class Reciprocal(nn.Module):
    """Its scores are finite where its gradient is not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = (x.flatten(1).sum(1) * 0).sqrt()
        return torch.stack([low, low + 1], 1)


def test_gradient_that_is_not_finite(photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        xai.explain(Model(Reciprocal(), {"size": 8}, device="cpu"), photo, "saliency")


def test_score_without_a_gradient(photo: Image.Image) -> None:
    class Detached(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().mean((2, 3))

    model = Model(Detached(), {"size": 8}, device="cpu")
    with pytest.raises(ValueError, match="occlusion"):
        xai.explain(model, photo, "saliency")
    covered = xai.explain(model, photo, "occlusion", 0, patch_size=4, stride=4)
    assert np.abs(covered.attribution).max() > 0


def test_public_names() -> None:
    for name in xai.__all__:
        assert getattr(xai, name) is not None
    assert callable(xai.methods)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = xai.nonsense


def test_ending_when_settled(model: Model, photo: Image.Image) -> None:
    params: dict[str, Any] = {"samples": 400, "noise": 0.3}
    steps = list(xai.explaining(model, photo, "smoothgrad", settled=0.9, **params))
    told = [step.diagnostics["settled"] for step in steps]
    assert told[-1] >= 0.9
    assert all(
        each < 0.9
        for step, each in zip(steps, told, strict=True)
        if 16 <= step.done < steps[-1].done
    )
    assert 16 <= steps[-1].done < 400
    assert steps[-1].finished
    assert not steps[-2].finished
    found = xai.explain(model, photo, "smoothgrad", settled=0.9, **params)
    assert found.diagnostics["settled"] >= 0.9
    assert found.diagnostics["samples"] < 400


def test_never_settled_enough_does_all_the_work(model: Model, photo: Image.Image) -> None:
    found = xai.explain(model, photo, "smoothgrad", settled=1, samples=20, noise=0.5)
    whole = xai.explain(model, photo, "smoothgrad", samples=20, noise=0.5)
    assert found.diagnostics["samples"] == 20
    np.testing.assert_allclose(found.attribution, whole.attribution, rtol=1e-4, atol=1e-7)


def test_settled_of_a_method_that_does_not_tell(model: Model, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match=r'"saliency" does not tell.*settled='):
        xai.explain(model, photo, "saliency", settled=0.99)


@pytest.mark.parametrize(
    ("given", "error"),
    [(0.2, ValueError), (1.5, ValueError), (True, TypeError), ("0.9", TypeError)],
)
def test_settled_must_be_a_share(
    model: Model, photo: Image.Image, given: Any, error: type[Exception]
) -> None:
    for call in (xai.explain, xai.explaining):
        with pytest.raises(error, match=r"settled must be a number from 0\.5 to 1, or None"):
            call(model, photo, "smoothgrad", settled=given)
