"""How precisely a network is run, and how torch is told.

"tf32" and "bf16" round what goes into convolutions and matrix products, which a GPU then does
several times as fast: TF32 keeps the range of float32 and 10 bits after the leading one, bfloat16
7. bfloat16 is for the way forward as `torch.autocast` does it; gradients follow in the same types.

What TF32 may be used for are switches of the whole process, not of a thread: they are turned while
the network runs, there and back, and put back as they were. Runs that turn them wait for one
another; what other threads compute meanwhile is rounded likewise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

PRECISIONS = ("fast", "exact", "tf32", "bf16")
REDUCED = ("tf32", "bf16")
FULL = "full"
"""As "fast" with TF32 off: what reduced ones are measured against."""

T = TypeVar("T")

_AMPERE = (8, 0)
_turn = threading.RLock()
_Switch = tuple[Any, str, tuple[Any, Any]]
"""Owner and name of a switch, and its values for off and on."""


def check_precision(precision: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ValueError for a precision that does not exist, or makes no sense for a network.

    Args:
        precision: as it was given.
        device: where the network runs.
        dtype: of its weights.
    """
    if precision not in PRECISIONS:
        allowed = ", ".join(f'"{each}"' for each in PRECISIONS[:-1])
        raise ValueError(f'precision must be {allowed} or "{PRECISIONS[-1]}", not {precision!r}.')
    if precision not in REDUCED:
        return
    stay = 'Use precision="fast"'
    if dtype != torch.float32:
        raise ValueError(
            f'precision="{precision}" rounds float32, and this network is '
            f"{str(dtype).removeprefix('torch.')}. {stay}, or xai.Model(net, dtype=torch.float32)."
        )
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(
            f'precision="tf32" is arithmetic of NVIDIA GPUs; on {device.type} it would change '
            f'nothing. {stay}, or a model with device="cuda".'
        )
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _AMPERE:
        raise ValueError(
            f'precision="{precision}" needs a GPU of compute capability 8.0 (Ampere) or newer; '
            f"{torch.cuda.get_device_name(device)} is older. {stay}."
        )


def running(precision: str) -> AbstractContextManager[None]:
    """Around the run of a network, there and back."""
    if precision in ("tf32", FULL):
        return tf32(precision == "tf32")
    return nullcontext()


def rounding(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Around the way forward alone."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def widened(output: T) -> T:
    """The same tensors, lists and dictionaries, with float32 for all that is bfloat16."""
    found: T = tree_map_only(Tensor, _wide, output)
    return found


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Within it TF32 is used for all that it can be used for, or for nothing."""
    with _turn:
        before = list(_readable(_switches()))
        try:
            for owner, name, values, _ in before:
                setattr(owner, name, values[allowed])
            yield
        finally:
            for owner, name, _, value in before:
                setattr(owner, name, value)


def _readable(switches: list[_Switch]) -> Iterator[tuple[Any, str, tuple[Any, Any], Any]]:
    """Those that can be read, and how they stand."""
    for owner, name, values in switches:
        try:
            yield owner, name, values, getattr(owner, name)
        except RuntimeError:
            # An old name for what was set by a new one: the new one alone says how it stands.
            continue


def _switches() -> list[_Switch]:
    """All there are in this version of torch; old names first, as they set the new ones too."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    found: list[_Switch] = [(each, "allow_tf32", (False, True)) for each in (matmul, cudnn)]
    if hasattr(matmul, "fp32_precision"):
        owners = (matmul, cudnn.conv, cudnn.rnn)
        found += [(each, "fp32_precision", ("ieee", "tf32")) for each in owners]
    return found
