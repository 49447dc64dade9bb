"""The same numbers as Captum 0.9, on four networks, in float32 and float64."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from tests.oracle.nets import NETS, distance, double, model, photo, raw
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import Task, last_of

# ReLU and max-pool ties fall the other way under re-ordered arithmetic in float32.
TOLERANCE = {torch.float32: 5e-3, torch.float64: 1e-9}
PRECISIONS = [pytest.param(torch.float32, id="float32"), pytest.param(torch.float64, id="float64")]
every_net = pytest.mark.parametrize("name", NETS)
every_precision = pytest.mark.parametrize("dtype", PRECISIONS)


def _ours(name: str, dtype: torch.dtype, method: str, **params: object) -> tuple[Task, Tensor]:
    task = make_task(model(name, dtype), photo())
    return task, last_of(estimates(task, method, params)).value


def _theirs(name: str, dtype: torch.dtype) -> nn.Module:
    return double(name) if dtype == torch.float64 else raw(name)


def _check(
    name: str,
    dtype: torch.dtype,
    method: str,
    reference: Callable[[nn.Module, Task], Tensor],
    **params: object,
) -> None:
    task, ours = _ours(name, dtype, method, **params)
    assert distance(ours, reference(_theirs(name, dtype), task)) < TOLERANCE[dtype]


@every_precision
@every_net
def test_saliency(name: str, dtype: torch.dtype) -> None:
    def reference(net: nn.Module, task: Task) -> Tensor:
        return captum.attr.Saliency(net).attribute(task.x.clone(), task.target, abs=False)

    _check(name, dtype, "saliency", reference)


@every_precision
@every_net
def test_input_x_gradient(name: str, dtype: torch.dtype) -> None:
    def reference(net: nn.Module, task: Task) -> Tensor:
        return captum.attr.InputXGradient(net).attribute(task.x.clone(), task.target)

    _check(name, dtype, "input_x_gradient", reference)


@pytest.mark.parametrize("baseline", ["black", "blur"])
@every_precision
@every_net
def test_integrated_gradients(name: str, dtype: torch.dtype, baseline: str) -> None:
    from xaiwidgets.methods.baselines import blank

    def reference(net: nn.Module, task: Task) -> Tensor:
        start = task.model.pixels_to_input(blank(task, baseline)).reshape(task.x.shape)
        path = captum.attr.IntegratedGradients(net)
        return path.attribute(
            task.x.clone(),
            start,
            task.target,
            n_steps=6,
            method="riemann_middle",
            internal_batch_size=2,
        )

    _check(name, dtype, "integrated_gradients", reference, steps=6, baseline=baseline)


@pytest.mark.parametrize("form", ["mean", "squared", "variance"])
@every_precision
@every_net
def test_smoothgrad(
    name: str, dtype: torch.dtype, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"mean": "smoothgrad", "squared": "smoothgrad_sq", "variance": "vargrad"}

    def reference(net: nn.Module, task: Task) -> Tensor:
        # The same noise for both: ours, handed to Captum where it draws its own.
        def same(mean: float, std: Tensor) -> Tensor:
            return torch.cat([task.noise(k) for k in range(len(std))]) * std

        monkeypatch.setattr(torch, "normal", same)
        sigma = 0.15 * float(task.x.max() - task.x.min())
        tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(net))
        return tunnel.attribute(
            task.x.clone(),
            nt_type=kinds[form],
            nt_samples=4,
            stdevs=sigma,
            target=task.target,
            abs=False,
        )

    _check(name, dtype, "smoothgrad", reference, samples=4, noise=0.15, form=form)


@pytest.mark.parametrize("base", ["input_x_gradient", "integrated_gradients"])
def test_smoothgrad_of_another_method(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype = torch.float64

    def reference(net: nn.Module, task: Task) -> Tensor:
        def same(mean: float, std: Tensor) -> Tensor:
            return torch.cat([task.noise(k) for k in range(len(std))]) * std

        monkeypatch.setattr(torch, "normal", same)
        sigma = 0.15 * float(task.x.max() - task.x.min())
        start = task.model.pixels_to_input(torch.zeros_like(task.prepared.pixels))
        if base == "input_x_gradient":
            tunnel = captum.attr.NoiseTunnel(captum.attr.InputXGradient(net))
            more = {}
        else:
            tunnel = captum.attr.NoiseTunnel(captum.attr.IntegratedGradients(net))
            more = {
                "n_steps": 3,
                "method": "riemann_middle",
                "baselines": start.reshape(task.x.shape),
            }
        return tunnel.attribute(
            task.x.clone(), nt_samples=3, stdevs=sigma, target=task.target, **more
        )

    _check("efficientnet_lite0", dtype, "smoothgrad", reference, samples=3, base=base, base_steps=3)


@pytest.mark.parametrize(
    ("patch", "stride", "fill"), [(56, 56, "black"), (64, 48, "mean"), (50, 40, "blur")]
)
@every_precision
@every_net
def test_occlusion(name: str, dtype: torch.dtype, patch: int, stride: int, fill: str) -> None:
    from xaiwidgets.methods.baselines import blank

    def reference(net: nn.Module, task: Task) -> Tensor:
        filling = task.model.pixels_to_input(blank(task, fill)).reshape(task.x.shape)
        found = captum.attr.Occlusion(net).attribute(
            task.x,
            (3, patch, patch),
            (3, stride, stride),
            filling,
            task.target,
            perturbations_per_eval=8,
        )
        return found[:, 0]

    _check(
        name,
        dtype,
        "occlusion",
        reference,
        patch_size=patch,
        stride=stride,
        fill=fill,
        score="logit",
    )
