"""A progress bar for scripts; quick work shows none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_DELAY = 1.0


def bar(
    items: Iterable[T], name: str, progress: bool | None, place: Callable[[T], tuple[int, int]]
) -> Iterator[T]:
    """Hand on `items` under a tqdm bar.

    Args:
        items: what is counted.
        name: stands before the bar.
        progress: True shows it at once, False never, `None` after a second.
        place: what is done, and what is to do in all, at an item.
    """
    from tqdm.auto import tqdm

    delay = 0.0 if progress else _DELAY
    with tqdm(desc=name, disable=progress is False, delay=delay, leave=False) as shown:
        for item in items:
            done, shown.total = place(item)
            shown.update(done - shown.n)
            yield item
