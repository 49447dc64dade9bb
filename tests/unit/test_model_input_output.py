"""What networks return, and what users hand to `Model` by mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import toys
from tests.toys import Functional, noise, toy_model


@pytest.mark.parametrize(
    "wrap",
    [toys.in_dict, toys.in_map, toys.Output, lambda s: (s, s * 0), lambda s: {"logits": s}],
)
def test_outputs(wrap: Callable[[Tensor], Any]) -> None:
    plain = toy_model(Functional())
    x = plain.prepare(noise()).input
    found = toy_model(toys.Returning(wrap)).logits(x, exact=True)
    expected = plain.logits(x, exact=True)
    shift = -0.0 if wrap is not toys.in_map else 0.0
    torch.testing.assert_close(found, expected + shift)


def test_output_function() -> None:
    net = toys.Returning(lambda scores: {"deep": {"er": scores}})
    with pytest.raises(TypeError, match=r"dict with 'deep'.*output="):
        toy_model(net).predict(noise())
    model = toy_model(net, output=lambda found: found["deep"]["er"])
    assert model.predict(noise()) == toy_model(Functional()).predict(noise())


@pytest.mark.parametrize(
    ("wrap", "error", "said"),
    [
        (toys.wrong_shape, ValueError, r"\(1, 5, 1\).*1 image.*\(1, K\).*output="),
        (lambda s: s.argmax(1), TypeError, r"int64.*argmax"),
        (lambda s: s.sum(), ValueError, r"shape \(\)"),
        (lambda s: torch.cat([s, s]), ValueError, r"\(2, 5\) for 1 image"),
        (lambda s: None, TypeError, r"NoneType.*output="),
        (lambda s: [], TypeError, r"list"),
        (toys.as_nan, ValueError, r"NaN or infinite.*preprocessing"),
    ],
)
def test_bad_outputs(wrap: Callable[[Tensor], Any], error: type[Exception], said: str) -> None:
    model = toy_model(toys.Returning(wrap))
    with pytest.raises(error, match=said):
        model.predict(noise())


@pytest.mark.parametrize(
    ("make", "options", "error", "said"),
    [
        (lambda: "resnet18", {}, TypeError, r"torch\.nn\.Module, not str.*xai\.load"),
        (lambda: Functional, {}, TypeError, r"torch\.nn\.Module"),
        (Functional, {"device": "gpu"}, ValueError, r"device='gpu'.*\"auto\""),
        (Functional, {"device": "cuda:99"}, ValueError, r"cuda:99.*not available"),
        (Functional, {"device": "meta"}, ValueError, r"meta"),
        (Functional, {"device": 1.5}, TypeError, r"1\.5"),
        (Functional, {"dtype": "float32"}, TypeError, r"torch\.dtype.*'float32'"),
        (Functional, {"dtype": torch.int64}, ValueError, r"int64"),
        (Functional, {"categories": "cat"}, TypeError, r"list of names.*'cat'"),
        (Functional, {"categories": [1, 2]}, TypeError, r"list of names.*\[1, 2\]"),
        (Functional, {"categories": 5}, TypeError, r"list of names"),
        (Functional, {"output": "logits"}, TypeError, r"output.*'logits'"),
        (lambda: nn.LazyConv2d(3, 3), {}, ValueError, r"lazy.*once"),
        (
            lambda: nn.Conv2d(3, 3, 3, device="meta"),
            {},
            ValueError,
            r"meta device.*Load",
        ),
        (lambda: nn.Conv2d(7, 3, 3), {"preprocess": None}, ValueError, r"7 channels.*identity"),
    ],
)
def test_bad_arguments(
    make: Callable[[], Any], options: dict[str, Any], error: type[Exception], said: str
) -> None:
    net = make()
    with pytest.raises(error, match=said):
        toy_model(net, **options)


def test_names_that_do_not_fit_the_output() -> None:
    model = toy_model(Functional(), categories=["a", "b"])
    with pytest.raises(ValueError, match=r"5 classes, but 2 names"):
        model.predict(noise())


def test_wrong_size_says_what_to_do() -> None:
    model = toy_model(toys.Flattening(), preprocess=None)
    with pytest.raises(RuntimeError, match=r"1, 3, 224, 224.*size"):
        model.predict(noise())


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.randn(2, 3, 8, 8), r"\(2, 3, 8, 8\)"),
        (torch.full((3, 8, 8), float("nan")), "NaN"),
        (torch.randn(4, 8, 8), r"4 channels.*takes 3"),
    ],
)
def test_bad_input_to_identity(image: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        toy_model(Functional(), preprocess="identity").prepare(image)
