"""A lossless feed over items that are kept, so that a page which joins later gets all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Literal, TypeVar

from xaiwidgets.runtime.stream import Packed

T = TypeVar("T")


class Kept(Generic[T]):
    """Items in the order they were made; each is sent once, and again to a page that joins.

    While nobody looks items just wait, and go out in bundles of a bounded size later. Once it is
    attached to a `Stream` it is changed within `with stream:` only.

    Args:
        pack: makes one message of a few items.
        size: bytes of an item.
        first: "oldest" sends in order; "newest" sends the newest, and the gaps when there is time.
        bundle: most bytes in a message (a larger single item goes alone), 0 for one item each.
        limit: most bytes kept. Beyond it every other item is given up, the ends excepted.
    """

    def __init__(
        self,
        pack: Callable[[Sequence[T]], Packed],
        size: Callable[[T], int],
        *,
        first: Literal["oldest", "newest"] = "oldest",
        bundle: int = 1 << 20,
        limit: int = 256 << 20,
    ) -> None:
        self._pack, self._size, self._first = pack, size, first
        self._bundle, self._limit = bundle, limit
        self._unsent: list[T] = []
        self.items: list[T] = []

    @property
    def nbytes(self) -> int:
        """Bytes of all items."""
        return sum(self._size(item) for item in self.items)

    def add(self, item: T) -> None:
        """Keep an item; it is sent when the stream has room."""
        self.items.append(item)
        self._unsent.append(item)
        if len(self.items) > 2 and self.nbytes > self._limit:
            self._thin()

    def replace(self, items: Iterable[T] = ()) -> None:
        """Keep these items instead, all still to be sent."""
        self.items = list(items)
        self._unsent = list(self.items)

    def take(self) -> Packed | None:
        """A message of what is still to be sent."""
        if not self._unsent:
            return None
        if self._first == "newest":
            return self._pack([self._unsent.pop()])
        count, room = 0, self._bundle
        while count < len(self._unsent):
            room -= self._size(self._unsent[count])
            if room < 0 and count > 0:
                break
            count += 1
        taken, self._unsent = self._unsent[:count], self._unsent[count:]
        return self._pack(taken)

    def rewind(self) -> None:
        """Send everything once more."""
        self._unsent = list(self.items)

    def clear(self) -> None:
        """Forget all items."""
        self.replace()

    def _thin(self) -> None:
        last = len(self.items) - 1
        self.items = [item for i, item in enumerate(self.items) if i % 2 == 0 or i == last]
        kept = {id(item) for item in self.items}
        self._unsent = [item for item in self._unsent if id(item) in kept]
