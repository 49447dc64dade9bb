"""A network of our own: the user's is read, and never written to.

The copy is in evaluation mode, frozen, on its device, with the weights of its convolutions in
channels_last. Forward hooks and pre-hooks come along, because they are part of what the network
computes (spectral norm is one). Backward hooks stay behind: the gradient that a method asks for is
the network's own.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_HALF = (torch.float16, torch.bfloat16)


def own_copy(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A prepared copy of `net`; `net` stays bit for bit as it is.

    Args:
        net: any module. The one inside of `torch.compile`, DataParallel or
            DistributedDataParallel is taken.
        device: where the copy lives.
        dtype: of the copy's floating weights and buffers.

    Raises:
        TypeError: when `net` cannot be copied.
        ValueError: when its weights are not there yet (lazy or meta).
    """
    net = unwrapped(net)
    _check_weights(net)
    try:
        # Without gradients, or the weights of scripted modules would be results of a clone.
        with torch.no_grad():
            copied = copy.deepcopy(net, cast("dict[int, Any]", _detached_leftovers(net)))
    except Exception as error:
        raise TypeError(
            f"The network ({type(net).__name__}) cannot be copied: {error}. xaiwidgets works on a "
            "copy of its own; remove what cannot be copied (locks, files, generators, stored "
            "activations) from the module's attributes, or give it a __deepcopy__."
        ) from error
    theirs = {id(tensor) for tensor in (*net.parameters(), *net.buffers())}
    if copied is net or any(id(t) in theirs for t in (*copied.parameters(), *copied.buffers())):
        raise TypeError(
            f"The network's own __deepcopy__ ({type(net).__name__}) shares its weights with the "
            "copy. xaiwidgets works on a copy of its own: let it copy the weights too."
        )
    _without_backward_hooks(copied)
    for parameter in copied.parameters():
        parameter.grad = None
        # One by one, as scripted modules have no requires_grad_.
        parameter.requires_grad_(False)
    copied = copied.eval().to(device=device, dtype=dtype)
    if memory_format(copied, device) is torch.channels_last:
        copied = copied.to(memory_format=torch.channels_last)
    return copied


def bare_copy(net: nn.Module) -> nn.Module:
    """A copy of the modules alone: it shares every weight and buffer with `net`."""
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    return copy.deepcopy(net, cast("dict[int, Any]", shared))


def lay_out_plainly(net: nn.Module) -> nn.Module:
    """Give `net`, a `bare_copy`, weights of its own where they may be in channels_last."""
    found = [
        (module, name, tensor)
        for module in net.modules()
        for kind in (module.named_parameters, module.named_buffers)
        for name, tensor in kind(recurse=False, remove_duplicate=False)
        if tensor.ndim == 4
    ]
    # By identity, as weights may be tied.
    made = {id(tensor): _plain(tensor) for _, _, tensor in found}
    for module, name, tensor in found:
        setattr(module, name, made[id(tensor)])
    return net


def _plain(tensor: Tensor) -> Tensor:
    plain = tensor.detach().clone(memory_format=torch.contiguous_format)
    is_weight = isinstance(tensor, nn.Parameter)
    return nn.Parameter(plain, requires_grad=False) if is_weight else plain


def unwrapped(net: nn.Module) -> nn.Module:
    """The plain network inside of compiling and parallel wrappers."""
    while True:
        inner = getattr(net, "_orig_mod", None)
        if isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = net.module
        if not isinstance(inner, nn.Module):
            return net
        net = inner


def memory_format(net: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last where there are convolutions that profit from it."""
    convolves = any(isinstance(module, nn.Conv2d) for module in net.modules())
    good = convolves and device.type != "mps"
    return torch.channels_last if good else torch.contiguous_format


def input_channels(net: nn.Module) -> int | None:
    """Channels that the first convolution takes."""
    convolutions = (module for module in net.modules() if isinstance(module, nn.Conv2d))
    first = next(convolutions, None)
    return None if first is None else int(first.in_channels)


def try_formats(net: nn.Module, example: Tensor) -> tuple[torch.memory_format, bool]:
    """Settle how a prepared network's inputs lie in memory, by running it.

    Channels last is faster, but code that calls `view` on activations cannot take it; the weights
    are laid out anew then.

    Returns:
        The memory format, and whether the network begins with an operation in place, which would
        change the photo it is given (`True` also where it could not be run).
    """
    for wanted in (memory_format(net, example.device), torch.contiguous_format):
        given = example.clone(memory_format=wanted)
        before = given._version
        try:
            net(given)
        except Exception:
            net.to(memory_format=torch.contiguous_format)
            continue
        return wanted, given._version != before
    return torch.contiguous_format, True


def choose_device(device: str | torch.device) -> torch.device:
    """A device that is there; "auto" takes cuda, else mps, else cpu.

    Raises:
        ValueError: for one that is not there.
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"device={device!r} is not available here ({str(error).splitlines()[0]}). "
            'Use "auto", "cpu", or a device that torch knows.'
        ) from error
    if chosen.type == "meta":
        raise ValueError('device="meta" holds no numbers. Use "auto", "cpu", "cuda" or "mps".')
    return chosen


def choose_dtype(
    net: nn.Module, device: torch.device, dtype: torch.dtype | None
) -> tuple[torch.dtype, str]:
    """The dtype to compute in, and a note where it is not the one asked for.

    Args:
        net: its first floating parameter decides when `dtype` is `None`; float32 without one.
        device: half precision on a CPU, and float64 on mps, become float32.
        dtype: as given by the user.

    Raises:
        TypeError: for what is no dtype.
        ValueError: for a dtype that does not hold fractions.
    """
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype such as torch.float32, not {dtype!r}.")
    if dtype is None:
        floating = (p.dtype for p in net.parameters() if p.is_floating_point())
        dtype = next(floating, torch.float32)
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise ValueError(
            "dtype must be torch.float16, bfloat16, float32 or float64, "
            f"not {dtype}: gradients need it."
        )
    poor = (device.type == "cpu" and dtype in _HALF) or (
        device.type == "mps" and dtype == torch.float64
    )
    if poor:
        return torch.float32, f"computed in float32, as {_name(dtype)} is not on {device.type}"
    return dtype, ""


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check_weights(net: nn.Module) -> None:
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(
                f'The network\'s "{name}" has no shape yet: it is a lazy layer. '
                "Run the network once on an example input before wrapping it."
            )
        if tensor.is_meta:
            raise ValueError(
                f'The network\'s "{name}" is on the meta device and holds no numbers. '
                "Load its weights before wrapping it."
            )


def _detached_leftovers(net: nn.Module) -> dict[int, Tensor]:
    """Activations that a forward pass left in attributes; they cannot be deep-copied otherwise."""
    found: dict[int, Tensor] = {}
    for module in net.modules():
        for value in vars(module).values():
            inner = value.values() if isinstance(value, dict) else value
            for item in inner if isinstance(value, list | tuple | dict) else (value,):
                if isinstance(item, Tensor) and not item.is_leaf:
                    found[id(item)] = item.detach().clone()
    return found


def _without_backward_hooks(net: nn.Module) -> None:
    for module in net.modules():
        for kind in ("_backward_hooks", "_backward_pre_hooks"):
            hooks = getattr(module, kind, None)
            if hooks:
                hooks.clear()
