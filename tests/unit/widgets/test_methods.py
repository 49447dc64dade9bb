"""Every method has a widget, made of its signature, that gives what `explain` gives."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import xaiwidgets as xai
from tests.unit.methods.test_invariance import SMALL
from tests.unit.widgets.conftest import PATIENCE, Page
from xaiwidgets.methods.params import Parameter
from xaiwidgets.methods.registry import MethodSpec
from xaiwidgets.runtime.worker import worker
from xaiwidgets.widgets.method import MethodWidget

every_method = pytest.mark.parametrize("spec", xai.methods(), ids=lambda spec: spec.name)
NAMES = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "integrated_gradients": "IntegratedGradients",
    "input_x_gradient": "InputXGradient",
    "kernel_shap": "KernelSHAP",
    "layer_cam": "LayerCAM",
    "layer_ixg": "LayerIxG",
    "lime": "LIME",
    "phang_mask": "PhangMask",
    "vit_cx": "ViTCX",
    "xgrad_cam": "XGradCAM",
}


def small(spec: MethodSpec) -> dict[str, Any]:
    """Parameters of a run that is short; layers are another network's."""
    return {name: value for name, value in SMALL[spec.name][0].items() if name != "layer"}


def changed(parameter: Parameter, value: Any) -> Any:
    """Another value of a parameter, about as expensive."""
    if parameter.kind == "layer":
        return "features"  # CAM takes no earlier one
    if parameter.kind == "flag":
        return not value
    if parameter.kind == "choice":
        return next(option for option in parameter.options if option != value)
    step = parameter.step if value + parameter.step <= parameter.high else -parameter.step
    return value + step


def forged(parameter: Parameter) -> list[Any]:
    if parameter.kind == "layer":
        return ["no such layer", "", 3, [], True]
    if parameter.kind == "flag":
        return [1, "yes", None]
    if parameter.kind == "choice":
        return ["", "__class__", None, "custom", 3.5]
    return [parameter.low - 1, parameter.high + 1, float("nan"), "1", None, True]


def test_names() -> None:
    found = {spec.name: spec.widget for spec in xai.methods()}
    assert {**found, **NAMES} == found
    assert len(set(found.values())) == len(found)
    assert set(found.values()) <= set(dir(xai))


@every_method
def test_class(spec: MethodSpec) -> None:
    made = getattr(xai, spec.widget)
    assert made is getattr(xai, spec.widget)
    assert issubclass(made, MethodWidget)
    assert (made.__name__, made._spec) == (spec.widget, spec)
    traits = made.class_traits()
    assert {name: traits[name].default_value for name in spec.parameters} == {
        name: each.default for name, each in spec.parameters.items()
    }
    # None of them takes the place of what all widgets have.
    assert not set(spec.parameters) & set(dir(MethodWidget))


@every_method
def test_help(spec: MethodSpec) -> None:
    made = getattr(xai, spec.widget)
    text = inspect.getdoc(made) or ""
    for name in spec.parameters:
        assert f"\n    {name}: " in text
    assert text.endswith(f"{spec.paper}. {spec.url}")
    assert max(map(len, text.splitlines()[:-1])) <= 104
    arguments = inspect.signature(made).parameters
    named = ["model", "image", "target", "seed", *spec.parameters]
    assert list(arguments) == [*named, *made._local]
    assert {name: arguments[name].default for name in spec.parameters} == {
        name: each.default for name, each in spec.parameters.items()
    }


@every_method
def test_widget(spec: MethodSpec, model: Any, photo: Any, page: Page, made: Any) -> None:
    given = small(spec)
    widget = made(getattr(xai, spec.widget)(model, photo, "lynx", **given))
    widget.wait(PATIENCE)
    same(widget, xai.explain(model, photo, spec.name, "lynx", **given))
    assert widget._title == spec.title
    assert widget._paper == {"text": spec.paper, "url": spec.url}
    assert [each["name"] for each in widget._params] == list(spec.parameters)

    # A change runs it again.
    for name, parameter in list(spec.parameters.items())[:1]:
        given[name] = changed(parameter, getattr(widget, name))
        page.set(widget, **{name: given[name]})
    widget.target = "tiger"
    widget.wait(PATIENCE)
    same(widget, xai.explain(model, photo, spec.name, "tiger", **given))

    # What is not allowed is refused, and put right on the page.
    before = widget._result_info
    for name, parameter in spec.parameters.items():
        for value in forged(parameter):
            kept, widget.error = getattr(widget, name), ""
            page.set(widget, **{name: value})
            assert widget.error, (name, value)
            assert getattr(widget, name) is kept or getattr(widget, name) == kept
    widget.wait(PATIENCE)
    assert widget._result_info == before

    widget.close()
    assert not worker().busy(widget)
    assert widget.comm is None
    assert widget.result.params == {**widget.result.params, **given}


def same(widget: Any, expected: Any) -> None:
    """The widget's result is that of the call."""
    found = widget.result
    # The last digits hang on the batch size, which is measured.
    digits = 1e-6 * float(np.abs(expected.attribution).max())
    np.testing.assert_allclose(found.attribution, expected.attribution, rtol=0, atol=digits)
    assert (found.params, found.target) == (expected.params, expected.target)
    # How the numbers were come by is the clock's business.
    for each in (found, expected):
        for key in ("incremental", "multiply_adds_saved"):
            each.diagnostics.pop(key, None)
    assert found.diagnostics == pytest.approx(expected.diagnostics, rel=1e-6, abs=1e-7)
    assert widget._result == found.heatmap.astype("<f4").tobytes()
    assert (widget.status, widget.error) == ("idle", "")


def test_layers_are_told(model: Any, photo: Any, page: Page, made: Any) -> None:
    widget = made(xai.GradCAM(model, photo))
    widget.wait(PATIENCE)
    told = {each["name"]: each["place"] for each in widget._layers}
    # The block and the last one inside of it are the same map; the head has none.
    expected = {"features": 3, "head": None, **{f"features.{i}": i for i in range(4)}}
    assert {name: told[name] for name in expected} == expected
    assert widget._extra_info == {"layer": "features", "size": "6 × 5"}
    page.set(widget, layer="features.1")
    widget.wait(PATIENCE)
    assert widget._extra_info == {"layer": "features.1", "size": "12 × 10"}
    assert made(xai.Saliency(model, photo))._layers == []


def test_layer_that_is_not_there(model: Any, photo: Any, made: Any) -> None:
    with pytest.raises(ValueError, match=r"There is no layer \"features.9\".*features.0"):
        xai.GradCAM(model, photo, layer="features.9")
    # One that is there, but is no map of the photo: told where the picture would be.
    widget = made(xai.GradCAM(model, photo, layer="head"))
    with pytest.raises(RuntimeError, match='Layer "head" cannot be shown on the photo'):
        widget.wait(PATIENCE)
    assert widget.status == "error"
    assert 'Layer "head"' in widget.error
    widget.layer = None
    widget.wait(PATIENCE)
    assert (widget.status, widget.error) == ("idle", "")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("GradCam", "GradCAM"), ("gradcam", "GradCAM"), ("Lime", "LIME"), ("explan", "explain")],
)
def test_wrong_name(wrong: str, right: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{wrong}'. Did you mean .*{right}"):
        getattr(xai, wrong)


def test_plain_wrong_name() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'qqqqqq'$"):
        xai.qqqqqq  # noqa: B018
    assert not hasattr(xai, "__wrapped__")
