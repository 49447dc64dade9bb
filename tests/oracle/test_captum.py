"""The same numbers as Captum 0.9, on four networks, in float32 and float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from tests.oracle.nets import NETS, SMOOTH, distance, model, photo, raw
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.baselines import blank
from xaiwidgets.methods.estimate import Task, last_of

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
# Networks with edges in float32: run as they are written, as another order of arithmetic moves
# units across their edges. Batches of other sizes still may.
AS_WRITTEN = 5e-3
EDGED = tuple(name for name in NETS if name not in SMOOTH)
# Captum holds step sizes and sigmas in float32, so both are chosen to be exact there.
STEPS = 4
SIGMA = 0.5


def _on(edged: tuple[str, ...]) -> pytest.MarkDecorator:
    single = [(name, torch.float32) for name in (*edged, *SMOOTH)]
    return pytest.mark.parametrize(
        ("name", "dtype"),
        [*((name, torch.float64) for name in NETS), *single],
        ids=lambda v: v if isinstance(v, str) else str(v).removeprefix("torch."),
    )


every_net = _on(EDGED)
# GoogLeNet has so many units on the edge that the last bit of a point between two images moves its
# gradient by a percent; its twin without edges, and double precision, tell whether ours is right.
every_net_at_points = _on(tuple(name for name in EDGED if name != "googlenet"))


def _ours(name: str, dtype: torch.dtype, method: str, **params: object) -> tuple[Task, Tensor]:
    precision = "exact" if _as_written(name, dtype) else "fast"
    task = make_task(model(name, dtype), photo(), precision=precision)
    return task, last_of(estimates(task, method, params)).value


def _check(
    name: str,
    dtype: torch.dtype,
    method: str,
    reference: Callable[[nn.Module, Task], Tensor],
    **params: object,
) -> None:
    task, ours = _ours(name, dtype, method, **params)
    tolerance = AS_WRITTEN if _as_written(name, dtype) else TOLERANCE[dtype]
    assert distance(ours, reference(raw(name, dtype), task)) < tolerance


def _as_written(name: str, dtype: torch.dtype) -> bool:
    return dtype == torch.float32 and name in EDGED


def _spread(name: str, dtype: torch.dtype) -> float:
    x = make_task(model(name, dtype), photo()).x
    return float(x.max() - x.min())


@every_net
def test_saliency(name: str, dtype: torch.dtype) -> None:
    def reference(net: nn.Module, task: Task) -> Tensor:
        return captum.attr.Saliency(net).attribute(task.x.clone(), task.target, abs=False)

    _check(name, dtype, "saliency", reference)


@every_net
def test_input_x_gradient(name: str, dtype: torch.dtype) -> None:
    def reference(net: nn.Module, task: Task) -> Tensor:
        return captum.attr.InputXGradient(net).attribute(task.x.clone(), task.target)

    _check(name, dtype, "input_x_gradient", reference)


@pytest.mark.parametrize("baseline", ["black", "blur"])
@every_net_at_points
def test_integrated_gradients(name: str, dtype: torch.dtype, baseline: str) -> None:
    def reference(net: nn.Module, task: Task) -> Tensor:
        start = _filling(task, baseline)
        path = captum.attr.IntegratedGradients(net)
        return path.attribute(
            task.x.clone(),
            start,
            task.target,
            n_steps=STEPS,
            method="riemann_middle",
            internal_batch_size=2,
        )

    _check(
        name,
        dtype,
        "integrated_gradients",
        reference,
        steps=STEPS,
        baseline=baseline,
        grid="uniform",
    )


@pytest.mark.parametrize("form", ["mean", "squared", "variance"])
@every_net_at_points
def test_smoothgrad(
    name: str, dtype: torch.dtype, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"mean": "smoothgrad", "squared": "smoothgrad_sq", "variance": "vargrad"}

    def reference(net: nn.Module, task: Task) -> Tensor:
        monkeypatch.setattr(torch, "normal", _our_noise(task))
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(net))
        return tunnel.attribute(
            task.x.clone(),
            nt_type=kinds[form],
            nt_samples=STEPS,
            stdevs=SIGMA,
            target=task.target,
            abs=False,
        )

    noise = SIGMA / _spread(name, dtype)
    params = {"samples": STEPS, "noise": noise, "form": form}
    _check(name, dtype, "smoothgrad", reference, **params)


@pytest.mark.parametrize("base", ["input_x_gradient", "integrated_gradients"])
def test_smoothgrad_of_another_method(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype = torch.float64

    def reference(net: nn.Module, task: Task) -> Tensor:
        monkeypatch.setattr(torch, "normal", _our_noise(task))
        start = _filling(task, "black")
        if base == "input_x_gradient":
            tunnel = captum.attr.NoiseTunnel(captum.attr.InputXGradient(net))
            more = {}
        else:
            tunnel = captum.attr.NoiseTunnel(captum.attr.IntegratedGradients(net))
            more = {
                "n_steps": STEPS,
                "method": "riemann_middle",
                "baselines": start,
            }
        return tunnel.attribute(
            task.x.clone(), nt_samples=3, stdevs=SIGMA, target=task.target, **more
        )

    name = "efficientnet_lite0"
    params = {"samples": 3, "base": base, "base_steps": STEPS}
    _check(name, dtype, "smoothgrad", reference, noise=SIGMA / _spread(name, dtype), **params)


@pytest.mark.parametrize(
    ("patch", "stride", "fill"), [(112, 112, "black"), (96, 64, "mean"), (100, 70, "blur")]
)
@pytest.mark.parametrize("name", NETS)
def test_occlusion(name: str, patch: int, stride: int, fill: str) -> None:
    def reference(net: nn.Module, task: Task) -> Tensor:
        found = captum.attr.Occlusion(net).attribute(
            task.x,
            (3, patch, patch),
            (3, stride, stride),
            _filling(task, fill),
            task.target,
            perturbations_per_eval=8,
        )
        return found[:, 0]

    params = {"patch_size": patch, "stride": stride, "fill": fill, "score": "logit"}
    _check(name, torch.float32, "occlusion", reference, **params)


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("name", NETS)
def test_occlusion_in_float64(name: str, score: str) -> None:
    """Captum's occlusion rounds to float32, so the reference is a loop over the windows."""
    patch, stride = 90, 70

    def reference(net: nn.Module, task: Task) -> Tensor:
        def value(x: Tensor) -> Tensor:
            with torch.no_grad():
                logits = net(x)[0]
            return (logits if score == "logit" else logits.softmax(0))[task.target]

        total, count = torch.zeros(2, 224, 224, dtype=torch.float64)
        filling = _filling(task, "mean")
        # 0, 70, 140 leave nothing uncovered: 140 + 90 is over the edge.
        for top in (0, 70, 140):
            for left in (0, 70, 140):
                covered = task.x.clone()
                window = (..., slice(top, top + patch), slice(left, left + patch))
                covered[window] = filling[window]
                total[window] += value(task.x) - value(covered)
                count[window] += 1
        return total / count

    params = {"patch_size": patch, "stride": stride, "fill": "mean", "score": score}
    _check(name, torch.float64, "occlusion", reference, **params)


def _our_noise(task: Task) -> Callable[[float, Tensor], Tensor]:
    """The same noise for both: ours, handed to Captum where it draws its own."""
    numbers = itertools.count()
    return lambda mean, std: torch.cat([task.noise(next(numbers)) for _ in std]) * std


def _filling(task: Task, fill: str) -> Tensor:
    return task.model.pixels_to_input(blank(task, fill)).reshape(task.x.shape)
