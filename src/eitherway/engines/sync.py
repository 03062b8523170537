"""sync: one thread, one request at a time.

spawn: a queue. suspend: serve the sockets meanwhile, but begin no other request. resume: a flag.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from eitherway.config import Config
from eitherway.engines.base import Engine, Parkable, Tick, Ticker
from eitherway.errors import ClientGone
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface
from eitherway.net.poller import Poller


class SyncEngine(Engine):
    concurrent = False

    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._queue: deque[Exchange] = deque()
        self._stopping = False
        self._ticker = Ticker(lambda: 1.0)

    def spawn(self, exchange: Exchange) -> None:
        self._queue.append(exchange)

    def suspend(self, parked: Parkable, direction: int) -> None:
        resumed: list[bool] = []
        if parked.park(direction, lambda: resumed.append(True)):
            while not resumed:
                if self._stopping:  # the application is not to hold up the end
                    parked.unpark(direction)
                    raise ClientGone("the server has stopped")
                self._turn()

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._ticker = Ticker(tick)
        queue = self._queue
        started()
        while not self._stopping:
            self._turn()
            while queue:
                interface(queue.popleft())

    def _turn(self) -> None:
        wait = self._ticker.wait()
        self.poller.turn(0 if self._stopping else wait)

    def stop(self) -> None:
        self._stopping = True
        self.poller.wake()
