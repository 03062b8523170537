"""WSGI on an engine that is a loop: the loop serves the sockets, and a pool of threads beside it runs the requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eitherway.engines.base import Engine, Parkable, Tick
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface
from eitherway.interfaces.bridge import ThreadPool, suspend_thread


class ThreadsBeside(Engine):
    """To be named before the engine whose loop it is."""

    collects_bodies = True
    multithread = True

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._pool = ThreadPool(interface, self.config.threads)
        try:
            super().run(interface, started, tick)  # type: ignore[safe-super]
        finally:
            self._pool.stop()

    def spawn(self, exchange: Exchange) -> None:
        self._pool.spawn(exchange)

    def suspend(self, parked: Parkable, direction: int) -> Any:
        suspend_thread(parked, direction)

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        return False
