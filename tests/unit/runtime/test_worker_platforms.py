"""Where threads are different, missing, or lost in a fork."""

import os
import threading
from collections.abc import Iterator

import pytest

from tests.unit.runtime.test_worker import PATIENCE, Gate, Owner
from xaiwidgets.runtime import threads
from xaiwidgets.runtime import worker as module
from xaiwidgets.runtime.token import Token
from xaiwidgets.runtime.worker import Worker


def test_inline_runs_in_the_caller_and_the_latest_still_wins() -> None:
    worker, owner, seen = Worker(inline=True), Owner(), []

    def job(token: Token) -> Iterator[None]:
        seen.append("preview")
        worker.post(owner, lambda token: seen.append(threading.current_thread()))
        yield
        token.check()
        seen.append("too late")

    worker.post(owner, job)
    assert seen == ["preview", threading.current_thread()]
    assert worker.wait(owner, 0.0)


def test_inline_lets_the_users_interrupt_through_and_survives() -> None:
    worker, owner, seen = Worker(inline=True), Owner(), []

    def job(token: Token) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.post(owner, job)
    worker.post(owner, lambda token: seen.append(1))
    assert seen == [1]


def test_falls_back_to_inline_when_no_thread_can_be_started() -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    threads.set_thread_class(NoThread)
    try:
        worker, owner, seen = Worker(), Owner(), []
        worker.post(owner, lambda token: seen.append(threading.current_thread()))
    finally:
        threads.set_thread_class(None)
    assert worker.inline
    assert seen == [threading.current_thread()]


def test_thread_class_can_be_chosen() -> None:
    class Mine(threading.Thread):
        pass

    threads.set_thread_class(Mine)
    try:
        worker, owner, seen = Worker(), Owner(), []
        worker.post(owner, lambda token: seen.append(threading.current_thread()))
        assert worker.wait(owner, PATIENCE)
    finally:
        threads.set_thread_class(None)
        worker.shut_down(PATIENCE)
    assert isinstance(seen[0], Mine)


if hasattr(os, "fork"):

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_fork_gives_the_child_a_worker_of_its_own() -> None:
        owner, parent = Owner(), module.worker()
        gate = Gate(parent)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover (not measured there)
            try:
                assert module.worker() is not parent
                module.worker().post(owner, lambda token: os.write(write, b"child"))
                module.worker().wait(owner, PATIENCE)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == b"child"
        os.waitpid(child, 0)
        gate.open.set()
        assert parent.wait(gate.owner, PATIENCE)
