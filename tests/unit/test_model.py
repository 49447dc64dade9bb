"""`Model`: the user's network stays as it is, ours gives the same answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from tests import toys
from tests.toys import (
    CLASSES,
    PREPROCESS,
    SIDE,
    Functional,
    assert_untouched,
    noise,
    snapshot,
    toy_model,
)
from xaiwidgets.engine.gradients import gradient
from xaiwidgets.model import Model

VARIANTS = [
    toys.Functional,
    toys.Reused,
    toys.InPlace,
    toys.Dropped,
    toys.WritesInput,
    toys.Residual,
    toys.Flattening,
]


def _reference(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of class 1, by plain autograd on a network in evaluation mode."""
    leaf = x.clone().requires_grad_(True)
    logits = net.eval()(leaf.clone())
    (found,) = torch.autograd.grad(logits[:, 1].sum(), leaf)
    return logits.detach(), found


@pytest.mark.parametrize("kind", VARIANTS)
def test_same_answers_as_the_plain_network(kind: Callable[[], nn.Module]) -> None:
    model, net = toy_model(kind().train()), kind()
    x = model.prepare(noise()).input
    kept = x.clone()
    for exact in (True, False):
        found, logits = gradient(model, x, lambda scores: scores[:, 1], exact=exact)
        expected_logits, expected = _reference(net, x)
        torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, kept)


def test_ways_to_write_an_activation_agree() -> None:
    answers = []
    for kind in (toys.Functional, toys.Reused, toys.InPlace):
        model = toy_model(kind())
        x = model.prepare(noise()).input
        answers.append(gradient(model, x, lambda scores: scores[:, 2])[0])
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[0], answers[2])


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_network_is_untouched(kind: Callable[[], nn.Module]) -> None:
    net = kind().train()
    net.register_forward_hook(lambda *_: None)
    next(net.parameters()).requires_grad_(False)
    net.train()(torch.randn(2, 3, SIDE, SIDE)).sum().backward()
    before = snapshot(net)
    model = toy_model(net)
    model.predict(noise())
    model.layers()
    gradient(model, model.prepare(noise()).input, lambda scores: scores[:, 0])
    assert_untouched(net, before)


def test_untouched_when_building_fails() -> None:
    net = Functional().train()
    net.lock = threading.Lock()
    before = snapshot(net)
    with pytest.raises(TypeError, match=r"cannot be copied.*lock"):
        toy_model(net)
    assert_untouched(net, before)


def test_untouched_when_running_fails() -> None:
    net = toys.Raising().train()
    before = snapshot(net)
    model = toy_model(net)
    for run in (lambda: model.predict(noise()), model.layers):
        with pytest.raises(KeyError, match="half-way"):
            run()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.net.modules())
    assert_untouched(net, before)


def test_the_copy_is_prepared() -> None:
    model = toy_model(Functional().train())
    assert not any(module.training for module in model.net.modules())
    assert not any(p.requires_grad or p.grad is not None for p in model.net.parameters())
    assert model.memory_format is torch.channels_last
    assert model.net.first.weight.is_contiguous(memory_format=torch.channels_last)
    kinds = {type(module) for module in model.fast.modules()}
    assert nn.BatchNorm2d not in kinds
    assert model.fast is model.fast


def test_a_view_that_channels_last_breaks() -> None:
    model = toy_model(toys.Flattening())
    model.predict(noise())
    assert model.memory_format is torch.contiguous_format


def test_first_use_in_inference_mode_leaves_gradients_possible() -> None:
    with torch.inference_mode():
        model = toy_model(Functional())
        prepared = model.prepare(noise())
        model.logits(prepared.input)
        model.layers()
    found, _ = gradient(model, prepared.input, lambda scores: scores[:, 0])
    assert bool(found.abs().sum() > 0)


def test_stored_activations_do_not_hinder() -> None:
    net = Functional()
    net.activations = [net.first(torch.randn(1, 3, 8, 8))]
    net.last = net.activations[0] * 2
    assert len(toy_model(net).predict(noise())) == CLASSES
    assert net.last.grad_fn is not None


def test_backward_hooks_of_the_user_stay_with_the_user() -> None:
    net, seen = toys.InPlace(), []
    net.first.register_full_backward_hook(lambda *_: seen.append(1))
    model = toy_model(net)
    gradient(model, model.prepare(noise()).input, lambda scores: scores[:, 0], exact=True)
    assert seen == []
    assert len(net.first._backward_hooks) == 1


def test_compiled_and_parallel_wrappers() -> None:
    plain = toy_model(Functional()).predict(noise())
    for net in (torch.compile(Functional()), nn.DataParallel(Functional())):
        assert toy_model(net).predict(noise()) == plain


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_scripted() -> None:
    scripted = torch.jit.trace(Functional().eval(), torch.rand(1, 3, SIDE, SIDE))
    model = toy_model(scripted)
    x = model.prepare(noise()).input
    found, _ = gradient(model, x, lambda scores: scores[:, 1])
    torch.testing.assert_close(found, _reference(Functional(), x)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_a_cpu(dtype: torch.dtype) -> None:
    net = Functional().to(dtype)
    model = toy_model(net)
    assert model.dtype == torch.float32
    assert f"{dtype}".removeprefix("torch.") in repr(model)
    assert next(net.parameters()).dtype == dtype
    assert len(model.predict(noise())) == CLASSES


def test_double_precision() -> None:
    assert toy_model(Functional().double()).dtype == torch.float64
    model = toy_model(Functional(), dtype=torch.float64)
    assert model.logits(model.prepare(noise()).input).dtype == torch.float64


def test_a_copy_that_shares_weights_is_refused() -> None:
    class Selfish(Functional):
        def __deepcopy__(self, memo: Any) -> Selfish:
            return self

    net = Selfish().train()
    before = snapshot(net)
    with pytest.raises(TypeError, match=r"__deepcopy__.*shares"):
        toy_model(net)
    assert_untouched(net, before)


def test_gray() -> None:
    model = Model(Functional(1), device="cpu")
    assert model.channels == 1
    prepared = model.prepare(noise())
    assert prepared.pixels.shape == (1, 224, 224)
    torch.testing.assert_close(prepared.input[0], (prepared.pixels - 0.449) / 0.226)
    assert len(model.predict(xai.photo("cat"))) == CLASSES


def test_identity_feeds_tensors_as_they_are() -> None:
    model = toy_model(Functional(), preprocess="identity")
    given = torch.randn(3, 11, 13)
    prepared = model.prepare(given)
    assert torch.equal(prepared.input[0], given)
    assert torch.equal(model.pixels_to_input(prepared.pixels), given)
    assert model.size == (11, 13)


def test_pixels_and_inputs_go_back_and_forth() -> None:
    model = toy_model(Functional())
    prepared = model.prepare(noise())
    assert prepared.pixels.dtype == torch.float32
    torch.testing.assert_close(model.pixels_to_input(prepared.pixels), prepared.input[0])
    torch.testing.assert_close(model.input_to_pixels(prepared.input)[0], prepared.pixels)
    mean, std = torch.tensor(PREPROCESS["mean"]), torch.tensor(PREPROCESS["std"])
    torch.testing.assert_close(model.pixels_to_input(torch.zeros(3, 2, 2))[:, 0, 0], -mean / std)


def test_predictions() -> None:
    names = ["ant", "bee", "cat", "dog", "eel"]
    found = toy_model(Functional(), categories=names).predict(noise(), k=99)
    assert sorted(p.name for p in found) == names
    assert [p.probability for p in found] == sorted((p.probability for p in found), reverse=True)
    assert sum(p.probability for p in found) == pytest.approx(1)
    assert all(p.name == names[p.index] for p in found)
    assert toy_model(Functional()).predict(noise(), 1)[0].name.startswith("class ")
    with pytest.raises(ValueError, match="k must be a whole number"):
        toy_model(Functional()).predict(noise(), 0)


def test_target_none_is_the_top_class() -> None:
    model = toy_model(Functional(), categories=["ant", "bee", "cat", "dog", "eel"])
    logits = model.logits(model.prepare(noise()).input)
    assert model.resolve_target(None, logits[0]) == int(logits.argmax())
    assert model.resolve_target("dog", logits) == 3
    assert model.category(3) == "dog"


def test_repr_tells_what_matters() -> None:
    told = repr(Model(Functional(), device="cpu", name="tiny", categories=["a"] * CLASSES))
    for part in ("tiny", "parameters", "5 named classes", "float32 on cpu", "resize to 256", "224"):
        assert part in told


def test_first_use_from_many_threads() -> None:
    model = toy_model(toys.InPlace())
    x = model.prepare(noise()).input
    start, found, nets = threading.Barrier(4), [], set()

    def use() -> None:
        start.wait()
        nets.add(id(model.fast))
        found.append(model.logits(x))
        model.layers()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(nets) == 1
    assert len(found) == 4
    for each in found:
        assert torch.equal(each, found[0])


def test_layer_by_name() -> None:
    model = toy_model(toys.Residual())
    assert model.layer("gate.1") is model.net.gate[1]
    with pytest.raises(ValueError, match=r'no layer "secnd".*second'):
        model.layer("secnd")
    with pytest.raises(ValueError, match="no layer"):
        model.layer("")
    with pytest.raises(TypeError, match="not by 3"):
        model.layer(3)  # type: ignore[arg-type]
