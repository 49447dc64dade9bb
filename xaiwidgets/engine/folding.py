"""Fold batch normalization into the convolution before it.

In evaluation mode ``BN(conv(x))`` is itself a convolution. Folding nearly halves what autograd
keeps, and saves a pass over each activation. Which convolution feeds which normalization is read
from one run of the network, operator by operator, so that functional code, reused modules and
subclasses of ``nn.Conv2d`` need no special treatment; what is not surely a pair stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from xaiwidgets.engine.copying import bare_copy


class FoldedNorm(nn.Identity):
    """Stands where a normalization was folded into `conv`."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        # In a tuple, so that the convolution does not become a part of this module.
        self.conv = (conv,)


def changed_by_folding(folded: nn.Module, name: str) -> bool:
    """Whether folding changed what the module called `name` gives.

    It did where the convolution of a pair belongs to the module and the normalization does not:
    nobody but the normalization sees what the convolution gave.
    """
    parts = set(folded.get_submodule(name).modules())
    norms = (module for module in folded.modules() if isinstance(module, FoldedNorm))
    return any(norm.conv[0] in parts and norm not in parts for norm in norms)


class _Recorder(TorchFunctionMode):
    """Notes which weight made which output, and who consumed it."""

    def __init__(self) -> None:
        super().__init__()
        self.made_by: dict[int, Tensor] = {}
        self.uses: Counter[int] = Counter()
        self.conv_calls: Counter[int] = Counter()
        self.norm_calls: Counter[int] = Counter()
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self._alive: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [*_tensors(args), *_tensors(kwargs.values())]
        if func is functional.batch_norm:
            self._note_norm(args, kwargs)
        result = func(*args, **kwargs)
        if any(True for _ in _tensors((result,))):
            self.uses.update({id(tensor) for tensor in given})
        if func is torch.conv2d and isinstance(result, Tensor):
            weight = kwargs["weight"] if "weight" in kwargs else args[1]
            self.conv_calls[id(weight)] += 1
            self.made_by[id(result)] = weight
            # Kept alive so that no later tensor can take over the identity; an earlier one may
            # have had it.
            self._alive.append(result)
            self.uses[id(result)] = 0
        return result

    def _note_norm(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training")
        call = dict(zip(names, args, strict=False)) | kwargs
        mean = call.get("running_mean")
        if mean is None:
            return
        self.norm_calls[id(mean)] += 1
        weight = self.made_by.get(id(call["input"]))
        if weight is not None and not call.get("training", False):
            self.pairs.append((weight, mean))
            self._alive.append(call["input"])

    def sure_pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs in which both sides ran once and nobody else saw what lies between."""
        seen = {id(weight): output for output, weight in self.made_by.items()}
        for weight, mean in self.pairs:
            once = self.conv_calls[id(weight)] == 1 and self.norm_calls[id(mean)] == 1
            if once and self.uses[seen[id(weight)]] == 1:
                yield weight, mean


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def fold(net: nn.Module, example: Tensor) -> nn.Module | None:
    """A copy of `net` with its batch normalizations folded away, or `None`.

    Args:
        net: in evaluation mode; left as it is. The copy shares every weight that stays the same.
        example: an input, `(N, C, H, W)`; the network is run on it.

    Returns:
        The folded copy, in which a folded normalization is an ``nn.Identity``; `None` when there
        is nothing to fold, or when the copy does not give the same output.
    """
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        before = net(example)
    pairs = list(recorder.sure_pairs())
    if not pairs:
        return None
    folded = bare_copy(net)
    convs = _owners(folded, "weight", nn.Conv2d)
    norms = _owners(folded, "running_mean", _BatchNorm)
    count = 0
    for weight, mean in pairs:
        if len(convs.get(id(weight), ())) == 1 and id(mean) in norms:
            (conv,) = convs[id(weight)]
            norm = norms[id(mean)][0]
            if not _has_hooks(conv) and not _has_hooks(norm):
                _fold_pair(cast(nn.Conv2d, conv), cast(_BatchNorm, norm))
                _replace(folded, norm, FoldedNorm(conv))
                count += 1
    if not count:
        return None
    try:
        with torch.no_grad():
            after = folded(example)
    except Exception:
        # A network that reads its normalization's own attributes cannot be folded.
        return None
    return folded if _same(before, after) else None


def _owners(net: nn.Module, attribute: str, kind: type) -> dict[int, list[nn.Module]]:
    owners: dict[int, list[nn.Module]] = {}
    for module in net.modules():
        value = getattr(module, attribute, None) if isinstance(module, kind) else None
        if isinstance(value, Tensor):
            owners.setdefault(id(value), []).append(module)
    return owners


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _fold_pair(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    dtype = conv.weight.dtype
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    # In float64, so that folding costs one rounding and no more.
    scale = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = conv.bias.double() if conv.bias is not None else torch.zeros_like(scale)
    bias = (bias - mean.double()) * scale
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    weight = (conv.weight.double() * scale.reshape(-1, 1, 1, 1)).to(dtype)
    weight = weight.contiguous(memory_format=torch.channels_last)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)


def _replace(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for module in net.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)


def _same(one: Any, other: Any) -> bool:
    ours, theirs = list(_outputs(one)), list(_outputs(other))
    if not ours or len(ours) != len(theirs):
        return False
    for a, b in zip(ours, theirs, strict=True):
        if not a.is_floating_point():
            continue
        tolerance = 1e-9 if a.dtype == torch.float64 else 1e-3
        scale = a.abs().max().clamp_min(1e-12)
        if not bool(((a - b).abs().max() / scale) <= tolerance):
            return False
    return True


def _outputs(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _outputs(item)
    elif isinstance(value, dict):
        yield from _outputs(list(value.values()))
    elif hasattr(value, "__dict__"):
        yield from _outputs(list(vars(value).values()))
