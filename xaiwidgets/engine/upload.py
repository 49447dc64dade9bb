"""To the device, without waiting for it.

A copy from ordinary memory makes the caller wait until a GPU has done all that it was told before.
From memory that is pinned the copy joins the queue.
"""

from __future__ import annotations

import torch
from torch import Tensor


def upload(values: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`values` on a device, as `values.to(device, dtype)` gives them.

    Args:
        values: made on the CPU; what is on the device already stays there.
        device: where they go.
        dtype: what they become.
    """
    if device.type != "cuda" or values.device.type != "cpu" or values.requires_grad:
        return values.to(device, dtype)
    return values.to(dtype).pin_memory().to(device, non_blocking=True)
