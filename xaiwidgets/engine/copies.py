"""The copies of a network that are run in its place, made when the first of them is needed."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xaiwidgets.engine.copying import (
    bare_copy,
    lay_out_plainly,
    memory_format,
    own_copy,
    try_formats,
)
from xaiwidgets.engine.folding import fold


class Copies:
    """A network as it is written, and folded.

    Args:
        net: the network; it is copied and never touched.
        device: where the copies are.
        dtype: of the copies.
        example: makes an input of the network, `(1, C, H, W)`.

    Attributes:
        written: the copy as the network is written. Before `settle` it may be laid out otherwise.
    """

    def __init__(
        self,
        net: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        example: Callable[[], Tensor],
    ) -> None:
        with torch.inference_mode(False):
            self.written = own_copy(net, device, dtype)
        self._device = device
        # Needed once; kept, it would tie a knot with the model that owns both.
        self._example: Callable[[], Tensor] | None = example
        self._lock = threading.RLock()
        self._folded: nn.Module | None = None
        self._bare: nn.Module | None = None
        self._memory_format = torch.contiguous_format
        self._writes_input = True

    @property
    def net(self) -> nn.Module:
        """The copy as the network is written."""
        self.settle()
        return self.written

    @property
    def folded(self) -> nn.Module:
        """The copy with batch normalization folded away where that is possible."""
        self.settle()
        assert self._folded is not None
        return self._folded

    @property
    def memory_format(self) -> torch.memory_format:
        """How inputs lie in memory: channels last where the network takes that."""
        self.settle()
        return self._memory_format

    def laid(self, x: Tensor) -> Tensor:
        """The input as the network takes it: a copy where it would write into it."""
        laid = x.contiguous(memory_format=self.memory_format)
        return x.clone() if self._writes_input and laid is x else laid

    def plain(self) -> Copies:
        """The same network with images and weights laid out as they were given."""
        self.settle()
        made = copy.copy(self)
        made._memory_format = torch.contiguous_format
        if self._bare is not None:
            with torch.inference_mode(False), torch.no_grad():
                made.written = lay_out_plainly(self._bare)
        if self._folded is self.written:
            made._folded = made.written
        return made

    def settle(self) -> None:
        """Choose the memory format and fold, once."""
        make = self._example
        if make is None:
            return
        # Weights made in inference mode could never be differentiated through.
        with self._lock, torch.inference_mode(False), torch.no_grad():
            if self._folded is not None:
                return
            example = make()
            best, self._writes_input = try_formats(self.written, example)
            folded: nn.Module | None = None
            if any(isinstance(module, _BatchNorm) for module in self.written.modules()):
                try:
                    folded = fold(self.written, example.contiguous(memory_format=best))
                except Exception:
                    # What is wrong with the network shows when it is asked about a photo.
                    folded = None
            if memory_format(self.written, self._device) is torch.channels_last:
                # Now, before methods hang hooks on the network while they run it.
                self._bare = bare_copy(self.written)
            self._memory_format = best
            self._folded = self.written if folded is None else folded
            self._example = None
