"""What the widgets compute is what `explain` computes."""

from typing import Any

import numpy as np
import pytest

import xaiwidgets as xai
from tests.unit.widgets.conftest import CLASSES, PATIENCE
from xaiwidgets.widgets.deep_dream import DeepDream
from xaiwidgets.widgets.integrated_gradients import IntegratedGradients
from xaiwidgets.widgets.occlusion import Occlusion
from xaiwidgets.widgets.smoothgrad import SmoothGrad

ATTRIBUTIONS = [
    (IntegratedGradients, {"steps": 9}),
    (SmoothGrad, {"noise": 0.2, "samples": 7}),
    (Occlusion, {"patch_size": 6, "stride": 3}),
]


@pytest.mark.parametrize(("kind", "params"), ATTRIBUTIONS)
@pytest.mark.parametrize("by_slider", [False, True])
def test_same_numbers_as_explain(
    model: Any, photo: Any, page: Any, made: Any, kind: Any, params: dict[str, Any], by_slider: bool
) -> None:
    if by_slider:
        widget = made(kind(model, photo, "lynx"))
        page.set(widget, **params)
    else:
        widget = made(kind(model, photo, "lynx", **params))
    widget.wait(PATIENCE)
    expected = xai.explain(model, photo, widget._kind, "lynx", **params)
    found = widget.result
    assert type(found) is type(expected)
    np.testing.assert_array_equal(found.attribution, expected.attribution)
    assert found.params == expected.params
    assert (found.target, found.category, found.score) == (2, "lynx", expected.score)
    # How the numbers were come by is the clock's business.
    for each in (found, expected):
        for key in ("incremental", "multiply_adds_saved"):
            each.diagnostics.pop(key, None)
    assert found.diagnostics == expected.diagnostics
    assert widget._result == expected.heatmap.astype("<f4").tobytes()
    info = widget._result_info
    assert info["shape"] == [24, 20]
    assert info["category"] == "lynx"
    assert info["done"] == info["total"] > 0
    assert (widget.status, widget.error, widget.progress) == ("idle", "", 1.0)


def test_photo_class_and_parameters_are_told_to_the_page(model: Any, photo: Any, made: Any) -> None:
    widget = made(SmoothGrad(model, photo))
    best = model.predict(photo, 5)
    assert widget.target == best[0].index
    assert [each["name"] for each in widget._top] == [each.name for each in best]
    assert widget._target_info["probability"] == pytest.approx(best[0].probability)
    assert widget._categories == CLASSES
    assert widget._photo.startswith(b"\x89PNG")
    assert [each["name"] for each in widget._params][:2] == ["noise", "samples"]
    assert {len(table) for table in widget._colormaps.values()} == {768}
    assert list(widget._colormaps) == [
        *("viridis", "magma", "cividis", "inferno", "gray"),
        *("RdBu_r", "coolwarm", "PuOr_r"),
    ]


def test_path_of_integrated_gradients(model: Any, photo: Any, page: Any, made: Any) -> None:
    widget = made(IntegratedGradients(model, photo, steps=20, grid="uniform"))
    widget.wait(PATIENCE)
    page.join(widget)
    paths, buffers = page.custom("path"), page.custom_buffers("path")
    generation = widget._result_info["generation"]
    assert {path["gen"] for path in paths} == {generation}
    integrands = np.zeros((20, 24, 20))
    for path, (_, steps, *_) in zip(paths[-1:], buffers[-1:], strict=True):
        assert sorted(path["indices"]) == list(range(20))
        assert path["baseline"]
        maps = np.frombuffer(steps, np.int8).reshape(-1, *path["shape"])
        scales = np.asarray(path["integrand_scales"])[:, None, None]
        integrands[path["indices"]] = maps * scales / 127
    gathered = integrands.mean(0)
    heat = widget.result.heatmap
    assert np.abs(gathered - heat).max() < 0.01 * np.abs(integrands).max()
    info = widget._extra_info
    assert info["alphas"] == [(i + 0.5) / 20 for i in range(20)]
    assert len(info["scores"]) == len(info["probabilities"]) == 20
    assert info["score_photo"] - info["score_baseline"] == pytest.approx(
        heat.sum() - info["completeness_gap"], abs=1e-4
    )
    assert widget._extra.startswith(b"\x89PNG")


def test_a_picture_comes_before_the_path_is_probed(
    model: Any, photo: Any, page: Any, made: Any
) -> None:
    widget = made(IntegratedGradients(model, photo, steps=20, grid="adaptive"))
    widget.wait(PATIENCE)
    page.join(widget)
    assert {path["gen"] for path in page.custom("path")} == {widget._result_info["generation"]}
    widget.steps = 21
    widget.wait(PATIENCE)
    generation = widget._result_info["generation"]
    paths = [path for path in page.custom("path") if path["gen"] == generation]
    assert {index for path in paths for index in path["indices"]} == set(range(21))
    (begun,) = (path for path in paths if "alphas" in path)
    assert begun["alphas"] == pytest.approx(widget._extra_info["alphas"])
    assert sum(begun["weights"]) == pytest.approx(1)
    first = next(found for found in page.custom("map") if found["gen"] == generation)
    assert (first["stage"], first["done"]) == ("preview", 0)


def test_alpha_changes_no_result(net: Any, model: Any, photo: Any, page: Any, made: Any) -> None:
    widget = made(IntegratedGradients(model, photo, steps=4, alpha=0.25))
    widget.wait(PATIENCE)
    rows, generation = net.control.rows, widget._result_info["generation"]
    widget.alpha = 0.5
    page.set(widget, alpha=0.75)
    widget.wait(PATIENCE)
    assert (widget.alpha, net.control.rows) == (0.75, rows)
    assert widget._result_info["generation"] == generation


def test_occlusion_tells_scores_of_the_top_classes(model: Any, photo: Any, made: Any) -> None:
    widget = made(Occlusion(model, photo, patch_size=8, stride=4, fill="black"))
    widget.wait(PATIENCE)
    info, raw = widget._extra_info, widget._extra
    count = info["rows"] * info["cols"]
    assert info["names"] == [each["name"] for each in widget._top]
    assert info["fill_rgb"] == [0, 0, 0]
    covered = np.frombuffer(raw, "<f4", count * 5).reshape(info["rows"], info["cols"], 5)
    winners = np.frombuffer(raw, "<i4", count, count * 5 * 4)
    best = np.frombuffer(raw, "<f4", count, count * 6 * 4)
    heat = np.frombuffer(raw, "<f4", 24 * 20, count * 7 * 4)
    assert len(raw) == count * 28 + 24 * 20 * 4
    assert set(winners) <= set(range(7))
    assert (best >= covered.reshape(count, 5).max(1) - 1e-6).all()
    clean = info["clean"][0]
    np.testing.assert_allclose(clean - heat, widget.result.heatmap.ravel(), atol=1e-5)


def test_occlusion_of_another_class_runs_nothing(
    net: Any, model: Any, photo: Any, made: Any
) -> None:
    widget = made(Occlusion(model, photo, 0, patch_size=8, stride=4))
    widget.wait(PATIENCE)
    rows = net.control.rows
    widget.target = "lynx"
    widget.wait(PATIENCE)
    assert net.control.rows == rows
    assert widget._result_info["cached"]
    expected = xai.explain(model, photo, "occlusion", "lynx", patch_size=8, stride=4)
    np.testing.assert_allclose(widget.result.attribution, expected.attribution, atol=1e-6)


def test_values_visited_before_come_back_at_once(
    net: Any, model: Any, photo: Any, page: Any, made: Any
) -> None:
    widget = made(IntegratedGradients(model, photo, steps=4))
    widget.wait(PATIENCE)
    first = widget.result
    widget.steps = 6
    widget.wait(PATIENCE)
    assert not widget._result_info["cached"]
    rows = net.control.rows
    page.set(widget, steps=4)
    widget.wait(PATIENCE)
    assert net.control.rows == rows
    assert widget.result is first
    assert widget._result_info["cached"]
    page.join(widget)
    path = page.custom("path")[-1]
    assert (path["steps"], sorted(path["indices"])) == (4, [0, 1, 2, 3])
    assert path["gen"] == widget._result_info["generation"]


def test_strip_of_noise_levels(model: Any, photo: Any, page: Any, made: Any) -> None:
    widget = made(SmoothGrad(model, photo, samples=4, noise=0.1))
    widget.wait(PATIENCE)
    page.join(widget)
    page.send(widget, {"kind": "action", "name": "strip"})
    widget.wait(PATIENCE)
    strip, buffers = page.custom("strip"), page.custom_buffers("strip")
    assert [message["index"] for message in strip] == list(range(6))
    assert [message["level"] for message in strip] == [0, 0.05, 0.1, 0.2, 0.3, 0.5]
    assert bytes(buffers[2][0]) == widget._result
    expected = xai.explain(model, photo, "smoothgrad", samples=4, noise=0.5)
    assert bytes(buffers[5][0]) == expected.heatmap.tobytes()
    assert widget.status == "idle"
    page.send(widget, {"kind": "ready"})
    assert len(page.custom("strip")) == 12


def dream(model: Any, photo: Any, **params: Any) -> DeepDream:
    return DeepDream(model, photo, **{"size": 64, "octaves": 2, "jitter": 4, **params})


def test_dream_equals_deep_dream_and_goes_on(
    net: Any, model: Any, photo: Any, page: Any, made: Any
) -> None:
    widget = made(dream(model, photo, iterations=5))
    widget.wait(PATIENCE)
    short = widget.result
    rows = net.control.rows
    page.set(widget, iterations=12)
    widget.wait(PATIENCE)
    assert net.control.rows - rows <= 7
    whole = xai.deep_dream(model, photo, iterations=12, size=64, octaves=2, jitter=4)
    np.testing.assert_array_equal(widget.result.image, whole.image)
    np.testing.assert_array_equal(widget.result.objective, whole.objective)
    rows = net.control.rows
    page.set(widget, iterations=5)
    widget.wait(PATIENCE)
    assert net.control.rows == rows
    np.testing.assert_array_equal(widget.result.image, short.image)
    assert widget._extra_info["iterations_done"] == 12
    assert widget._result_info["generation"] == 1


def test_dream_streams_frames_and_tells_them_again(
    model: Any, photo: Any, page: Any, made: Any
) -> None:
    widget = made(dream(model, photo, iterations=6))
    page.join(widget)
    widget.wait(PATIENCE)
    assert {frame["iteration"] for frame in page.custom("frame")} == set(range(7))
    page.messages.clear()
    page.send(widget, {"kind": "ready"})
    assert sorted(frame["iteration"] for frame in page.custom("frame")) == list(range(7))
    assert {frame["gen"] for frame in page.custom("frame")} == {1}
    widget.channel = 2
    widget.wait(PATIENCE)
    assert page.custom("frame")[-1]["gen"] == 2
    assert widget._extra_info["channel"] == 2


def test_dream_pauses_and_resumes(net: Any, model: Any, photo: Any, page: Any, made: Any) -> None:
    widget = made(dream(model, photo, iterations=1))
    widget.wait(PATIENCE)
    with net.control.hold() as held:
        widget.iterations = 9
        held.until_entered()
        page.set(widget, paused=True)
    widget.wait(PATIENCE)
    assert (widget.status, widget._extra_info["iterations_done"]) == ("idle", 2)
    assert widget._extra_info["paused"]
    assert len(widget.result.objective) == 2
    page.send(widget, {"kind": "action", "name": "resume"})
    widget.wait(PATIENCE)
    assert not widget.paused
    whole = xai.deep_dream(model, photo, iterations=9, size=64, octaves=2, jitter=4)
    np.testing.assert_array_equal(widget.result.image, whole.image)


def test_dream_layers(model: Any, photo: Any, page: Any, made: Any) -> None:
    widget = made(dream(model, photo, iterations=1, layer="features.0", channel=5))
    assert [each["name"] for each in widget._layers][:2] == ["features", "features.0"]
    with pytest.raises(ValueError, match="0 to 5"):
        widget.channel = 6
    with pytest.raises(ValueError, match=r"features\.2"):
        widget.layer = "features.22"
    page.set(widget, channel=7, layer="features.2")
    widget.wait(PATIENCE)
    assert (widget.layer, widget.channel, widget.error) == ("features.2", 7, "")
    widget.layer = "features.0"
    widget.wait(PATIENCE)
    assert widget.channel is None
    page.set(widget, channel=99)
    assert "99" in widget.error
    assert widget.channel is None
    widget.layer = None
    widget.wait(PATIENCE)
    with pytest.raises(TypeError, match="no target"):
        widget.target = 3


def test_a_model_of_another_precision(model: Any, photo: Any, page: Any, made: Any) -> None:
    narrow = model.precise("bf16")
    widget = made(SmoothGrad(narrow, photo, "lynx", samples=5))
    widget.wait(PATIENCE)
    expected = xai.explain(model, photo, "smoothgrad", "lynx", samples=5, precision="bf16")
    np.testing.assert_array_equal(widget.result.attribution, expected.attribution)
    told = widget._result_info["diagnostics"]
    assert told["precision_error"] == expected.diagnostics["precision_error"] > 0
    assert told["precision_error_gradient"] == expected.diagnostics["precision_error_gradient"]
