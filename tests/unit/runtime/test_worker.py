"""The worker: the latest wins, owners take turns, and nothing a job does ends it."""

import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from xaiwidgets.runtime.token import Token
from xaiwidgets.runtime.worker import Worker

PATIENCE = 20.0


class Owner:
    pass


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.shut_down(PATIENCE)


class Gate:
    """Holds the worker in a job of its own until it is opened."""

    def __init__(self, worker: Worker) -> None:
        self.owner, self.entered, self.open = Owner(), threading.Event(), threading.Event()
        worker.post(self.owner, self._job)
        assert self.entered.wait(PATIENCE)

    def _job(self, token: Token) -> None:
        self.entered.set()
        assert self.open.wait(PATIENCE)


def test_runs_a_job_on_its_own_thread(worker: Worker) -> None:
    owner, seen = Owner(), []
    worker.post(owner, lambda token: seen.append(threading.current_thread()))
    assert worker.wait(owner, PATIENCE)
    assert seen[0] is not threading.current_thread()
    assert seen[0].daemon
    assert not worker.busy(owner)


def test_of_waiting_jobs_the_latest_wins(worker: Worker) -> None:
    gate, owner, seen = Gate(worker), Owner(), []
    for number in range(100):
        worker.post(owner, lambda token, number=number: seen.append(number))
    gate.open.set()
    assert worker.wait(owner, PATIENCE)
    assert seen == [99]


def test_flood_shows_previews_and_ends_on_the_last(worker: Worker) -> None:
    owner, previews, finals = Owner(), [], []
    shown = threading.Condition()

    def job(number: int, token: Token) -> Iterator[None]:
        with shown:
            previews.append(number)
            shown.notify_all()
        yield
        for _ in range(50):
            token.check()
            yield
        finals.append(number)

    for number in range(100):
        worker.post(owner, lambda token, number=number: job(number, token))
        if number % 10 == 0:  # a hand that moves no faster than ten times the pictures
            with shown:
                assert shown.wait_for(lambda number=number: previews[-1:] >= [number], PATIENCE)
    assert worker.wait(owner, PATIENCE)
    assert finals[-1] == 99
    assert set(range(0, 100, 10)) <= set(previews)
    assert len(finals) < 100


def test_preview_happens_however_early_the_job_is_superseded(worker: Worker) -> None:
    owner, seen = Owner(), []
    posted = threading.Event()

    def first(token: Token) -> Iterator[None]:
        assert posted.wait(PATIENCE)
        assert token.cancelled
        seen.append("preview")
        yield
        token.check()
        seen.append("too late")

    started = threading.Event()
    worker.post(owner, lambda token: (started.set(), first(token))[1])
    assert started.wait(PATIENCE)
    worker.post(owner, lambda token: seen.append("second"))
    posted.set()
    assert worker.wait(owner, PATIENCE)
    assert seen == ["preview", "second"]


def test_owners_take_turns_between_steps(worker: Worker) -> None:
    gate, one, two, seen = Gate(worker), Owner(), Owner(), []

    def job(name: str) -> Iterator[None]:
        for _ in range(3):
            seen.append(name)
            yield

    worker.post(one, lambda token: job("one"))
    worker.post(two, lambda token: job("two"))
    gate.open.set()
    assert worker.wait(one, PATIENCE)
    assert worker.wait(two, PATIENCE)
    assert seen == ["one", "two"] * 3


def test_flooding_owner_does_not_starve_another(worker: Worker) -> None:
    busy, patient, done = Owner(), Owner(), threading.Event()

    def again(token: Token) -> None:
        if not done.is_set():
            worker.post(busy, again)

    worker.post(busy, again)
    worker.post(patient, lambda token: done.set())
    assert done.wait(PATIENCE)
    assert worker.wait(busy, PATIENCE)


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("late", [False, True])
def test_job_that_raises_leaves_the_worker_usable(
    worker: Worker, error: type[BaseException], late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    owner, seen = Owner(), []

    def job(token: Token) -> Iterator[None]:
        if late:
            yield
        raise error("on purpose")

    worker.post(owner, job)
    assert worker.wait(owner, PATIENCE)
    assert "on purpose" in caplog.text
    worker.post(owner, lambda token: seen.append(1))
    assert worker.wait(owner, PATIENCE)
    assert seen == [1]


def test_job_runs_in_the_given_context(worker: Worker) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    owner, seen = Owner(), []

    def job(token: Token) -> Iterator[None]:
        seen.append(variable.get())
        yield
        seen.append(variable.get())

    variable.set("front end")
    context = contextvars.copy_context()
    variable.set("cell")
    worker.post(owner, job, context)
    assert worker.wait(owner, PATIENCE)
    worker.post(owner, job)
    assert worker.wait(owner, PATIENCE)
    assert seen == ["front end", "front end", "cell", "cell"]


def test_cancel_tells_the_running_job_and_drops_the_waiting_one(worker: Worker) -> None:
    owner, seen = Owner(), []
    entered, go = threading.Event(), threading.Event()

    def job(token: Token) -> None:
        entered.set()
        assert go.wait(PATIENCE)
        seen.append(token.reason)
        token.check()

    worker.post(owner, job)
    assert entered.wait(PATIENCE)
    assert worker.cancel(owner)
    go.set()
    assert worker.wait(owner, PATIENCE)
    assert seen == ["cancelled"]
    assert not worker.cancel(owner)


def test_cancel_of_a_waiting_job(worker: Worker) -> None:
    gate, owner, seen = Gate(worker), Owner(), []
    worker.post(owner, lambda token: seen.append(1))
    assert not worker.cancel(owner)
    assert not worker.busy(owner)
    gate.open.set()
    assert worker.wait(gate.owner, PATIENCE)
    assert seen == []


def test_close_unwinds_a_job_between_its_steps(worker: Worker) -> None:
    owner, seen = Owner(), []
    stepped, gate_open = threading.Event(), threading.Event()

    def job(token: Token) -> Iterator[None]:
        try:
            stepped.set()
            assert gate_open.wait(PATIENCE)
            while True:
                yield
        finally:
            seen.append("unwound")

    worker.post(owner, job)
    assert stepped.wait(PATIENCE)
    worker.close(owner)
    gate_open.set()
    assert worker.wait(owner, PATIENCE)
    assert seen == ["unwound"]


def test_owner_is_not_kept_alive(worker: Worker) -> None:
    gate, owner = Gate(worker), Owner()
    seen: list[int] = []
    worker.post(owner, lambda token: seen.append(1))
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    gate.open.set()
    assert worker.wait(gate.owner, PATIENCE)
    assert seen == []


def test_wait_gives_up_in_time_and_refuses_to_wait_for_itself(worker: Worker) -> None:
    gate, owner, seen = Gate(worker), Owner(), []
    assert not worker.wait(gate.owner, 0.0)
    gate.open.set()

    def job(token: Token) -> None:
        with pytest.raises(RuntimeError, match="wait"):
            worker.wait(owner)
        seen.append(1)

    worker.post(owner, job)
    assert worker.wait(owner, PATIENCE)
    assert seen == [1]
