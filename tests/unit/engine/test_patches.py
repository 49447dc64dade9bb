"""Patches are evaluated the faster way, and either way gives the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaiwidgets.engine import patches as module
from xaiwidgets.engine.patches import Evaluated, Patches, logits_at, patched_logits
from xaiwidgets.engine.ways import Newest, Ways
from xaiwidgets.model import Model


class Local(nn.Module):
    """Stays local up to its head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).square().mean((2, 3)))


class Deciding(Local):
    """Does something else for a dark photo."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        dark = (x.mean((1, 2, 3)) < self.threshold).to(x)[:, None]
        return out * (1 + dark)

    threshold = -1.0


class Looped(Local):
    """One image after the other."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(Looped, self).forward(image[None]) for image in x])


def _model(net: nn.Module, dtype: torch.dtype = torch.float64) -> Model:
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": 48}
    return Model(net, preprocess, device="cpu", dtype=dtype)


def _patches(x: Tensor, side: int = 6, stride: int = 6) -> Patches:
    starts = np.arange(0, 48, stride)
    tops, lefts = (each.ravel() for each in np.meshgrid(starts, starts, indexing="ij"))
    return Patches(tops, lefts, side, torch.zeros_like(x[0]))


def _photo(model: Model) -> Tensor:
    return model.prepare(torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0))).input


def _run(model: Model, side: int = 6) -> tuple[Tensor, list[Evaluated]]:
    x = _photo(model)
    parts = list(patched_logits(model, x, _patches(x, side)))
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == 64
    return torch.cat([part.logits for part in parts]), parts


def _expected(model: Model, side: int = 6) -> Tensor:
    x = _photo(model)
    batch, patches = x.repeat(64, 1, 1, 1), _patches(x, side)
    for index, image in enumerate(batch):
        patches.paint(image, index)
    with torch.inference_mode():
        return model.logits(batch).clone()


def _newest(model: Model) -> Newest:
    return model.once(("patches", False), Newest)


def _ways(model: Model) -> Ways:
    return _newest(model).of((1, 3, 48, 48))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a plain image takes, and one by differences: the clock goes by that alone."""
    costs = [1.0, 0.25]
    now = [0.0]
    model_logits = Model.logits

    def plain(self: Model, x: Tensor, **options: Any) -> Tensor:
        now[0] += costs[0] * len(x)
        return model_logits(self, x, **options)

    windows = module.Incremental.logits

    def by_difference(self: Any, *args: Any) -> Tensor:
        now[0] += costs[1] * (args[-1] - args[-2])
        return windows(self, *args)

    window = module.Incremental.logits_at

    def alone(self: Any, *args: Any) -> Tensor:
        now[0] += costs[1]
        return window(self, *args)

    monkeypatch.setattr(module.Incremental, "logits_at", alone)
    monkeypatch.setattr(Model, "logits", plain)
    monkeypatch.setattr(module.Incremental, "logits", by_difference)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return costs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("side", [1, 6, 15, 48])
def test_same_numbers(side: int, dtype: torch.dtype) -> None:
    model = _model(Local(), dtype)
    ours, _ = _run(model, side)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours, _expected(model, side), rtol=tolerance, atol=tolerance)


def test_the_faster_way_is_taken_and_remembered(clock: list[float]) -> None:
    model = _model(Local())
    _, parts = _run(model)
    assert [part.ratio > 1 for part in parts[:2]] == [False, False]
    assert all(part.ratio > 4 for part in parts[2:])
    ways = _ways(model)
    assert ways.plain == pytest.approx(4 * ways.among[6].least)
    # The photo is known now: one plain batch, for a first picture, is enough.
    _, parts = _run(model)
    assert [part.ratio > 1 for part in parts[:2]] == [False, True]


def test_what_is_slower_is_left_and_not_tried_again(clock: list[float]) -> None:
    clock[1] = 3.0
    model = _model(Local())
    ours, parts = _run(model)
    torch.testing.assert_close(ours, _expected(model), rtol=1e-12, atol=1e-12)
    tried = [part for part in parts if part.ratio > 1]
    assert len(tried) == 2
    assert parts[-1].ratio == 1
    assert all(part.ratio == 1 for part in _run(model)[1])


def test_what_is_a_little_slower_may_have_been_a_bad_reading(clock: list[float]) -> None:
    clock[1] = 1.2 * clock[0]
    model = _model(Local())
    for _ in range(3):
        assert any(part.ratio > 1 for part in _run(model)[1])
    assert all(part.ratio == 1 for part in _run(model)[1])
    assert _ways(model).among[6].times == 3


def test_a_way_that_was_slower_once_is_taken_when_it_is_not(clock: list[float]) -> None:
    clock[1] = 1.2 * clock[0]
    model = _model(Local())
    _run(model)
    clock[1] = 0.5 * clock[0]
    _run(model)
    assert all(part.ratio > 1 for part in _run(model)[1][1:])


def test_large_patches_are_not_even_tried() -> None:
    model = _model(Local())
    assert all(part.ratio == 1 for part in _run(model, 40)[1])


def test_networks_that_cannot_be_replayed_go_the_plain_way() -> None:
    model = _model(Looped())
    ours, parts = _run(model)
    torch.testing.assert_close(ours, _expected(model), rtol=1e-12, atol=1e-12)
    assert all(part.ratio == 1 for part in parts)
    assert _ways(model).traced
    assert _ways(model).incremental is None


def test_a_replay_that_disagrees_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(Local())
    broken = module.Incremental.logits
    monkeypatch.setattr(
        module.Incremental, "logits", lambda self, *args: broken(self, *args) * 1.001
    )
    ours, parts = _run(model)
    torch.testing.assert_close(ours, _expected(model), rtol=1e-12, atol=1e-12)
    assert all(part.ratio == 1 for part in parts)


def _failing_after(calls: int, call: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """The same function, up to the call after so many."""
    left = iter(range(calls))

    def failing(*args: Any) -> Any:
        if next(left, None) is None:
            raise error
        return call(*args)

    return failing


@pytest.mark.parametrize("step", ["__init__", "plan", "clean", "logits"])
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_replay_that_fails_is_dropped(
    step: str, calls: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = getattr(module.Incremental, step)
    failing = _failing_after(calls, call, RuntimeError("sizes do not match"))
    monkeypatch.setattr(module.Incremental, step, failing)
    model = _model(Local())
    with caplog.at_level("INFO", "xaiwidgets"):
        ours, parts = _run(model)
    torch.testing.assert_close(ours, _expected(model), rtol=1e-12, atol=1e-12)
    failed = calls == 0 or step == "logits"
    assert (parts[-1].ratio == 1) == failed
    assert ("the other failed" in caplog.text) == failed
    assert (_ways(model).incremental is None) == failed
    # What was replayed before is not done again: the first call checks, later ones count.
    if step == "logits":
        assert sum(part.ratio > 1 for part in parts) == max(0, calls - 1)


def test_errors_of_the_network_itself_are_raised() -> None:
    class Failing(Local):
        def forward(self, x: Tensor) -> Tensor:
            if self.fails:
                raise ZeroDivisionError("of the network")
            return super().forward(x)

        fails = False

    model = _model(Failing())
    x = _photo(model)
    steps = patched_logits(model, x, _patches(x))
    next(steps)
    nets: list[Any] = [model.net, model.fast]
    for net in nets:
        net.fails = True
    with pytest.raises(ZeroDivisionError, match="of the network"):
        list(steps)
    with pytest.raises(ZeroDivisionError, match="of the network"):
        logits_at(model, x, torch.zeros_like(x[0]), 6, (3, 5))


class Rows(Local):
    """Weighs the rows, as axial attention or a coordinate ramp does."""

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, x.shape[2], dtype=x.dtype)
        return super().forward(x * ramp[:, None])


def test_constants_along_one_axis_are_replayed() -> None:
    model = _model(Rows())
    ours, parts = _run(model)
    torch.testing.assert_close(ours, _expected(model), rtol=1e-12, atol=1e-12)
    assert parts[-1].ratio > 1


def _sized(model: Model, side: int) -> Tensor:
    """A photo of another size, one patch of which is evaluated."""
    x = torch.rand(1, 3, side, side, dtype=model.dtype)
    logits_at(model, x, torch.zeros_like(x[0]), 6, (3, 5))
    return x


def test_activations_of_the_newest_size_alone_are_kept() -> None:
    model = _model(Local())
    kept = []
    for side in (48, 56, 64):
        _sized(model, side)
        network = _newest(model).ways.incremental
        assert network is not None
        kept.append(weakref.ref(network))
        del network
    gc.collect()
    assert [each() is None for each in kept] == [True, True, False]


def test_another_size_in_between_disturbs_nobody() -> None:
    model = _model(Local())
    x = _photo(model)
    steps = patched_logits(model, x, _patches(x))
    parts = []
    for number, part in enumerate(steps):
        parts.append(part)
        _sized(model, 56 + 8 * (number % 2))
    ours = torch.cat([part.logits for part in parts])
    torch.testing.assert_close(ours, _expected(model), rtol=1e-12, atol=1e-12)


def test_several_threads_with_photos_of_several_sizes() -> None:
    model = _model(Local())
    photos = [torch.rand(1, 3, side, 48, dtype=torch.float64) for side in (48, 56, 64, 48)]

    def evaluate(x: Tensor) -> Tensor:
        parts = [list(patched_logits(model, x, _patches(x))) for _ in range(3)][-1]
        return torch.cat([part.logits for part in parts])

    with ThreadPoolExecutor(len(photos)) as pool:
        together = list(pool.map(evaluate, photos))
    for x, ours in zip(photos, together, strict=True):
        torch.testing.assert_close(ours, evaluate(x), rtol=1e-12, atol=1e-12)


def test_means_over_the_whole_photo_are_exact() -> None:
    net = Deciding()
    model = _model(net)
    x = _photo(model)
    # Some patches make the photo dark, others do not.
    shade = x.mean() - 6 * 6 / 48**2 * float(x.mean() + 2) / 2
    nets: list[Any] = [model.net, model.fast]
    for each in nets:
        each.threshold = float(shade)
    ours, _ = _run(model)
    torch.testing.assert_close(ours, _expected(model), rtol=1e-12, atol=1e-12)


def test_memory_of_the_photo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from xaiwidgets.engine import incremental

    monkeypatch.setattr(incremental, "_CLEAN_SET", 1000)
    assert all(part.ratio == 1 for part in _run(_model(Local()))[1])
    model = _model(Local())
    torch.testing.assert_close(_one_by_one(model), _expected(model), rtol=1e-12, atol=1e-12)
    assert _ways(model).incremental is not None
    assert not _ways(model).alone[6].times


def _one_by_one(model: Model, side: int = 6, count: int = 64) -> Tensor:
    """The same patches, each asked for alone."""
    x = _photo(model)
    patches = _patches(x, side)
    corners = zip(patches.tops.tolist(), patches.lefts.tolist(), strict=True)
    found = [logits_at(model, x, patches.filling, side, each) for each in list(corners)[:count]]
    return torch.stack(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cost", [0.25, 3.0])
@pytest.mark.parametrize("net", [Local, Looped])
@pytest.mark.parametrize("side", [1, 6, 15, 48])
def test_one_patch_is_what_it_is_among_many(
    side: int, net: type[nn.Module], cost: float, dtype: torch.dtype, clock: list[float]
) -> None:
    clock[1] = cost
    model = _model(net(), dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    ours = _one_by_one(model, side)
    assert ours.dtype == dtype
    for theirs in (_run(model, side)[0], _expected(model, side)):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("cost", "replays"), [(0.25, 9), (3.0, 2)])
def test_one_patch_goes_the_faster_way(
    cost: float, replays: int, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock[1] = cost
    asked: list[str] = []
    plain, alone = Model.logits, module.Incremental.logits_at
    monkeypatch.setattr(
        Model, "logits", lambda *args, **more: asked.append("plain") or plain(*args, **more)
    )
    monkeypatch.setattr(
        module.Incremental, "logits_at", lambda *args: asked.append("replay") or alone(*args)
    )
    model = _model(Local())
    x = _photo(model)
    _ways(model).trace(model, x, False)
    asked.clear()
    _one_by_one(model, count=9)
    # Both ways twice, to compare them; then the faster one alone.
    assert asked[:4] == ["plain", "replay"] * 2
    assert set(asked[4:]) == {"replay" if cost < 1 else "plain"}
    assert asked.count("replay") == replays
    # Another photo: it is compared once more, where it matters.
    asked.clear()
    for corner in ((3, 5), (-2, 40)):
        logits_at(model, x + 0.5, torch.zeros_like(x[0]), 6, corner)
    assert asked == (["plain", "replay", "replay"] if cost < 1 else ["plain"] * 2)


@pytest.mark.parametrize("step", ["__init__", "anywhere", "clean", "logits_at"])
@pytest.mark.parametrize("calls", [0, 5])
def test_one_patch_of_a_replay_that_fails(
    step: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = getattr(module.Incremental, step)
    failing = _failing_after(calls, call, RuntimeError("sizes do not match"))
    monkeypatch.setattr(module.Incremental, step, failing)
    model = _model(Local())
    torch.testing.assert_close(_one_by_one(model), _expected(model), rtol=1e-12, atol=1e-12)
    assert (_ways(model).incremental is None) == (calls == 0 or step != "__init__")


def test_one_patch_of_a_replay_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = _failing_after(0, module.Incremental.logits_at, MemoryError())
    monkeypatch.setattr(module.Incremental, "logits_at", failing)
    with pytest.raises(MemoryError):
        _one_by_one(_model(Local()))


def test_one_patch_of_a_replay_that_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(Local())
    broken = module.Incremental.logits_at
    monkeypatch.setattr(
        module.Incremental, "logits_at", lambda self, *args: broken(self, *args) * 1.001
    )
    torch.testing.assert_close(_one_by_one(model), _expected(model), rtol=1e-12, atol=1e-12)
    assert _ways(model).incremental is None


@pytest.mark.parametrize("cost", [0.25, 3.0])
def test_one_patch_is_cut_off_at_every_edge(cost: float, clock: list[float]) -> None:
    clock[1] = cost
    model = _model(Local())
    x = _photo(model)
    for top, left in [(-2, 4), (45, 4), (4, -5), (4, 47), (-5, -1), (46, 46), (-5, 47)]:
        covered = x.clone()
        rows, cols = (slice(max(0, at), at + 6) for at in (top, left))
        covered[..., rows, cols] = 0
        with torch.inference_mode():
            expected = model.logits(covered)[0].clone()
        ours = logits_at(model, x, torch.zeros_like(x[0]), 6, (top, left))
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
