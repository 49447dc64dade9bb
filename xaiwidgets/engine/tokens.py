"""Where in a layer's output the places of the photo are.

Convolutions give maps `(N, C, h, w)`; some networks (Swin) keep channels last, `(N, h, w, C)`;
transformers give tokens `(N, T, D)`, one for each patch, row by row, beside a class token and
registers. Which of them it is, is read from the network itself:

- A map has the photo's proportions; for h or w rounded up or down by one.
- Tokens are as many as the last convolution before them had places, plus the extra ones. Without a
  convolution the patches must be square, of a whole number of pixels, and only one size may fit.
- Which of the tokens are extra is told by the concatenation that joined them to the patches.

What is not sure raises an error that says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaiwidgets.engine.survey import Shape, Survey

_MOST_EXTRA = 16


@dataclass(frozen=True)
class Grid:
    """How to read a layer's output as a map.

    Attributes:
        kind: "channels first", "channels last" or "tokens".
        height: of the map.
        width: of the map.
        first: place of the first patch among the tokens.
        extra: number of tokens that are no patches.
    """

    kind: str
    height: int
    width: int
    first: int = 0
    extra: int = 0

    def to_map(self, output: Tensor) -> Tensor:
        """The patches of `output` as `(N, C, h, w)`."""
        if self.kind == "channels first":
            return output
        if self.kind == "channels last":
            return output.permute(0, 3, 1, 2)
        count = self.height * self.width
        patches = output[:, self.first : self.first + count].transpose(1, 2)
        return patches.reshape(len(output), output.shape[2], self.height, self.width)

    def from_map(self, maps: Tensor, output: Tensor) -> Tensor:
        """`output`, `(1, ...)`, once for each of `maps`, `(N, C, h, w)`, which takes the place of
        its patches; extra tokens stay."""
        if self.kind == "channels first":
            return maps
        moved = maps.permute(0, 2, 3, 1)
        if self.kind == "channels last":
            return moved
        rows = output.repeat(len(maps), 1, 1)
        count = self.height * self.width
        rows[:, self.first : self.first + count] = moved.flatten(1, 2)
        return rows


def find_grid(shape: Shape, seen: Survey, before: int) -> Grid:
    """How to read a layer's output.

    Args:
        shape: of the output, batch axis first.
        seen: a pass of the network.
        before: number of operators that had run when the layer gave it.

    Raises:
        ValueError: when it holds no map of the photo, or might hold several.
    """
    if shape[0] != seen.input[0]:
        raise ValueError(
            f"its output has {shape[0]} rows for {seen.input[0]} photo(s) (windows or a batch axis "
            "that is not the first)"
        )
    if len(shape) == 4:
        return _map(shape, seen)
    if len(shape) == 3:
        return _tokens(shape, seen, before)
    raise ValueError(f"its output of shape {shape} has no spatial extent")


def _map(shape: Shape, seen: Survey) -> Grid:
    _, one, two, three = shape
    if any(place[1:] == (two, three) for place in seen.maps):
        return Grid("channels first", two, three)
    if two == three and two in seen.token_counts:
        raise ValueError(f"its output of shape {shape} relates tokens to each other")
    if _fits(two, three, seen.input):
        return Grid("channels first", two, three)
    if _fits(one, two, seen.input):
        return Grid("channels last", one, two)
    raise ValueError(
        f"its output of shape {shape} does not have the proportions of the photo, "
        f"{seen.input[-2]}x{seen.input[-1]}"
    )


def _fits(height: int, width: int, photo: Shape) -> bool:
    """Whether a map may be the photo scaled down, each side rounded by less than a cell."""
    scale = height / photo[-2]
    return height <= photo[-2] and width <= photo[-1] and abs(width - photo[-1] * scale) <= 1


def _tokens(shape: Shape, seen: Survey, before: int) -> Grid:
    count = shape[1]
    last = [place[1:] for place in seen.maps if place[0] < before]
    sizes = {size for size in last if 0 <= count - size[0] * size[1] <= _MOST_EXTRA}
    # Of several stages the tokens are those of the last one that fits.
    fitting = [size for size in reversed(last) if size in sizes and max(size) > 1]
    if not fitting:
        fitting = _square_patches(count, seen.input)
        if len(fitting) > 1:
            options = " or ".join(f"{h}x{w}" for h, w in fitting)
            raise ValueError(
                f"its {count} tokens may be a grid of {options}, with the rest as extra tokens; "
                "no convolution of the network tells which"
            )
    if not fitting:
        raise ValueError(
            f"its {count} tokens are no grid of patches of a photo of "
            f"{seen.input[-2]}x{seen.input[-1]} pixels, with at most {_MOST_EXTRA} extra tokens"
        )
    height, width = fitting[0]
    extra = count - height * width
    return Grid("tokens", height, width, _first(height * width, extra, seen, before), extra)


def _square_patches(count: int, photo: Shape) -> list[tuple[int, int]]:
    sizes = []
    for patch in range(2, min(photo[-2:]) + 1):
        if photo[-2] % patch == 0 and photo[-1] % patch == 0:
            height, width = photo[-2] // patch, photo[-1] // patch
            if 0 <= count - height * width <= _MOST_EXTRA and height * width > 1:
                sizes.append((height, width))
    return sizes


def _first(patches: int, extra: int, seen: Survey, before: int) -> int:
    """Where the patches begin, from the concatenations that joined other tokens to them."""
    first, joined = 0, patches
    for number, axis, lengths in seen.joins:
        if number >= before or axis != 1:
            continue
        if joined in lengths and joined < patches + extra:
            first += sum(lengths[: lengths.index(joined)])
            joined = sum(lengths)
        elif patches in lengths:
            # Taken apart and joined anew, as registers are put between class token and patches.
            first = sum(lengths[: lengths.index(patches)])
            joined = sum(lengths)
    if joined != patches + extra:
        raise ValueError(
            f"{extra} of its {patches + extra} tokens are not patches, but no torch.cat shows "
            "which of them"
        )
    return first
