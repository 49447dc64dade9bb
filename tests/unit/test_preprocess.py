"""From a photo to the network's input: the same numbers as torchvision, and the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms as classic
import torchvision.transforms.v2 as modern
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.models import Inception_V3_Weights, ResNet18_Weights, ViT_B_16_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import pil_to_tensor

import xaiwidgets as xai
from xaiwidgets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, make_preprocess

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def _photo(width: int = 300, height: int = 200) -> Image.Image:
    return xai.photo("cat").resize((width, height))


def _normalized(preprocess: Preprocess, image: Any) -> Tensor:
    """The frame normalized again: what it must be for baselines to be right."""
    pixels, x = preprocess.prepare(image)
    assert pixels.dtype == x.dtype == torch.float32
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    torch.testing.assert_close(preprocess.normalize(pixels), x, rtol=0, atol=1e-5)
    return x


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (224, 224), (50, 60), (1, 1), (257, 511)])
def test_the_default_is_torchvisions_evaluation_preset(size: tuple[int, int]) -> None:
    photo = _photo(*size)
    expected = ResNet18_Weights.DEFAULT.transforms()(photo)
    found = _normalized(make_preprocess(None, 3), photo)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@given(st.integers(1, 400), st.integers(1, 400))
def test_any_size_of_photo(width: int, height: int) -> None:
    photo = Image.new("RGB", (width, height), (10, 20, 30))
    preprocess = make_preprocess({"mean": MEAN, "std": STD, "size": 32}, 3)
    if max(width, height) > 100 * min(width, height):
        with pytest.raises(ValueError, match="too long and thin"):
            preprocess.prepare(photo)
    else:
        assert preprocess.prepare(photo)[1].shape == (3, 32, 32)


@pytest.mark.parametrize(
    "weights",
    [
        ResNet18_Weights.DEFAULT,
        Inception_V3_Weights.DEFAULT,
        ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1,
    ],
)
def test_torchvisions_transforms(weights: Any) -> None:
    photo = _photo()
    expected = weights.transforms()(photo)
    forms = (weights.transforms(), weights.transforms, weights)
    for form in forms:
        preprocess = make_preprocess(form, 3)
        assert preprocess.affine
        assert preprocess.size == expected.shape[1:]
        assert torch.equal(_normalized(preprocess, photo), expected)
        black = preprocess.normalize(torch.zeros(3, 1, 1)).flatten()
        torch.testing.assert_close(black, -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD))


def test_segmentation_follows_the_photo() -> None:
    transforms = FCN_ResNet50_Weights.DEFAULT.transforms(resize_size=64)
    preprocess = make_preprocess(transforms, 3)
    assert preprocess.size is None
    found = _normalized(preprocess, _photo(300, 200))
    assert found.shape == (3, 64, 96)
    assert torch.equal(found, transforms(_photo(300, 200)))
    assert "follows the image" in repr(preprocess)


def _chain(*steps: Any) -> classic.Compose:
    return classic.Compose([classic.Resize(40), classic.CenterCrop(32), *steps])


class TimmLike:
    """What timm makes: a chain whose mean and std are tensors."""

    def __init__(self) -> None:
        self.normalize = classic.Normalize(torch.tensor(MEAN), torch.tensor(STD))
        self.transforms = [classic.Resize(40), classic.CenterCrop(32), classic.ToTensor()]
        self.transforms.append(self.normalize)

    def __call__(self, image: Image.Image) -> Tensor:
        for step in self.transforms:
            image = step(image)
        return image


@pytest.mark.parametrize(
    "transform",
    [
        _chain(classic.ToTensor(), classic.Normalize(MEAN, STD)),
        modern.Compose(
            [
                modern.ToImage(),
                modern.Resize((32, 32)),
                modern.ToDtype(torch.float32, scale=True),
                modern.Normalize(MEAN, STD),
            ]
        ),
        TimmLike(),
    ],
)
def test_chains_with_a_normalization(transform: Callable[[Image.Image], Tensor]) -> None:
    preprocess = make_preprocess(transform, 3)
    assert preprocess.affine
    assert preprocess.size == (32, 32)
    assert torch.equal(_normalized(preprocess, _photo()), transform(_photo()))
    black = preprocess.normalize(torch.zeros(3, 2, 2))[:, 0, 0]
    torch.testing.assert_close(black, -torch.tensor(MEAN) / torch.tensor(STD))


def test_a_stated_normalization_that_is_not_the_whole_story() -> None:
    to_bytes = classic.Lambda(lambda x: x * 255)
    transform = _chain(classic.ToTensor(), to_bytes, classic.Normalize([127.0] * 3, [128.0] * 3))
    preprocess = make_preprocess(transform, 3)
    assert torch.equal(_normalized(preprocess, _photo()), transform(_photo()))
    torch.testing.assert_close(preprocess.normalize(torch.ones(3, 1, 1)), torch.ones(3, 1, 1))


def test_blue_before_red() -> None:
    mean = torch.tensor([104.0, 117.0, 123.0])[:, None, None]

    def transform(image: Image.Image) -> Tensor:
        return pil_to_tensor(image.resize((32, 32))).float().flip(0) - mean

    preprocess = make_preprocess(transform, 3)
    assert preprocess.affine
    pixels, x = preprocess.prepare(_photo())
    torch.testing.assert_close(pixels * 255, pil_to_tensor(_photo().resize((32, 32))).float())
    torch.testing.assert_close(preprocess.normalize(pixels), x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["standardized", "squared", "mixed"])
def test_what_is_no_plain_normalization_still_works(kind: str) -> None:
    def transform(image: Image.Image) -> Tensor:
        x = pil_to_tensor(image.resize((32, 32))).float() / 255
        if kind == "standardized":
            return (x - x.mean()) / x.std()
        return x**2 if kind == "squared" else x + 0.5 * x.flip(0)

    preprocess = make_preprocess(transform, 3)
    assert not preprocess.affine
    assert "approximately" in repr(preprocess)
    pixels, x = preprocess.prepare(_photo())
    assert torch.equal(x, transform(_photo()))
    assert bool(torch.isfinite(pixels).all())
    shown = pil_to_tensor(_photo().resize((32, 32))).float() / 255
    both = torch.stack([pixels.flatten(), shown.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.8


def test_gray_callable() -> None:
    transform = _chain(classic.ToTensor(), classic.Normalize([0.13], [0.31]))
    preprocess = make_preprocess(transform, 1)
    assert preprocess.channels == 1
    assert _normalized(preprocess, _photo()).shape == (1, 32, 32)


def test_dictionary() -> None:
    preprocess = make_preprocess(
        {"mean": MEAN, "std": STD, "size": (24, 30), "resize": 40, "interpolation": "bicubic"}, 3
    )
    steps = [
        classic.Resize(40, InterpolationMode.BICUBIC),
        classic.CenterCrop((24, 30)),
        classic.ToTensor(),
        classic.Normalize(MEAN, STD),
    ]
    expected = classic.Compose(steps)(_photo())
    torch.testing.assert_close(_normalized(preprocess, _photo()), expected, rtol=0, atol=1e-6)
    for part in ("40", "bicubic", "24x30", "0.5/0.4/0.3", "0.2/0.3/0.4"):
        assert part in repr(preprocess)


@pytest.mark.parametrize(
    ("spec", "channels", "mean"),
    [
        ({"mean": 0.5, "std": 0.5}, 3, [0.5] * 3),
        ({"mean": [0.1], "std": [0.5]}, None, [0.1]),
        ({"mean": [0.1] * 3, "std": 1}, None, [0.1] * 3),
        # The first convolution that a network has need not be the first to run.
        ({"mean": [0.1] * 3, "std": [1] * 3}, 64, [0.1] * 3),
        ({"mean": [0.1], "std": [0.5]}, 1, [0.1]),
        (None, 1, [0.449]),
        ({"interpolation": InterpolationMode.BICUBIC}, 3, list(IMAGENET_MEAN)),
    ],
)
def test_channels(spec: Any, channels: int | None, mean: list[float]) -> None:
    preprocess = make_preprocess(spec, channels)
    assert preprocess.channels == len(mean)
    middle = preprocess.normalize(torch.tensor(mean)[:, None, None])
    torch.testing.assert_close(middle, torch.zeros_like(middle), rtol=0, atol=1e-6)


def _raising(image: Image.Image) -> Tensor:
    raise RuntimeError("cannot")


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("imagenet", TypeError, r"'imagenet'.*identity.*transforms\(\)"),
        (7, TypeError, "preprocess=7"),
        ({"avg": 1}, ValueError, r'no "avg".*mean, std, size'),
        ({"mean": [0.5] * 2}, ValueError, "mean must be 3 finite numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, ValueError, "3 finite numbers"),
        ({"mean": "gray"}, TypeError, r"mean must be numbers.*'gray'"),
        ({"std": [0.5, 0.5, 0.0]}, ValueError, r"std must be positive.*0\.0"),
        ({"std": [-1.0] * 3}, ValueError, "positive"),
        ({"std": float("inf")}, ValueError, "finite"),
        ({"size": 0}, ValueError, "size must be.*not 0"),
        ({"size": -5}, ValueError, "not -5"),
        ({"size": True}, ValueError, "not True"),
        ({"size": 2.5}, ValueError, r"not 2\.5"),
        ({"size": (3, 4, 5)}, ValueError, r"\(3, 4, 5\)"),
        ({"size": 10**6}, ValueError, "from 1 to 8192"),
        ({"resize": 63, "size": 64}, ValueError, "resize=63 is less.*at least 64"),
        ({"resize": 0}, ValueError, "resize.*not 0"),
        ({"resize": "big"}, ValueError, "'big'"),
        ({"interpolation": "cubic"}, ValueError, r"bicubic.*'cubic'"),
        (_raising, ValueError, r"_raising.*RuntimeError.*mode RGB.*cannot"),
        (lambda image: image, TypeError, r"float tensor.*it gave Image.*ToTensor"),
        (pil_to_tensor, TypeError, r"uint8"),
        (np.array, TypeError, r"uint8"),
        (lambda image: torch.zeros(2, 3, 4, 4), TypeError, r"\(2, 3, 4, 4\)"),
        (
            classic.Compose([classic.RandomResizedCrop(16), classic.ToTensor()]),
            ValueError,
            "random augmentation.*evaluation",
        ),
        (
            classic.Compose([classic.Grayscale(), classic.Resize(9), classic.ToTensor()]),
            ValueError,
            "1 channels.*takes 3",
        ),
        (functools.partial(_raising), ValueError, "cannot"),
    ],
)
def test_refused(spec: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make_preprocess(spec, 3)


def test_nan_from_a_callable() -> None:
    def transform(image: Image.Image) -> Tensor:
        x = pil_to_tensor(image).float()
        return (x - x.mean()) / x.std()

    preprocess = make_preprocess(transform, 3)
    with pytest.raises(ValueError, match="NaN or infinite for this image"):
        preprocess.prepare(Image.new("RGB", (8, 8)))
