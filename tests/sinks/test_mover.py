"""Work that calls leave behind for a thread."""

from __future__ import annotations

import os
import threading

import pytest

from trisignal import _guard
from trisignal.sinks._mover import Mover

WAIT_S = 60.0


def test_work_is_done_once_for_many_requests() -> None:
    """What is requested while it waits is one request, and a later one is another."""
    done, moves = threading.Event(), list[int]()

    def move() -> None:
        moves.append(1)
        done.set()

    mover = Mover(move, 0.2)
    for _ in range(100):
        mover.ask()
    assert done.wait(WAIT_S)
    assert moves == [1]
    done.clear()
    mover.ask()
    assert done.wait(WAIT_S)
    mover.close()
    assert len(moves) == 3


def test_no_thread_starts_before_there_is_work() -> None:
    """A mover that nobody asks has no thread, and one that is closed ends its own."""
    before = threading.active_count()
    mover = Mover(lambda: None, 0.0)
    assert threading.active_count() == before
    mover.ask()
    thread = mover._thread
    assert thread is not None
    mover.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_work_that_raises_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is contained and counted, and the thread goes on."""
    monkeypatch.setattr(_guard.STATE, "strict", False)
    done, moves = threading.Event(), list[int]()

    def move() -> None:
        moves.append(1)
        if len(moves) == 1:
            raise ValueError
        done.set()

    mover = Mover(move, 0.0)
    mover.ask()
    while not done.wait(0.01):
        mover.ask()
    mover.close()
    assert _guard.STATE.counts["sink.prometheus.move"] == 1


def test_where_no_thread_can_start_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the interpreter, or without threads, the caller does it."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    moves: list[int] = []
    mover = Mover(lambda: moves.append(1), 10.0)
    mover.ask()
    mover.ask()
    assert moves == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_fork_waits_for_work_that_holds_locks() -> None:
    """A child never inherits a lock in the hands of the thread: it would wait for it for ever."""
    lock, working, go_on = threading.Lock(), threading.Event(), threading.Event()

    def move() -> None:
        with lock:
            working.set()
            go_on.wait(WAIT_S)

    mover = Mover(move, 0.0)
    mover.ask()
    assert working.wait(WAIT_S)
    threading.Timer(0.3, go_on.set).start()
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(timeout=5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    mover.close()
