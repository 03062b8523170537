"""Sync calls: blocking a thread, and a pool of threads that runs them beside a loop."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic

from eitherway.http.channel import Parkable
from eitherway.http.exchange import Exchange


def suspend_thread(parked: Parkable, direction: int) -> None:
    """Block this thread until what it waits for can go on."""
    lock = Lock()
    lock.acquire()
    if parked.park(direction, lock.release):
        lock.acquire()


def join_threads(threads: list[Thread]) -> None:
    """Wait for threads that are about to end, a second for all; one that the application blocks is left behind."""
    until = monotonic() + 1.0
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))


class ThreadPool:
    """Runs a sync interface in up to `size` threads, started as they are needed; for engines that are a loop."""

    def __init__(self, call: Callable[[Exchange], object], size: int) -> None:
        self._call = call
        self._size = size
        self._queue: SimpleQueue[Exchange | None] = SimpleQueue()
        self._unfinished: list[None] = []  # as long as there are requests queued or running; changed atomically
        self._threads: list[Thread] = []

    def spawn(self, exchange: Exchange) -> None:
        self._unfinished.append(None)
        self._queue.put(exchange)
        if len(self._unfinished) > len(self._threads) and len(self._threads) < self._size:
            thread = Thread(target=self._work, name=f"eitherway-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        for _ in self._threads:
            self._queue.put(None)
        join_threads(self._threads)

    def _work(self) -> None:
        while (exchange := self._queue.get()) is not None:
            self._call(exchange)
            self._unfinished.pop()
