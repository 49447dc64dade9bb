"""Places inside of networks: how they are found, read as maps, and run from."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xaiwidgets.engine.head import Head, activation_at
from xaiwidgets.engine.passes import gradients_at
from xaiwidgets.engine.places import last_place, named_place
from xaiwidgets.engine.tokens import Grid
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import last_of
from xaiwidgets.model import Model


def model_of(net: nn.Module, height: int = 32, width: int = 32) -> tuple[Model, Tensor]:
    model = Model(net, "identity", device="cpu", dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    return model, model.prepare(torch.rand(3, height, width, generator=random)).input


class Tokens(nn.Module):
    """A small transformer; `joined` says how class token and registers come to the patches."""

    def __init__(self, joined: str = "front", registers: int = 0, embed: str = "conv") -> None:
        super().__init__()
        torch.manual_seed(1)
        self.joined, self.embed = joined, embed
        self.patches = nn.Conv2d(3, 12, 8, 8) if embed == "conv" else nn.Linear(3 * 64, 12)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.registers = nn.Parameter(torch.randn(1, registers, 12))
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(12, 2, 24, batch_first=True) for _ in range(2))
        )
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(0)
        if self.embed == "conv":
            x = self.patches(x).flatten(2).transpose(1, 2)
        else:
            x = self.patches(functional.unfold(x, 8, stride=8).transpose(1, 2))
        token, registers = self.token.expand(n, -1, -1), self.registers.expand(n, -1, -1)
        if self.joined == "front":
            x = torch.cat([token, registers, x], 1)
        elif self.joined == "between":
            x = torch.cat([token, x], dim=1)
            x = torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)
        elif self.joined == "back":
            x = torch.cat([x, registers, token], 1)
        elif self.joined == "padded":
            x = functional.pad(x, (0, 0, 1, 0))
        x = self.norm(self.blocks(x))
        return self.head(x.mean(1) if self.joined == "none" else x[:, -1 * (self.joined == "back")])


@pytest.mark.parametrize("embed", ["conv", "unfold"])
@pytest.mark.parametrize(
    ("joined", "registers", "first", "extra"),
    [("front", 0, 1, 1), ("front", 4, 5, 5), ("between", 4, 5, 5), ("back", 2, 0, 3),
     ("none", 0, 0, 0)],
)  # fmt: skip
def test_tokens(embed: str, joined: str, registers: int, first: int, extra: int) -> None:
    """Of a photo that is not square, the patches of the right places are found."""
    net = Tokens(joined, registers, embed)
    model, x = model_of(net, 40, 64)
    place = named_place(model, x, "blocks.0")
    assert place.grid == Grid("tokens", 5, 8, first, extra)
    assert activation_at(model, x, place).shape == (12, 5, 8)
    tokens = torch.arange(float(40 + extra))[None, :, None].expand(1, -1, 12)
    maps = place.grid.to_map(tokens)
    assert torch.equal(maps[0, 0].flatten(), torch.arange(float(first), float(first + 40)))
    assert torch.equal(place.grid.from_map(maps, tokens), tokens)


def test_default_place_of_tokens() -> None:
    """Behind the last block only the class token is read; with a mean, all tokens are."""
    model, x = model_of(Tokens("front", 2))
    assert last_place(model, x).name == "blocks.0"
    model, x = model_of(Tokens("none"))
    assert last_place(model, x).name == "norm"


def test_unknown_extra_token() -> None:
    model, x = model_of(Tokens("padded"))
    with pytest.raises(ValueError, match=r"1 of its 17 tokens are not patches, but no torch\.cat"):
        named_place(model, x, "blocks.0")


def test_ambiguous_tokens() -> None:
    """16 tokens of 24x24 pixels: 4x4 patches of 6, or 3x3 of 8 with seven more tokens."""

    class Any16(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(108, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(x.reshape(len(x), 16, 108)).mean(1)

    model, x = model_of(Any16(), 24, 24)
    with pytest.raises(ValueError, match="4x4 or 3x3"):
        named_place(model, x, "mix")


def test_channels_last() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 6, 4, 4)
            self.norm = nn.LayerNorm(6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.first(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model, x = model_of(Last(), 32, 48)
    place = last_place(model, x)
    assert (place.name, place.grid) == ("norm", Grid("channels last", 8, 12))
    (at,) = gradients_at(model, x, [place], lambda logits: logits[:, 0])
    assert at.activation.shape == at.gradient.shape == (6, 8, 12)


class Many(nn.Module):
    """Reused, tuple-valued, unreached and windowed layers; a batch size that is read early."""

    def __init__(self, joins: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 6, 3, padding=1)
        self.act = nn.ReLU(True)
        self.pair, self.never, self.pool = Pair(), nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1)
        self.windows = nn.Flatten(0, 1)
        self.norm = nn.BatchNorm2d(6)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)  # type: ignore[arg-type]
        self.joins = joins
        self.head = nn.Linear(12 if joins else 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(0)
        first = self.act(self.first(x))
        self.windows(first)
        x, _ = self.pair(first)
        x = self.act(self.norm(self.second(x)))
        x = torch.cat([first, x], 1) if self.joins else x + first
        return self.head(self.pool(functional.gelu(x)).view(n, -1))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return x * 0.5, 1


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("act", "runs 2 times in one pass"),
        ("never", "is not reached by a forward pass"),
        ("pair", "gives a tuple, not one tensor"),
        ("pool", r"has no spatial extent any more \(1x1\)"),
        ("head", "has no spatial extent"),
        ("windows", "6 rows for 1 photo"),
        ("secnod", "The nearest: second"),
    ],
)
def test_layer_that_cannot_be_shown(layer: str, said: str) -> None:
    model, x = model_of(Many())
    with pytest.raises(ValueError, match=said):
        named_place(model, x, layer)


def test_folding_is_left_out_where_it_changes_a_layer() -> None:
    """A folded convolution gives what the normalization gave; the layer is still the layer."""
    model, x = model_of(Many())
    assert model.fast is not model.net
    for layer, exact in (("second", True), ("norm", False), ("first", False)):
        place = named_place(model, x, layer)
        assert place.exact is exact
        told = named_place(model, x, layer, exact=True)
        one, other = (gradients_at(model, x, [p], lambda y: y[:, 1])[0] for p in (place, told))
        torch.testing.assert_close(one.activation, other.activation, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(one.gradient, other.gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", ["first", "second", "norm", None])
@pytest.mark.parametrize("joins", [False, True])
def test_head_alone(layer: str | None, joins: bool) -> None:
    """Behind a place, with skip connections around it: the same as a full pass with a hook."""
    model, x = model_of(Many(joins))
    place = last_place(model, x) if layer is None else named_place(model, x, layer)
    clean = model.logits(x, exact=place.exact)[0].detach()
    head = Head(model, x, place, clean)
    rows = head.activation * torch.linspace(-1, 2, 5, dtype=torch.float64).reshape(5, 1, 1, 1)
    found = head.logits(rows)
    assert head.alone
    assert found.shape == (5, 3)
    torch.testing.assert_close(head.logits(head.activation[None]), clean[None])
    if layer is None:
        return
    for row, scores in zip(rows, found, strict=True):
        net = model.net if place.exact else model.fast
        handle = net.get_submodule(layer).register_forward_hook(lambda *_, r=row: r[None].clone())
        expected = model.logits(x, exact=place.exact)[0]
        handle.remove()
        torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)


def test_trunk_is_not_computed_again() -> None:
    """No convolution before the place runs when only the head is asked for."""
    model, x = model_of(Many())
    place = named_place(model, x, "norm")
    head = Head(model, x, place, model.logits(x)[0].detach())
    shapes: list[Any] = []

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            if func is torch.ops.aten.convolution.default:
                shapes.append(args[0].shape)
            return func(*args, **(kwargs or {}))

    with Count():
        head.logits(head.activation[None].repeat(4, 1, 1, 1))
    assert head.alone
    assert shapes == []


def test_network_that_cannot_be_replayed_is_run_in_full() -> None:
    """What is computed behind torch's back shows in the scores, and the full network runs."""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            first = self.first(x)
            # The head writes into what the trunk made.
            out = self.second(first)
            first[..., :-2, :-2].sub_(out)
            return self.head(first.mean((2, 3)))

    model, x = model_of(Hidden())
    place = named_place(model, x, "second")
    head = Head(model, x, place, model.logits(x)[0].detach())
    rows = head.activation * torch.tensor([0.0, 1.0, 3.0]).reshape(3, 1, 1, 1)
    found = [head.logits(rows) for _ in range(3)]
    assert not head.alone
    for row, *scores in zip(rows, *found, strict=True):
        handle = model.net.second.register_forward_hook(lambda *_, r=row: r[None].clone())
        expected = model.logits(x)[0]
        handle.remove()
        for each in scores:
            torch.testing.assert_close(each, expected, rtol=1e-9, atol=1e-12)


def test_class_token_alone() -> None:
    from xaiwidgets.explanation import explain

    model, _ = model_of(Tokens("front"))
    photo = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="only through its class token"):
        explain(model, photo, "grad_cam", layer="norm")


def test_other_threads_and_later_passes_see_the_network_as_it_is() -> None:
    model, x = model_of(Many())
    place = named_place(model, x, "first")
    clean = model.logits(x).detach()
    seen: list[Tensor] = []

    def score(logits: Tensor) -> Tensor:
        return logits[:, 0]

    class Meanwhile(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            thread = threading.Thread(target=lambda: seen.append(model.logits(x).detach()))
            thread.start()
            thread.join()
            raise ZeroDivisionError

    net = model.fast
    whole = net.act
    net.act = Meanwhile()
    # The other thread would come here again.
    net.act.register_forward_pre_hook(lambda *_: setattr(net, "act", whole))
    with pytest.raises(ZeroDivisionError):
        gradients_at(model, x, [place], score)
    assert torch.equal(seen[0], clean)
    assert all(not module._forward_hooks for module in net.modules())
    assert torch.equal(model.logits(x).detach(), clean)


@pytest.mark.parametrize(
    ("method", "layer"),
    [("grad_cam", "norm"), ("layer_cam", "second"), ("ablation_cam", "second"), ("cam", None)],
)
def test_no_graph_below_a_layer(method: str, layer: str | None) -> None:
    net = Many()
    graphs: list[bool] = []
    net.first.register_forward_hook(Noted(graphs))
    model, x = model_of(net)
    last_of(estimates(make_task(model, x[0]), method, {"layer": layer}))
    assert graphs
    assert not any(graphs)


class Noted:
    """Notes whether what a module gives has a graph; copies of the network share it."""

    def __init__(self, graphs: list[bool]) -> None:
        self.graphs = graphs

    def __deepcopy__(self, memo: Any) -> Noted:
        return self

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.graphs.append(output.requires_grad)
