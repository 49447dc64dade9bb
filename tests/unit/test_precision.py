"""`precision`: what each turns on and off, what it refuses, and that its error is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaiwidgets as xai
from tests.toys import (
    CLASSES,
    Functional,
    Output,
    Residual,
    Returning,
    Trunk,
    assert_untouched,
    in_map,
    noise,
    snapshot,
    toy_model,
)
from xaiwidgets.engine import precision as engine
from xaiwidgets.engine.gradients import gradient
from xaiwidgets.engine.passes import Pass
from xaiwidgets.engine.precision import check_precision, tf32
from xaiwidgets.engine.ways import Newest
from xaiwidgets.explanation import make_task
from xaiwidgets.methods.rounding import precision_error
from xaiwidgets.model import Model

CUDA = torch.device("cuda")
CPU = torch.device("cpu")
PATIENCE = 60.0

# --- what there is, and where


@pytest.mark.parametrize("given", ["half", "FAST", None, True, 16])
def test_other_precisions(given: Any) -> None:
    with pytest.raises(ValueError, match=r'must be "fast", "exact", "tf32" or "bf16", not'):
        toy_model(Functional()).precise(given)


@pytest.mark.parametrize("call", [xai.explain, xai.explaining, xai.compare])
def test_every_call_refuses_it_before_it_works(call: Any) -> None:
    model = toy_model(Functional())
    with pytest.raises(ValueError, match=r'precision="tf32" is arithmetic of NVIDIA GPUs; on cpu'):
        call(model, noise(), "saliency", precision="tf32")
    with pytest.raises(ValueError, match="precision must be"):
        call(model, noise(), "saliency", precision="half")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_only_float32_is_rounded(precision: str, dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"this network is {name}.*dtype=torch\.float32"):
        check_precision(precision, CUDA, dtype)
    for plain in ("fast", "exact"):
        check_precision(plain, CUDA, dtype)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_which_gpus(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old Card")
    for capability in ((8, 0), (9, 0), (12, 1)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        check_precision(precision, CUDA, torch.float32)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(ValueError, match=r"8\.0 \(Ampere\) or newer; Old Card is older"):
        check_precision(precision, CUDA, torch.float32)


def test_a_model_of_another_precision() -> None:
    model = toy_model(Functional())
    assert model.precision == "fast"
    assert model.precise("fast") is model
    narrow = model.precise("bf16")
    assert (narrow.precision, model.precision) == ("bf16", "fast")
    assert narrow.precise("fast") is model
    assert narrow.precise("exact").precision == "exact"
    assert narrow.fast is model.fast
    assert 'precision "bf16"' in repr(narrow)
    assert "precision" not in repr(model)
    # What was measured for one is kept for it, and is no other one's.
    assert model.precise("bf16").batcher("forward") is narrow.batcher("forward")
    assert narrow.batcher("forward") is not model.batcher("forward")
    assert model.precise("exact").net is model.precise("exact").net


def test_the_size_follows_the_photo_in_every_precision() -> None:
    model = toy_model(Functional(), preprocess="identity")
    xai.explain(model, torch.rand(3, 12, 10), "saliency", precision="exact")
    assert model.size == model.precise("bf16").size == (12, 10)


# --- "exact": no folding, no channels_last


class Spied(Functional):
    """Notes how everything lies in memory when the second convolution runs, and its gradient."""

    def __init__(self, seen: list[bool]) -> None:
        super().__init__()
        self.second.register_forward_hook(Spy(seen))


class Spy:
    def __init__(self, seen: list[bool]) -> None:
        self.seen = seen

    def __deepcopy__(self, memo: Any) -> Spy:
        return self

    def __call__(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self.seen += [_plain(inputs[0]), _plain(module.weight), _plain(output)]
        if output.requires_grad:
            output.register_hook(lambda found: self.seen.append(_plain(found)))


def _plain(tensor: Tensor) -> bool:
    return tensor.is_contiguous()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("saliency", {}),
        ("smoothgrad", {"samples": 3}),
        ("rise", {"masks": 3}),
        ("occlusion", {"patch_size": 5, "stride": 5}),
        ("grad_cam", {}),
        ("ablation_cam", {"layer": "norm"}),
        ("guided_backprop", {}),
        ("deeplift", {}),
        ("perceptual_ball", {"iterations": 2}),
    ],
)
def test_exact_turns_both_off(method: str, params: dict[str, Any]) -> None:
    seen: list[bool] = []
    model = toy_model(Spied(seen))
    xai.explain(model, noise(), method, precision="fast", **params)
    assert seen
    assert not all(seen)
    folds: list[str] = []
    for name, net in (("net", model.precise("exact").net), ("fast", model.fast)):
        net.norm.register_forward_hook(lambda *_, name=name: folds.append(name))  # type: ignore[union-attr]
    seen.clear()
    xai.explain(model, noise(), method, precision="exact", **params)
    assert seen
    assert all(seen)
    assert set(folds) == {"net"}
    seen.clear()
    model.predict(noise())
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("kind", [Functional, Residual])
def test_exact_is_the_network_as_it_is_written_bit_for_bit(kind: type[Trunk]) -> None:
    net = kind().train()
    before = snapshot(net)
    model = toy_model(net)
    exact = model.precise("exact")
    x = exact.prepare(noise()).input.repeat(3, 1, 1, 1)
    found, logits = gradient(exact, x, lambda scores: scores[:, 1], exact=True)
    assert_untouched(net, before)
    leaf = x.clone().requires_grad_(True)
    expected = kind().eval()(leaf)
    assert torch.equal(logits, expected.detach())
    assert torch.equal(found, torch.autograd.grad(expected[:, 1].sum(), leaf)[0])
    assert torch.equal(exact.logits(x), logits)
    assert not torch.equal(model.logits(x), logits)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_exact_of_a_script() -> None:
    scripted = torch.jit.trace(Functional().eval(), torch.rand(1, 3, 16, 16))
    model = toy_model(scripted)
    x = model.prepare(noise()).input
    expected = Functional().eval()(x)
    assert torch.equal(model.precise("exact").logits(x), expected)
    # Of a script the convolutions do not show, so it is never laid out in channels_last.
    assert model.precise("exact").net is model.net


def test_exact_shares_what_stays_the_same() -> None:
    model = toy_model(Functional())
    ours, plain = dict(model.net.named_parameters()), model.precise("exact").net
    for name, tensor in plain.named_parameters():
        assert torch.equal(tensor, ours[name])
        assert (tensor is ours[name]) == (tensor.ndim != 4)
        assert not tensor.requires_grad
    assert list(dict(plain.named_buffers())) == list(dict(model.net.named_buffers()))


def test_tied_weights_stay_tied() -> None:
    class Tied(Functional):
        def __init__(self) -> None:
            super().__init__()
            self.third = nn.Conv2d(8, 8, 3, padding=1)
            self.third.weight = self.second.weight

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.third(self.first(x)).mean((2, 3))[:, :CLASSES]

    plain = toy_model(Tied()).precise("exact").net
    assert plain.second.weight is plain.third.weight


def test_hooks_that_methods_hang_on_the_network_stay_there() -> None:
    """Another thread may be in the middle of a method when "exact" is first asked for."""
    model = toy_model(Functional())
    calls: list[int] = []
    handle = model.net.register_forward_hook(lambda *_: calls.append(1))
    exact = model.precise("exact")
    exact.predict(noise())
    handle.remove()
    assert calls == []


def test_exact_from_many_threads() -> None:
    model, start = toy_model(Functional()), threading.Barrier(4)
    nets = []

    def ask() -> None:
        start.wait(PATIENCE)
        nets.append(model.precise("exact").net)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(nets) == 4
    assert len(set(map(id, nets))) == 1


# --- TF32: switches of the whole process


def _switches() -> list[Any]:
    return [value for *_, value in engine._readable(engine._switches())]


def _state() -> list[Any]:
    """Every switch, with a mark for those that torch refuses to read."""
    found: list[Any] = []
    for owner, name, _ in engine._switches():
        try:
            found.append(getattr(owner, name))
        except RuntimeError:
            found.append("unreadable")
    return found


ALL_ON, ALL_OFF = ({True, "tf32"}, {False, "ieee"})


@pytest.fixture(params=["default", "old names", "new names", "mixed"])
def environment(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """The user's switches; they must stand again as they did."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    new = hasattr(matmul, "fp32_precision")
    try:
        if request.param == "old names":
            matmul.allow_tf32, cudnn.allow_tf32 = True, False
        elif request.param == "new names" and new:
            matmul.fp32_precision = cudnn.conv.fp32_precision = "ieee"
        elif request.param == "mixed" and new:
            matmul.allow_tf32 = cudnn.allow_tf32 = False
            matmul.fp32_precision = cudnn.conv.fp32_precision = "tf32"
        yield _state()
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = False, True


def test_switches_are_turned_and_put_back(environment: list[Any]) -> None:
    with tf32(True):
        assert set(_switches()) <= ALL_ON
        with tf32(False):
            assert set(_switches()) <= ALL_OFF
        assert set(_switches()) <= ALL_ON
    assert _state() == environment
    with pytest.raises(ZeroDivisionError), tf32(False):
        raise ZeroDivisionError
    assert _state() == environment


def test_runs_in_two_threads_wait_for_one_another(environment: list[Any]) -> None:
    inside, told = threading.Event(), threading.Event()
    seen: list[set[Any]] = []

    def other() -> None:
        told.set()
        with tf32(False):
            seen.append(set(_switches()))
            inside.set()

    thread = threading.Thread(target=other)
    with tf32(True):
        thread.start()
        assert told.wait(PATIENCE)
        assert not inside.is_set()
        assert set(_switches()) <= ALL_ON
    assert inside.wait(PATIENCE)
    thread.join()
    assert seen[0] <= ALL_OFF
    assert _state() == environment


class Watched(Functional):
    """Notes how the switches stand on the way there and on the way back."""

    def __init__(self, seen: dict[str, list[Any]]) -> None:
        super().__init__()
        self.watcher = Watcher(seen)

    def forward(self, x: Tensor) -> Tensor:
        self.watcher.look("there")
        x = x * 1
        if x.requires_grad:
            x.register_hook(lambda _: self.watcher.look("back"))
        return super().forward(x)


class Watcher:
    def __init__(self, seen: dict[str, list[Any]]) -> None:
        self.seen = seen
        self.failing = False

    def __deepcopy__(self, memo: Any) -> Watcher:
        return self

    def look(self, way: str) -> None:
        self.seen.setdefault(way, []).append(set(_switches()))
        if self.failing:
            raise ZeroDivisionError("half-way")


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine's device have every precision: TF32 then changes nothing but switches."""
    monkeypatch.setattr("xaiwidgets.model.check_precision", lambda *_: None)


GRADIENTS = [
    ("saliency", {}),
    ("integrated_gradients", {"steps": 3}),
    ("perceptual_ball", {"iterations": 2, "layers": "none"}),
    ("meaningful_perturbation", {"iterations": 2, "resolution": 4}),
    ("deeplift", {}),
]


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize(("method", "params"), GRADIENTS)
def test_tf32_while_the_network_runs_there_and_back(
    environment: list[Any], method: str, params: dict[str, Any]
) -> None:
    seen: dict[str, list[Any]] = {}
    model = toy_model(Watched(seen))
    model.predict(noise())
    assert seen.pop("there")
    steps = xai.explaining(model, noise(), method, precision="tf32", **params)
    for _ in steps:
        assert _state() == environment
    for way in ("there", "back"):
        # All in TF32, but for the one run that its error is measured by.
        assert [found <= ALL_OFF for found in seen[way]].count(True) == 1
        assert [found <= ALL_ON for found in seen[way]].count(True) == len(seen[way]) - 1 > 0
    seen.clear()
    xai.explain(model, noise(), method, **params)
    for found in (*seen["there"], *seen["back"]):
        assert found == set(_switches())


@pytest.mark.usefixtures("anywhere")
def test_one_pass_for_many_goes_back_in_tf32(environment: list[Any]) -> None:
    seen: dict[str, list[Any]] = {}
    model = toy_model(Watched(seen)).precise("tf32")
    run = Pass(model, model.prepare(noise()).input, [], exact=False, inputs=True)
    seen.clear()
    run.pull(lambda logits: logits[:, 0], again=True)
    assert [found <= ALL_ON for found in seen["back"]] == [True]
    assert _state() == environment


@pytest.mark.usefixtures("anywhere")
def test_tf32_after_an_error_and_after_a_cancel(environment: list[Any]) -> None:
    net = Watched({})
    model = toy_model(net)
    steps: Any = xai.explaining(model, noise(), "smoothgrad", samples=40, precision="tf32")
    next(steps)
    steps.close()
    assert _state() == environment
    steps = xai.explaining(model, noise(), "smoothgrad", samples=40, precision="tf32")
    next(steps)
    net.watcher.failing = True
    with pytest.raises(ZeroDivisionError):
        list(steps)
    assert _state() == environment


@pytest.mark.usefixtures("anywhere")
def test_rounded_patches_are_never_replayed() -> None:
    """Rounding is not the same the two ways, so that one could not be checked by the other."""
    model = toy_model(Functional())
    for precision, replayed in (("tf32", False), ("bf16", False), ("fast", True)):
        xai.explain(model, noise(), "occlusion", patch_size=3, stride=2, precision=precision)
        kept = model.precise(precision)._kept.values()
        (ways,) = [each.ways for each in kept if isinstance(each, Newest)]
        assert (ways.traced, ways.incremental is not None) == (True, replayed)


# --- bfloat16, and the error that is told


def _by_hand(net: nn.Module, x: Tensor, narrow: bool) -> tuple[float, Tensor]:
    """Score and gradient of class 1."""
    leaf = x.clone(memory_format=torch.channels_last).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        logits = net(leaf)
    score = logits.float()[0, 1]
    return float(score.detach()), torch.autograd.grad(score, leaf)[0]


@pytest.mark.parametrize("kind", [Functional, Residual])
def test_bfloat16_tells_its_error(kind: type[Trunk]) -> None:
    model = toy_model(kind())
    x = model.prepare(noise()).input
    (score, slope), (true, whole) = (_by_hand(model.fast, x, narrow) for narrow in (True, False))
    assert score != true
    found = xai.explain(model, noise(), "saliency", target=1, precision="bf16")
    assert found.score == score
    np.testing.assert_array_equal(found.attribution, slope[0].numpy())
    error = abs(score - true) / abs(true)
    assert found.diagnostics["precision_error"] == pytest.approx(error, rel=1e-6)
    of_slope = float((slope - whole).double().norm() / whole.double().norm())
    assert found.diagnostics["precision_error_gradient"] == pytest.approx(of_slope, rel=1e-6)
    assert 1e-4 < of_slope < 0.2


def test_only_what_is_used_is_measured() -> None:
    model = toy_model(Functional())
    told = xai.explain(model, noise(), "rise", masks=4, precision="bf16").diagnostics
    assert told["precision_error"] > 0
    assert "precision_error_gradient" not in told
    for precision in (None, "fast", "exact"):
        told = xai.explain(model, noise(), "saliency", precision=precision).diagnostics
        assert not any("precision" in name for name in told)


def test_every_estimate_tells_and_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    run = Model.output

    def counted(self: Model, x: Tensor, *, exact: bool = False) -> Any:
        runs.append(self.precision)
        return run(self, x, exact=exact)

    monkeypatch.setattr(Model, "output", counted)
    model = toy_model(Functional())
    steps = list(xai.explaining(model, noise(), "smoothgrad", samples=30, precision="bf16"))
    assert len(steps) > 1
    assert len({step.diagnostics["precision_error_gradient"] for step in steps}) == 1
    assert runs.count("full") == 1
    assert set(runs) == {"full", "bf16"}


def test_compared_explanations_tell_the_same_error() -> None:
    model = toy_model(Functional())
    methods = ["saliency", "input_x_gradient", "grad_cam", ("rise", {"masks": 4})]
    found = xai.compare(model, noise(), methods, [0, 1], precision="bf16")
    assert not found.errors
    assert len(found) == 8
    for key, each in found.items():
        alone = precision_error(make_task(model, noise(), each.target, precision="bf16"), True)
        assert each.diagnostics["precision_error"] == alone["precision_error"]
        gradient_told = "precision_error_gradient" in each.diagnostics
        assert gradient_told == (not key.method.startswith("rise"))
    narrow = xai.compare(model.precise("bf16"), noise(), methods, [0, 1])
    for key, each in narrow.items():
        np.testing.assert_array_equal(each.attribution, found[key].attribution)


def test_compared_models_must_all_have_it() -> None:
    models = [toy_model(Functional()), toy_model(Functional(), dtype=torch.float64)]
    with pytest.raises(ValueError, match="this network is float64"):
        xai.compare(models, noise(), "saliency", precision="bf16")


def test_logits_are_float32_and_close() -> None:
    model = toy_model(Functional())
    x = model.prepare(noise()).input.repeat(2, 1, 1, 1)
    full, narrow = model.logits(x), model.precise("bf16").logits(x)
    assert narrow.dtype == torch.float32
    assert not torch.equal(full, narrow)
    torch.testing.assert_close(full, narrow, rtol=0.05, atol=0.05)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    "wrap",
    [
        in_map,
        lambda scores: [{"logits": in_map(scores)["out"]}],
        lambda s: Output(in_map(s)["out"]),
    ],
)
def test_what_is_read_off_the_output_is_float32(wrap: Any) -> None:
    model = toy_model(Returning(wrap))

    def mean(output: Any) -> Tensor:
        while not isinstance(output, Tensor):
            output = output[0] if isinstance(output, list) else output
            output = output if isinstance(output, list) else _named(output)
        return output[:, 2].mean((1, 2))

    for target in (xai.Region((0, 0, 9, 9), 2), mean):
        task = make_task(model, noise(), target, precision="bf16")
        assert task.model.logits(task.x).dtype == torch.float32
        told = precision_error(task, True)
        assert 0 < told["precision_error_gradient"] < 0.2
        full = make_task(model, noise(), target)
        assert float(task.score(task.logits)) == pytest.approx(
            float(full.score(full.logits)), rel=0.1, abs=0.1
        )


def test_maps_of_a_photo_are_not_those_of_another_precision() -> None:
    model = toy_model(Returning(in_map))
    prepared, region = model.prepare(noise()), xai.Region((0, 0, 9, 9), 2)
    found = {
        precision: float(make_task(model, prepared, region, precision=precision).logits[0])
        for precision in ("fast", "bf16")
    }
    assert found["bf16"] != found["fast"] == pytest.approx(found["bf16"], rel=0.1, abs=0.1)


def _named(output: Any) -> Any:
    if isinstance(output, dict):
        return output.get("out", output.get("logits"))
    return output.logits


@pytest.mark.parametrize("method", ["lrp", "deeplift"])
def test_shares_are_not_computed_in_bfloat16(method: str) -> None:
    with pytest.raises(ValueError, match=r'do not in bfloat16\. Use precision="fast"'):
        xai.explain(toy_model(Functional()), noise(), method, precision="bf16")
