"""The operations that rules act on, under whatever name a network calls them.

``nn.ReLU``, ``F.relu``, ``torch.relu_`` and ``x.clamp(min=0)`` all reach a ``TorchFunctionMode`` as
function objects. Here each is read as one `Call` with its arguments by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Function = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """One call of a known operation.

    Attributes:
        name: of the operation, whatever it was called as.
        function: does it out of place.
        args: by name, without `inplace` and `out`.
        writes: it was asked for in place, on its first argument.
    """

    name: str
    function: Function
    args: dict[str, Any]
    writes: bool = False

    @property
    def input(self) -> Any:
        """The first argument."""
        return next(iter(self.args.values()), None)

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or `default` where it was not given (or given as `None`)."""
        value = self.args.get(name)
        return default if value is None else value

    def apply(self, x: Tensor) -> Any:
        """The operation with another first argument, out of place."""
        _, *rest = self.args
        return self.function(x, **{name: self.args[name] for name in rest})


@dataclass(frozen=True)
class _Known:
    name: str
    function: Function
    parameters: tuple[str, ...]
    writes: bool


_KNOWN: dict[Function, _Known] = {}


def _know(name: str, parameters: str, spelled: Iterable[str], function: Function) -> None:
    """List the spellings of an operation: in `F`, in `torch` and as a method, in place or not."""
    names = tuple(parameters.split())
    for spelling in spelled:
        for owner in (F, torch, Tensor):
            for ending in ("", "_"):
                found = getattr(owner, spelling + ending, None)
                if found is not None:
                    _KNOWN[found] = _Known(name, function, names, bool(ending))


for _name, _parameters in {
    "relu": "input inplace",
    "relu6": "input inplace",
    "hardtanh": "input min_val max_val inplace",
    "threshold": "input threshold value inplace",
    "leaky_relu": "input negative_slope inplace",
    "rrelu": "input lower upper training inplace",
    "elu": "input alpha inplace",
    "celu": "input alpha inplace",
    "selu": "input inplace",
    "silu": "input inplace",
    "mish": "input inplace",
    "hardswish": "input inplace",
    "hardsigmoid": "input inplace",
    "softplus": "input beta threshold",
    "softsign": "input",
    "logsigmoid": "input",
    "tanhshrink": "input",
}.items():
    _know(_name, _parameters, [_name], getattr(F, _name))
_know("prelu", "input weight", ["prelu"], F.prelu)
_know("gelu", "input approximate", ["gelu"], F.gelu)
for _name in ("sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "square", "erf", "abs", "log1p"):
    _know(_name, "input", [_name], getattr(torch, _name))
_know("clamp", "input min max", ["clamp", "clip"], torch.clamp)
_know("clamp", "input min", ["clamp_min"], torch.clamp)
_know("clamp", "input max", ["clamp_max"], torch.clamp)
for _name in ("conv1d", "conv2d", "conv3d"):
    _know(_name, "input weight bias stride padding dilation groups", [_name], getattr(torch, _name))
    _know(
        _name.replace("conv", "conv_transpose"),
        "input weight bias stride padding output_padding groups dilation",
        [_name.replace("conv", "conv_transpose")],
        getattr(torch, _name.replace("conv", "conv_transpose")),
    )
_know("linear", "input weight bias", ["linear"], F.linear)
for _name in ("matmul", "mm", "bmm"):
    _know("matmul", "input other", [_name], torch.matmul)
_know("matmul", "input other", ["__matmul__"], torch.matmul)
_know("einsum", "equation input other", ["einsum"], torch.einsum)
for _name in ("add", "sub", "mul", "div"):
    _spelled = [_name, f"__{_name}__", f"__i{_name}__", f"__r{_name}__"]
    # Those that turn the operands around are another operation.
    _spelled = _spelled[: 4 if _name in ("add", "mul") else 3]
    _know(_name, "input other", _spelled, getattr(torch, _name))
_know("sub", "input other", ["subtract"], torch.sub)
_know("mul", "input other", ["multiply"], torch.mul)
_know("div", "input other", ["divide", "true_divide", "__truediv__", "__itruediv__"], torch.div)
_know("rsub", "input other", ["rsub", "__rsub__"], torch.rsub)
_know("neg", "input", ["neg", "negative", "__neg__"], torch.neg)
for _name in ("mean", "sum"):
    _know(_name, "input dim keepdim dtype", [_name], getattr(torch, _name))
for _name in ("1d", "2d", "3d"):
    _know(
        f"max_pool{_name}",
        "input kernel_size stride padding dilation ceil_mode return_indices",
        [f"max_pool{_name}", f"max_pool{_name}_with_indices"],
        getattr(F, f"max_pool{_name}"),
    )
    _know(
        f"adaptive_max_pool{_name}",
        "input output_size return_indices",
        [f"adaptive_max_pool{_name}", f"adaptive_max_pool{_name}_with_indices"],
        getattr(F, f"adaptive_max_pool{_name}"),
    )
    _know(
        "avg_pool",
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
        [f"avg_pool{_name}"],
        getattr(F, f"avg_pool{_name}"),
    )
    _pool = f"adaptive_avg_pool{_name}"
    _know("adaptive_avg_pool", "input output_size", [_pool], getattr(F, _pool))
_know(
    "interpolate",
    "input size scale_factor mode align_corners recompute_scale_factor antialias",
    ["interpolate"],
    F.interpolate,
)
_know("amax", "input dim keepdim", ["amax"], torch.amax)
_know("pow", "input exponent", ["pow", "__pow__"], torch.pow)
_know("softmax", "input dim dtype", ["softmax"], torch.softmax)
_KNOWN[F.softmax] = _Known("softmax", F.softmax, ("input", "dim", "_stacklevel", "dtype"), False)
_know(
    "batch_norm",
    "input running_mean running_var weight bias training momentum eps",
    ["batch_norm"],
    F.batch_norm,
)
_know("layer_norm", "input normalized_shape weight bias eps", ["layer_norm"], F.layer_norm)
_know("rms_norm", "input normalized_shape weight eps", ["rms_norm"], F.rms_norm)
_know("group_norm", "input num_groups weight bias eps", ["group_norm"], F.group_norm)
_know("normalize", "input p dim eps", ["normalize"], F.normalize)
_know(
    "attention",
    "query key value attn_mask dropout_p is_causal scale enable_gqa",
    ["scaled_dot_product_attention"],
    F.scaled_dot_product_attention,
)
_know(
    "multi_head_attention",
    "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v "
    "add_zero_attn dropout_p out_proj_weight out_proj_bias training key_padding_mask need_weights "
    "attn_mask use_separate_proj_weight q_proj_weight k_proj_weight v_proj_weight static_k "
    "static_v average_attn_weights is_causal",
    ["multi_head_attention_forward"],
    F.multi_head_attention_forward,
)


def read_call(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """What is called, or `None` for an operation that is not known here."""
    try:
        known = _KNOWN.get(function)
    except TypeError:
        return None
    if known is None or len(args) > len(known.parameters):
        return None
    named = dict(zip(known.parameters, args, strict=False)) | kwargs
    inplace = bool(named.pop("inplace", False))
    if named.pop("out", None) is not None:
        return None
    # Bookkeeping of torch.nn.functional, of no concern to what is computed.
    named.pop("_stacklevel", None)
    return Call(known.name, known.function, named, known.writes or inplace)


def tensors(values: Any) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and dictionaries."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)
        elif isinstance(value, dict):
            yield from tensors(value.values())


_WRITING = re.compile("__(setitem|i(add|sub|mul|truediv|div|floordiv|mod|pow|and|or|xor))__")


def written(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that a call writes to, as far as its name and arguments tell."""
    found = list(tensors([kwargs.get("out")]))
    name = getattr(function, "__name__", "")
    marked = (name.endswith("_") and not name.endswith("__")) or _WRITING.fullmatch(name)
    call = read_call(function, args, kwargs)
    if marked or kwargs.get("inplace") or (call is not None and call.writes):
        found += list(tensors([args[0] if args else kwargs.get("input")]))
    return found
