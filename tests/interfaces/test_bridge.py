"""Where the colours mix: the pool of threads beside a loop."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

from eitherway.interfaces.bridge import ThreadPool
from serving import PATIENCE


def test_a_request_does_not_wait_for_a_thread_that_has_just_taken_another() -> None:
    """The first thread is held up between taking its request and running it: the second request gets its own."""
    may_go_on = threading.Event()
    both_run = threading.Barrier(2)

    class SlowQueue(SimpleQueue[Any]):
        def get(self, *arguments: Any) -> Any:
            taken = super().get(*arguments)
            if taken == "first":
                first_taken.set()
                may_go_on.wait(PATIENCE)
            return taken

    first_taken, second_ran = threading.Event(), threading.Event()

    def call(request: Any) -> None:
        if request == "second":
            second_ran.set()
        both_run.wait(PATIENCE)

    pool = ThreadPool(call, 2)
    pool._queue = SlowQueue()
    pool.spawn("first")  # type: ignore[arg-type]
    assert first_taken.wait(PATIENCE)
    pool.spawn("second")  # type: ignore[arg-type]
    assert second_ran.wait(PATIENCE)
    may_go_on.set()
    pool.stop()
    assert not both_run.broken


def test_threads_are_started_as_they_are_needed_and_no_more() -> None:
    gates = [threading.Event() for _ in range(3)]
    ran = [threading.Event() for _ in range(3)]
    names: list[str] = []

    def call(number: Any) -> None:
        names.append(threading.current_thread().name)
        ran[number].set()
        gates[number].wait(PATIENCE)

    pool = ThreadPool(call, 2)
    for number in range(3):
        pool.spawn(number)  # type: ignore[arg-type]
    assert ran[0].wait(PATIENCE)
    assert ran[1].wait(PATIENCE)
    assert not ran[2].is_set()
    gates[0].set()
    assert ran[2].wait(PATIENCE)
    for gate in gates:
        gate.set()
    pool.stop()
    assert sorted(set(names)) == ["eitherway-0", "eitherway-1"]
