"""Photos in every form that people have, and all that is none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from xaiwidgets.images import as_array, fit, read_image, visible

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GRAY = PIXELS[..., 0]


def _bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _array(image: Any) -> NDArray[np.uint8]:
    return np.asarray(read_image(image))


PNG = _bytes(Image.fromarray(PIXELS))


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(PIXELS),
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        PIXELS,
        PIXELS[None],
        PIXELS.astype(np.int64),
        PIXELS.astype(np.uint16) * 257,
        PIXELS.astype(np.float32) / 255,
        PIXELS.astype(np.float64) / 255,
        (PIXELS / 255).astype(np.float16),
        np.ascontiguousarray(np.moveaxis(PIXELS, -1, 0)),
        PIXELS[::-1][::-1],
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        torch.from_numpy(PIXELS).permute(2, 0, 1)[None],
        torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
        (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255).bfloat16().float().requires_grad_(True),
    ],
    ids=lambda image: f"{type(image).__name__}-{getattr(image, 'dtype', '')}",
)
def test_the_same_photo_in_many_forms(image: Any) -> None:
    found = read_image(image)
    assert found.mode == "RGB"
    rounded = isinstance(image, torch.Tensor) and image.requires_grad
    np.testing.assert_allclose(np.asarray(found), PIXELS, atol=1 if rounded else 0)


@pytest.mark.parametrize("form", [str, Path])
def test_files(tmp_path: Path, form: Any) -> None:
    path = tmp_path / "photo with spaces.png"
    path.write_bytes(PNG)
    assert np.array_equal(_array(form(path)), PIXELS)


@pytest.mark.parametrize(
    "image",
    [GRAY, GRAY[..., None], GRAY[None], GRAY / 255, torch.from_numpy(GRAY)[None], GRAY.copy()],
)
def test_gray_stays_gray(image: Any) -> None:
    assert read_image(image).mode == "L"
    assert np.array_equal(_array(image), GRAY)


def test_black_and_white() -> None:
    expected = np.where(GRAY > 127, 255, 0)
    assert np.array_equal(_array(GRAY > 127), expected)
    assert np.array_equal(_array(Image.fromarray(GRAY > 127)), expected)


def test_the_given_image_is_not_handed_on() -> None:
    given = Image.fromarray(PIXELS)
    read_image(given).putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(np.asarray(given), PIXELS)


def test_palette() -> None:
    image = Image.fromarray(PIXELS).quantize(16)
    assert np.array_equal(_array(_bytes(image)), np.asarray(image.convert("RGB")))


def test_transparent_palette_lies_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0] * 2)
    found = _array(_bytes(image, transparency=0))
    assert found.tolist() == np.full((4, 4, 3), 255).tolist()


@pytest.mark.parametrize("as_float", [False, True])
def test_alpha_lies_on_white(as_float: bool) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[..., 3] = [0, 51, 255]
    image = rgba / 255 if as_float else rgba
    assert _array(image)[0, :, 0].tolist() == [255, 204, 0]
    assert _array(_bytes(Image.fromarray(rgba)))[0, :, 0].tolist() == [255, 204, 0]


def test_gray_with_alpha() -> None:
    image = Image.merge("LA", [Image.new("L", (2, 2), 0), Image.new("L", (2, 2), 0)])
    assert read_image(_bytes(image)).mode == "L"
    assert _array(image).min() == 255


def test_sixteen_bits() -> None:
    image = Image.fromarray(GRAY.astype(np.uint16) * 257)
    assert image.mode.startswith("I")
    assert np.array_equal(_array(_bytes(image)), GRAY)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_other_color_spaces(mode: str) -> None:
    plain = Image.new("RGB", (4, 4), (200, 100, 50))
    image = _lab(plain) if mode == "LAB" else plain.convert(mode)
    assert read_image(image).mode == "RGB"
    np.testing.assert_allclose(_array(image)[0, 0], (200, 100, 50), atol=6)


def _lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    found = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert found is not None
    return found


def test_cmyk_jpeg() -> None:
    plain = Image.new("RGB", (8, 8), (200, 100, 50)).convert("CMYK")
    np.testing.assert_allclose(_array(_bytes(plain, "JPEG"))[4, 4], (200, 100, 50), atol=6)


def test_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = read_image(_bytes(Image.new("RGB", (30, 20)), "JPEG", exif=exif))
    assert found.size == (20, 30)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert _array(data)[0, 0].tolist() == [255, 0, 0]


def test_tiny_and_huge() -> None:
    tiny = fit(np.array([[[255, 0, 0]]], np.uint8), (8, 8), 8, "bilinear", 3)
    assert tiny.shape == (3, 8, 8)
    assert np.array_equal(tiny[:, 3, 3], [1, 0, 0])
    huge = fit(Image.new("L", (8000, 8000), 255), (8, 8), 8, "bilinear", 3)
    assert np.array_equal(huge, np.ones((3, 8, 8)))


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (64, 64), (65, 127)])
@pytest.mark.parametrize("photo", [(50, 50), (90, 40), (33, 200)])
def test_no_frame_has_bars_beside_the_photo(size: tuple[int, int], photo: tuple[int, int]) -> None:
    found = fit(Image.new("RGB", photo, "white"), size, 73, "bilinear", 3)
    assert found.shape == (3, *size)
    assert found.min() == 1


def test_visible_are_one_or_three_channels() -> None:
    for channels in (1, 3):
        pixels = torch.rand(channels, 4, 5) - 1
        assert visible(pixels) is pixels
    inside = torch.rand(6, 4, 5)
    torch.testing.assert_close(visible(inside), inside.mean(0, keepdim=True))
    gray = visible(8 * inside - 3)
    assert (gray.shape, float(gray.min()), float(gray.max())) == ((1, 4, 5), 0, 1)


def test_floats_of_the_frames_size_are_not_rounded() -> None:
    image = RNG.random((8, 8, 3)).astype(np.float32)
    found = fit(image, (8, 8), 10, "bicubic", 3)
    assert np.array_equal(found, np.moveaxis(image, -1, 0))
    assert np.array_equal(fit(torch.from_numpy(found), (8, 8), 10, "bicubic", 3), found)


def _with(value: float) -> NDArray[np.float32]:
    image = np.full((4, 4, 3), 0.5, np.float32)
    image[1, 2, 0] = value
    return image


@pytest.mark.parametrize(
    ("image", "error", "parts"),
    [
        ("no/such/photo.png", FileNotFoundError, ["no file", "photo.png", "path of an image"]),
        (Path("nowhere.jpg"), FileNotFoundError, ["nowhere.jpg"]),
        (".", ValueError, ["is a folder", "path of an image"]),
        (__file__, ValueError, ["test_images.py", "is not an image", "PNG, JPEG"]),
        (b"", ValueError, ["0 bytes", "not an image"]),
        (b"hello, world", ValueError, ["12 bytes", "not an image"]),
        (PNG[: len(PNG) // 2], ValueError, ["is damaged"]),
        (_with(float("nan")), ValueError, ["1 pixel", "NaN or infinite", "nan_to_num"]),
        (_with(float("inf")), ValueError, ["NaN or infinite"]),
        (torch.full((3, 4, 4), float("nan")), ValueError, ["48 pixel", "NaN"]),
        (_with(-2.1), ValueError, ["0 to 1", "-2.1", "normalized", 'preprocess="identity"']),
        (_with(255), ValueError, ["255", "Divide"]),
        (torch.randn(3, 9, 9) * 3, ValueError, ["0 to 1", 'preprocess="identity"']),
        (np.zeros((6, 5, 2), np.uint8), ValueError, ["(6, 5, 2)", "channels", "1, 3 or 4"]),
        (np.zeros((5, 6, 7), np.uint8), ValueError, ["(5, 6, 7)", "channels"]),
        (torch.zeros(2, 8, 8), ValueError, ["(2, 8, 8)", "channels"]),
        (torch.zeros(2, 3, 8, 8), ValueError, ["(2, 3, 8, 8)", "(C, H, W)"]),
        (np.zeros((0, 4, 3), np.uint8), ValueError, ["(0, 4, 3)"]),
        (np.zeros((), np.uint8), ValueError, ["()"]),
        (np.zeros(12, np.uint8), ValueError, ["(12,)"]),
        (np.zeros((1, 1, 1, 4, 4), np.uint8), ValueError, ["(1, 1, 1, 4, 4)"]),
        (np.zeros((4, 4), complex), TypeError, ["complex128", "uint8"]),
        (np.full((4, 4), 300), TypeError, ["int64", "uint8"]),
        (np.full((4, 4), "a"), TypeError, ["<U1"]),
        (np.full((4, 4), None), TypeError, ["object"]),
        (None, TypeError, ["NoneType", "path"]),
        (3, TypeError, ["int is not an image"]),
        ([[1, 2], [3, 4]], TypeError, ["list is not an image", "array"]),
        (Image.new("RGB", (0, 5)), ValueError, ["0 x 5"]),
        (Image.fromarray(np.full((2, 2), np.nan, np.float32)), ValueError, ["NaN"]),
        (Image.fromarray(np.full((2, 2), -3, np.float32)), ValueError, ["-3", "Scale"]),
    ],
)
def test_refused(image: Any, error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as raised:
        read_image(image)
    for part in parts:
        assert part in str(raised.value)


def test_decompression_bomb() -> None:
    # A file of some hundred bytes that says it is 40000 x 40000.
    data = bytearray(_bytes(Image.new("1", (8, 8))))
    import struct
    import zlib

    data[16:24] = struct.pack(">II", 40000, 40000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ValueError, match=r"too large|pixels, more than"):
        read_image(bytes(data))


def test_a_strip_is_too_long_to_be_scaled() -> None:
    with pytest.raises(ValueError, match=r"5000 x 2 pixels.*100 times.*crop"):
        fit(np.zeros((2, 5000), np.uint8), (8, 8), 8, "bilinear", 1)


def test_as_array_keeps_floats() -> None:
    image = RNG.random((4, 5))
    found = as_array(image)
    assert found.shape == (4, 5, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], image, atol=1e-7)
