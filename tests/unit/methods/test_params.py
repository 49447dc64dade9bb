"""Every bad value has its own clear error; every good one comes back clean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from xaiwidgets.methods import registry
from xaiwidgets.methods.params import check_all

BAD = [
    ("integrated_gradients", "steps", 0, ValueError, "from 1 to 512"),
    ("integrated_gradients", "steps", -5, ValueError, "not -5"),
    ("integrated_gradients", "steps", 10**9, ValueError, "from 1 to 512"),
    ("integrated_gradients", "steps", 2.5, ValueError, "a whole number"),
    ("integrated_gradients", "steps", math.nan, ValueError, "not nan"),
    ("integrated_gradients", "steps", "many", TypeError, "not 'many'"),
    ("integrated_gradients", "steps", True, TypeError, "not True"),
    ("integrated_gradients", "baseline", "blck", ValueError, 'Did you mean "black"'),
    ("integrated_gradients", "baseline", 3, TypeError, "or an image"),
    ("smoothgrad", "noise", -0.1, ValueError, "from 0 to 0.5"),
    ("smoothgrad", "noise", math.inf, ValueError, "not inf"),
    ("smoothgrad", "noise", None, TypeError, "not None"),
    ("smoothgrad", "samples", 0, ValueError, "from 1 to 500"),
    ("smoothgrad", "form", "median", ValueError, '"variance"'),
    ("occlusion", "patch_size", 0, ValueError, "(px)"),
    ("occlusion", "stride", -1, ValueError, "from 1 to 128"),
    ("occlusion", "fill", 1.5, ValueError, "gray value"),
    ("occlusion", "fill", math.nan, ValueError, "gray value"),
    ("occlusion", "score", "loss", ValueError, '"logit"'),
    ("grad_cam", "layer", 3, TypeError, "model.layers()"),
    ("grad_cam", "layer", "", TypeError, "the name of a layer"),
]


@pytest.mark.parametrize(("method", "name", "value", "error", "said"), BAD)
def test_bad_value(method: str, name: str, value: Any, error: type, said: str) -> None:
    spec = registry.get(method)
    with pytest.raises(error) as raised:
        check_all(method, spec.parameters, {name: value})
    assert said in str(raised.value)
    assert str(raised.value).startswith(f"{name} must be")


@pytest.mark.parametrize(
    ("method", "name", "value", "clean"),
    [
        ("integrated_gradients", "steps", np.int64(7), 7),
        ("integrated_gradients", "steps", 7.0, 7),
        ("smoothgrad", "noise", 0, 0.0),
        ("smoothgrad", "noise", np.float32(0.5), 0.5),
        ("occlusion", "fill", 0.5, 0.5),
        ("occlusion", "fill", "blur", "blur"),
        ("grad_cam", "layer", None, None),
        ("grad_cam", "layer", "layer4", "layer4"),
    ],
)
def test_good_value(method: str, name: str, value: Any, clean: Any) -> None:
    found = check_all(method, registry.get(method).parameters, {name: value})[name]
    assert found == clean
    assert type(found) is type(clean)


def test_defaults_are_allowed() -> None:
    for spec in registry.methods():
        for parameter in spec.parameters.values():
            assert parameter.check(parameter.default) == parameter.default
            assert parameter.label
            assert parameter.help


def test_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r'no parameter "nose"\. Did you mean "noise"'):
        check_all("smoothgrad", registry.get("smoothgrad").parameters, {"nose": 1})


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean smoothgrad"):
        registry.get("smothgrad")
    with pytest.raises(TypeError, match="by its name"):
        registry.get(3)


def test_a_method_is_found_by_its_title() -> None:
    assert registry.get("Integrated gradients").name == "integrated_gradients"
