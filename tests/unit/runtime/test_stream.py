"""Streams: two messages on their way at most, the newest replaces or nothing is lost."""

from typing import Any

from xaiwidgets.runtime.kept import Kept
from xaiwidgets.runtime.stream import Latest, Stream


class Page:
    """Records what is sent; acknowledges when told to, or at once."""

    def __init__(self, *, prompt: bool = False, **options: Any) -> None:
        self.got: list[dict[str, Any]] = []
        self.prompt = prompt
        self.stream = Stream(self._send, **options)

    def _send(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        self.got.append({**message, "buffers": buffers})
        if self.prompt and "seq" in message:
            self.stream.acknowledge(message["seq"])

    def values(self) -> list[Any]:
        return [message["value"] for message in self.got]

    def acknowledge_all(self) -> None:
        for message in list(self.got):
            self.stream.acknowledge(message.get("seq"))


def kept(**options: Any) -> Kept[int]:
    return Kept(lambda items: ({"value": list(items)}, [b""]), lambda item: 10, **options)


def put(page: Page, feed: Latest, value: Any) -> None:
    with page.stream:
        feed.put({"value": value}, [b"x"])


def add(page: Page, feed: Kept[int], *items: int) -> None:
    for item in items:
        with page.stream:
            feed.add(item)


def test_lossy_feed_has_two_on_their_way_and_holds_the_newest() -> None:
    page, feed = Page(), Latest()
    page.stream.attach(feed)
    for number in range(10):
        put(page, feed, number)
    assert page.values() == [0, 1]
    assert [message["seq"] for message in page.got] == [1, 2]
    page.stream.acknowledge(1)
    assert page.values() == [0, 1, 9]
    page.acknowledge_all()
    assert page.values() == [0, 1, 9]


def test_page_that_acknowledges_inside_of_send_gets_everything() -> None:
    page, feed = Page(prompt=True), Latest()
    page.stream.attach(feed)
    for number in range(10):
        put(page, feed, number)
    assert page.values() == list(range(10))


def test_lossless_feed_bundles_what_waited() -> None:
    page, feed = Page(), kept(bundle=45)
    page.stream.attach(feed)
    add(page, feed, *range(10))
    assert page.values() == [[0], [1]]
    page.stream.acknowledge(1)
    page.stream.acknowledge(2)
    assert page.values()[2:] == [[2, 3, 4, 5], [6, 7, 8, 9]]


def test_bundles_hold_at_least_one_item_however_large() -> None:
    page, feed = Page(prompt=True), kept(bundle=0)
    page.stream.attach(feed)
    with page.stream:
        feed.replace([1, 2, 3])
    assert page.values() == [[1], [2], [3]]


def test_newest_first_then_the_gaps() -> None:
    page, feed = Page(), kept(first="newest")
    page.stream.attach(feed)
    add(page, feed, *range(6))
    assert page.values() == [[0], [1]]
    page.prompt = True
    page.stream.acknowledge(1)
    page.stream.acknowledge(2)
    assert page.values() == [[0], [1], [5], [4], [3], [2]]


def test_feeds_take_turns() -> None:
    page, feed, other = Page(), Latest(), kept(bundle=0)
    page.stream.attach(feed, other)
    page.stream.show(False)
    add(page, other, 1, 2, 3)
    put(page, feed, "map")
    page.prompt = True
    page.stream.show(True)
    assert page.values().index("map") < 2
    assert len(page.values()) == 4


def test_joining_page_gets_everything_kept_though_the_old_one_never_answered() -> None:
    page, feed, lossy = Page(), kept(), Latest()
    page.stream.attach(feed, lossy)
    add(page, feed, 1, 2, 3)
    put(page, lossy, "map")
    assert page.values() == [[1], [2]]
    page.got.clear()
    page.prompt = True
    page.stream.ready()
    assert page.values() in ([[1, 2, 3], "map"], ["map", [1, 2, 3]])
    seqs = [message["seq"] for message in page.got]
    assert min(seqs) > 2


def test_late_and_nonsensical_acknowledgements_do_no_harm() -> None:
    page, feed = Page(), Latest()
    page.stream.attach(feed)
    for nonsense in (None, "1", 99, -1, 1.5, [1], {}):
        page.stream.acknowledge(nonsense)
    for number in range(4):
        put(page, feed, number)
    page.stream.acknowledge(1)
    page.stream.acknowledge(1)
    assert page.values() == [0, 1, 3]
    put(page, feed, 4)
    assert page.values() == [0, 1, 3]


def test_nothing_is_sent_while_nobody_looks() -> None:
    page, feed = Page(prompt=True), Latest()
    page.stream.attach(feed)
    page.stream.show(False)
    for number in range(5):
        put(page, feed, number)
        page.stream.progress({"value": f"{number} of 5"})
    assert page.got == []
    page.stream.show(True)
    assert page.values() == ["4 of 5", 4]


def test_without_a_front_end_nothing_grows() -> None:
    page, feed, items = Page(), Latest(), kept(limit=1000)
    page.stream.attach(feed, items)
    for number in range(5000):
        put(page, feed, number)
        add(page, items, number)
    assert len(page.got) == 2
    assert items.nbytes <= 1000
    assert items.items[0] == 0
    assert items.items[-1] == 4999
    page.prompt = True
    page.stream.ready()
    sent = [n for value in page.values()[2:] if isinstance(value, list) for n in value]
    assert sorted(sent) == items.items


def test_progress_is_limited_and_the_last_always_arrives() -> None:
    now = 100.0
    page = Page(clock=lambda: now)
    for number in range(100):
        now += 0.01
        page.stream.progress({"value": number}, last=number == 99)
    sent = page.values()
    assert sent[0] == 0
    assert sent[-1] == 99
    assert 14 <= len(sent) <= 17


def test_clear_drops_what_is_outdated() -> None:
    page, feed, items = Page(), Latest(), kept()
    page.stream.attach(feed, items)
    page.stream.show(False)
    put(page, feed, "old")
    add(page, items, 1)
    page.stream.progress({"value": "old"})
    page.stream.clear()
    page.stream.show(True)
    assert page.got == []
