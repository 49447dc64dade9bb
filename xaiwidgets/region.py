"""A region of a segmentation network's maps of scores."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


class Region:
    """The mean score of a class over a region of the maps `(N, K, h, w)` that a network gives.

    Its probability, where a method shows that, is the mean over the region of each place's softmax
    over the classes (of its sigmoid, where there is one class). Class activation maps show the last
    layer before the maps of scores, unless another one is chosen.

    Args:
        where: a box `(top, left, bottom, right)` in pixels of the frame that the model sees,
            bottom and right not included; or a mask `(H, W)` of the frame or of the maps: bool, or
            weights of at least 0. Where the maps are coarser than the frame, a place counts with
            the share of it that lies in the region.
        category: the class, by index or name; `None` takes the one with the highest mean there.

    Raises:
        ValueError, TypeError: for what is no box or mask, or an empty one.
    """

    def __init__(self, where: Any, category: Any = None) -> None:
        self.category = category
        self.box: tuple[int, int, int, int] | None = None
        array = _as_array(where)
        if array.shape == (4,) and array.dtype.kind in "iu":
            top, left, bottom, right = (int(each) for each in array)
            self.box = (top, left, bottom, right)
            if not (0 <= top < bottom and 0 <= left < right):
                raise ValueError(
                    "The box of a Region is (top, left, bottom, right) in pixels, with 0 <= top < "
                    f"bottom and 0 <= left < right, not {self.box}."
                )
            self._mask: NDArray[np.float32] | None = None
        elif array.ndim == 2 and array.dtype.kind in "biuf":
            self._mask = array.astype(np.float32)
            self._mask.setflags(write=False)
            if not (np.isfinite(self._mask).all() and self._mask.min(initial=0) >= 0):
                raise ValueError("The mask of a Region must hold weights of at least 0.")
            if not self._mask.any():
                raise ValueError("The mask of a Region is empty: it is 0 everywhere.")
        else:
            raise TypeError(
                "A Region is a box of four whole numbers (top, left, bottom, right), or a mask "
                f"(H, W), not {reprlib.repr(where)}."
            )

    def of(self, category: int) -> Region:
        """The same region of the class of that index."""
        made = Region.__new__(Region)
        made.category, made.box, made._mask = category, self.box, self._mask
        return made

    def weights(self, frame: tuple[int, int], maps: tuple[int, int]) -> Tensor:
        """The share that each place of the maps has in the region, `(h, w)`, float64, sum 1.

        Args:
            frame: height and width of the frame.
            maps: height and width of the maps.

        Raises:
            ValueError: for a region that does not fit.
        """
        mask = torch.zeros(frame, dtype=torch.float64)
        if self.box is not None:
            top, left, bottom, right = self.box
            if bottom > frame[0] or right > frame[1]:
                raise ValueError(
                    f"The box {self.box} of the Region reaches over the edge of the frame, which "
                    f"is {frame[0]} pixels high and {frame[1]} wide."
                )
            mask[top:bottom, left:right] = 1
        else:
            assert self._mask is not None
            mask = torch.from_numpy(self._mask.astype(np.float64))
            if tuple(mask.shape) not in (frame, maps):
                raise ValueError(
                    f"The mask of a Region must have the size of the frame, {frame}, or of the "
                    f"network's maps, {maps}, not {tuple(mask.shape)}."
                )
        if tuple(mask.shape) != maps:
            mask = functional.adaptive_avg_pool2d(mask[None], maps)[0]
        return mask / mask.sum()

    @property
    def plain(self) -> Any:
        """The box as a list; or the mask as bytes and its shape: "bits", eight places to a byte and
        the first one lowest, or "weights", little-endian float32 where they are not 0 and 1.
        """
        if self._mask is None:
            return list(self.box or ())
        shape = list(self._mask.shape)
        if bool(((self._mask == 0) | (self._mask == 1)).all()):
            bits = np.packbits(self._mask.astype(bool), bitorder="little")
            return {"bits": bits.tobytes(), "shape": shape}
        return {"weights": self._mask.astype("<f4").tobytes(), "shape": shape}

    @classmethod
    def from_plain(cls, plain: Any, category: Any = None) -> Region:
        """The region that `plain` was made of.

        Raises:
            ValueError, TypeError: as for any region, and for bytes that do not fit their shape.
        """
        return cls(_unpacked(plain) if isinstance(plain, Mapping) else plain, category)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal regions."""
        mask = None if self._mask is None else (self._mask.shape, self._mask.tobytes())
        return (self.box, mask, self.category)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        where = f"mask of {self._mask.shape}" if self._mask is not None else str(self.box)
        return f"Region({where}, {self.category!r})"


def _as_array(where: Any) -> NDArray[Any]:
    if isinstance(where, Tensor):
        return where.detach().cpu().numpy()
    try:
        return np.asarray(where)
    except ValueError:  # rows of different lengths
        return np.empty(0)


def _unpacked(plain: Mapping[str, Any]) -> NDArray[Any]:
    """The mask that `Region.plain` tells of."""
    kind = "weights" if "weights" in plain else "bits"
    data: Any = plain.get(kind)
    shape: Any = plain.get("shape")
    if set(plain) != {kind, "shape"} or not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(
            'A mask as plain values is {"bits": ..., "shape": ...} or {"weights": ..., "shape": '
            f"...}}, the first of them bytes, not {reprlib.repr(dict(plain))}."
        )
    whole = isinstance(shape, list | tuple) and all(type(each) is int for each in shape)
    if not whole or len(shape) != 2 or min(shape) < 1:
        raise ValueError(
            "The shape of a mask is two whole numbers, height and width, of at least 1, not "
            f"{reprlib.repr(shape)}."
        )
    height, width = shape
    needed = 4 * height * width if kind == "weights" else -(-height * width // 8)
    given = memoryview(data).nbytes
    if given != needed:
        raise ValueError(
            f"The {kind} of a mask of {height} x {width} take {needed} bytes, not {given}."
        )
    if kind == "weights":
        return np.frombuffer(data, "<f4").reshape(height, width)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=height * width, bitorder="little")
    return bits.reshape(height, width)
