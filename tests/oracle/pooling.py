"""Max-pooling taken apart: its windows, from which a rule picks or mixes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

NAMES = ("max_pool2d", "_max_pool2d")
"""How a call of it is called."""


def read(args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call."""
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = dict(zip(names, args, strict=False)) | kwargs
    size = given["kernel_size"]
    assert given.get("dilation", 1) == 1
    return {
        "size": size,
        "stride": given.get("stride") or size,
        "padding": given.get("padding", 0),
        "ceil": given.get("ceil_mode", False),
    }


def windows(x: Tensor, size: int, stride: int, padding: int, ceil: bool, fill: float) -> Tensor:
    """Windows of maps `(N, C, H, W)`, `(N, C, h, w, size * size)`; `fill` is beyond the edge."""
    shape = F.max_pool2d(x.detach(), size, stride, padding, ceil_mode=ceil).shape[-2:]
    more = [
        max(0, (few - 1) * stride + size - side - padding)
        for few, side in zip(shape, x.shape[-2:], strict=True)
    ]
    wide = F.pad(x, (padding, more[1], padding, more[0]), value=fill)
    found = wide.unfold(2, size, stride).unfold(3, size, stride)
    return found[:, :, : shape[0], : shape[1]].flatten(4)


def with_way_back(value: Tensor, way_back: Tensor) -> Tensor:
    """`value` on the way forward, `way_back`'s gradient on the way back."""
    return value.detach() + way_back - way_back.detach()
