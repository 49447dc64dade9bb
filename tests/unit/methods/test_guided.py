"""Guided backprop, DeconvNet and RectGrad by hand, and on every way to write an activation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

import xaiwidgets as xai
from xaiwidgets.engine.gradients import gradient
from xaiwidgets.engine.rectifiers import rectified
from xaiwidgets.explanation import estimates, make_task
from xaiwidgets.methods.estimate import last_of
from xaiwidgets.methods.guided_backprop import guided
from xaiwidgets.methods.rectgrad import percentile
from xaiwidgets.model import Model

METHODS = ("guided_backprop", "deconvnet", "rectgrad")


def _model(net: nn.Module) -> Model:
    return Model(net, preprocess="identity", device="cpu", dtype=torch.float64)


def _row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)


def _same(found: ArrayLike, expected: ArrayLike) -> None:
    np.testing.assert_allclose(np.asarray(found).squeeze(), expected, rtol=1e-6, atol=1e-6)


class Activated(nn.Module):
    """weights . activate(pixels), for one row of pixels."""

    def __init__(self, activate: Callable[[Tensor], Tensor], weights: list[float]) -> None:
        super().__init__()
        self.activate = activate
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1) * 1.0
        return (self.activate(x) @ self.weights)[:, None]


def _explain(activate: Callable[[Tensor], Tensor], method: str, weights: list[float]) -> Tensor:
    pixels = _row(-0.5, 0.25, 0.75, 0, 7)
    net = _model(Activated(activate, weights))
    return torch.as_tensor(xai.explain(net, pixels, method).attribution)


@pytest.fixture
def square() -> Tensor:
    return torch.arange(16, dtype=torch.float64).reshape(1, 4, 4)


def test_guided_backprop_of_a_convolution(square: Tensor) -> None:
    found = xai.explain(_model(BasicModel_ConvNet_One_Conv()), square, "guided_backprop", 0)
    _same(found.attribution, [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]])
    assert found.diagnostics == {"acted_on": 2, "acted_on_relu": 2, "not_acted_on": 0}


def test_deconvnet_of_a_convolution(square: Tensor) -> None:
    found = xai.explain(_model(BasicModel_ConvNet_One_Conv()), square, "deconvnet", 0)
    _same(found.attribution, [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]])


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "F.relu": functional.relu,
    "F.relu in place": lambda x: functional.relu(x, True),
    "F.relu_": functional.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp, by position": lambda x: torch.clamp(x, 0),
    "clamp_min": lambda x: x.clamp_min_(0),
    "threshold": nn.Threshold(0, 0),
    "hardtanh": nn.Hardtanh(0, 100),
    "a view in place": lambda x: (x.view(-1).relu_(), x)[1],
    "result unused": lambda x: (x.relu_(), x)[1],
    "leaky without a leak": nn.LeakyReLU(0),
}


@pytest.mark.parametrize("name", RELUS)
def test_every_way_to_write_a_relu(name: str) -> None:
    weights = [2.0, -3.0, 5.0, 7.0, 11.0]
    _same(_explain(RELUS[name], "guided_backprop", weights), [0, 0, 5, 0, 11])
    _same(_explain(RELUS[name], "deconvnet", weights), [2, 0, 5, 7, 11])
    with_q = xai.explain(
        _model(Activated(RELUS[name], weights)), _row(-0.5, 0.25, 0.75, 0, 7), "rectgrad", q=50
    )
    # Importances 0, -0.75, 3.75, 0, 77: the median is 0, and what is above it passes.
    _same(with_q.attribution, [0, 0, 5 * 0.75, 0, 77])


def test_clipped_units() -> None:
    weights = [2.0, -3.0, 5.0, 7.0, 11.0]
    for activate in (nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0, 6, inplace=True)):
        _same(_explain(activate, "guided_backprop", weights), [0, 0, 5, 0, 0])
        _same(_explain(activate, "deconvnet", weights), [2, 0, 5, 7, 11])


@pytest.mark.parametrize(
    "activate",
    [
        nn.LeakyReLU(0.1),
        nn.LeakyReLU(0.1, inplace=True),
        nn.ELU(),
        nn.CELU(),
        nn.SELU(inplace=True),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(inplace=True),
        nn.Mish(),
        nn.Hardswish(),
        nn.Softplus(),
        nn.PReLU(),
        nn.RReLU().eval(),
        functional.leaky_relu_,
    ],
    ids=str,
)
def test_other_rectifiers(activate: Callable[[Tensor], Tensor]) -> None:
    """On the positive side, their own slope times what speaks for the class."""
    weights = [2.0, -3.0, 5.0, 7.0, 11.0]
    z = torch.tensor([-0.5, 0.25, 0.75, 0, 7], dtype=torch.float64, requires_grad=True)
    plain = activate.double() if isinstance(activate, nn.Module) else activate
    (slope,) = torch.autograd.grad(plain(z * 1).sum(), z)
    expected = slope * (z > 0) * torch.tensor(weights).clamp(min=0)
    _same(_explain(activate, "guided_backprop", weights), expected.detach())
    _same(_explain(activate, "deconvnet", weights), [2, 0, 5, 7, 11])


def test_smooth_activation_has_its_slope_in_rectgrad() -> None:
    found = _explain(nn.SiLU(), "rectgrad", [2.0, -3.0, 5.0, 7.0, 11.0])
    z = torch.tensor(7.0, dtype=torch.float64)
    sigmoid = z.sigmoid()
    assert found.count_nonzero() == 0  # The 98th of five is the largest, and none is above it.
    found = torch.as_tensor(
        xai.explain(
            _model(Activated(nn.SiLU(), [2.0, -3.0, 5.0, 7.0, 11.0])),
            _row(-0.5, 0.25, 0.75, 0, 7),
            "rectgrad",
            q=75,
        ).attribution
    )
    _same(found, [0, 0, 0, 0, 7 * 11 * sigmoid * (1 + z * (1 - sigmoid))])


def test_percentile_is_the_nearest_rank() -> None:
    values = torch.tensor([[3.0, 1], [2, 5], [4, 6]])
    found = [float(percentile(values, q)) for q in (0, 39, 41, 80, 100)]
    assert found == [1, 3, 3, 5, 6]


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.max_pool2d(functional.relu(x), (1, 2), stride=1)
        return (pooled.flatten(1) @ torch.tensor([1.0, 10, 100], dtype=x.dtype))[:, None]


def test_switches_of_overlapping_windows_add_up() -> None:
    """Windows (1 4), (4 2), (2 3): the 4 wins two of them, and gets both shares."""
    for method in ("guided_backprop", "deconvnet"):
        found = xai.explain(_model(Pooled()), _row(1, 4, 2, 3), method)
        _same(found.attribution, [0, 11, 0, 100])


def test_redistribution_shares_by_activation() -> None:
    # Pooling sends back 1/5, 4/5 + 40/6, 20/6 + 200/5, 300/5; the ReLU then keeps the top half.
    shares = np.array([0.2, 0.8 + 40 / 6, 20 / 6 + 40, 60])
    found = xai.explain(_model(Pooled()), _row(1, 4, 2, 3), "rectgrad", q=0, redistribute=True)
    _same(found.attribution, shares * [0, 4, 2, 3])
    found = xai.explain(_model(Pooled()), _row(1, 4, 2, 3), "rectgrad", q=50, redistribute=True)
    # Importances 0.2, 29.9, 86.7, 180: rank round(1.5) of 0..3 is the third.
    _same(found.attribution, shares * [0, 0, 0, 3])


class Padded(nn.Module):
    """Every output of a padded convolution, of ones, counts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv(x)).sum((1, 2, 3))


def test_padding_trick_drops_the_edge() -> None:
    ones = torch.ones(1, 4, 4, dtype=torch.float64)
    # Activations are 4 at corners, 6 at edges, 9 inside; above the smallest are 12 of 16.
    plain = xai.explain(_model(Padded()), ones, "rectgrad", q=0)
    _same(plain.attribution, [[3, 5, 5, 3], [5, 8, 8, 5], [5, 8, 8, 5], [3, 5, 5, 3]])
    trick = xai.explain(_model(Padded()), ones, "rectgrad", q=0, padding_trick=True)
    _same(trick.attribution, [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]])


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_act_on_is_refused(method: str) -> None:
    for activate, named in ((nn.Identity(), "0 rectifiers"), (nn.Tanh(), "1 tanh")):
        model = _model(Activated(activate, [1.0, 2.0]))
        with pytest.raises(ValueError, match=named):
            xai.explain(model, _row(1, 2), method)


def test_what_it_acted_on_is_told() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU6(), nn.Linear(3, 3), nn.Sigmoid())
    net = nn.Sequential(net, nn.GELU(), nn.Linear(3, 2), nn.Softmax(1))
    task = make_task(_model(net), _row(1, 2))
    last = last_of(estimates(task, "guided_backprop", {}))
    assert str(last.detail) == "1 ReLU6, 1 GELU, 2 others (1 softmax, 1 sigmoid)"
    assert last.diagnostics["acted_on"] == 2
    assert last.diagnostics["not_acted_on"] == 2


class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        return g


@pytest.mark.parametrize("method", METHODS)
def test_an_activation_out_of_reach_is_refused(method: str) -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    inner = scripted.double()
    for activate in (Hidden.apply, inner):
        model = _model(Activated(lambda x, f=activate: f(functional.relu(x)), [1.0, 2.0]))
        with pytest.raises(ValueError, match="cannot reach into"):
            xai.explain(model, _row(1, 2), method)


class Overwritten(nn.Module):
    """Reads an activation, then writes over it: natively fine, as no gradient needs it."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) * 1.0
        positive = functional.relu(z)
        if self.in_place:
            z[:, 0] = 0
            z += 1
            z.mul_(2)
        else:
            z = 2 * (z * torch.tensor([0.0, 1, 1], dtype=z.dtype) + 1)
        return (3 * positive + functional.relu(-z)).sum(1, keepdim=True)


@pytest.mark.parametrize("method", METHODS)
def test_overwritten_activations(method: str) -> None:
    values = [
        xai.explain(_model(Overwritten(style)), _row(0.5, -4, 0.75), method).attribution
        for style in (False, True)
    ]
    _same(values[1].squeeze(), values[0].squeeze())
    if method == "guided_backprop":
        # The negative side of z reaches the pixel with -2, which is blocked at no ReLU below.
        _same(values[0], [3, -2, 3])


def test_what_the_network_computes_is_unchanged() -> None:
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None)
    model = Model(net, device="cpu", dtype=torch.float64)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    seen: list[Tensor] = []

    def score(logits: Tensor) -> Tensor:
        seen.append(logits.detach())
        return logits[:, 3]

    _, logits = gradient(model, x, score)
    _, acted = rectified(model, x, score, guided, "Guided backprop")
    assert torch.equal(seen[1], logits)
    assert str(acted) == "17 ReLU, 0 others"


def test_each_photo_of_a_batch_on_its_own() -> None:
    model = _model(BasicModel_ConvNet_One_Conv())
    photos = torch.rand(3, 1, 4, 4, dtype=torch.float64) * 16
    score = lambda logits: logits[:, 1]  # noqa: E731
    together, _ = rectified(model, photos, score, guided, "Guided backprop")
    alone = [rectified(model, photo[None], score, guided, "Guided backprop")[0] for photo in photos]
    torch.testing.assert_close(together, torch.cat(alone))
