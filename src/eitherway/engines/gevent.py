"""gevent: a greenlet a request, on gevent's hub; the application's blocking calls are monkey-patched to switch.

spawn: switch to an idle greenlet, or a new one. suspend: switch to the hub. resume: have the hub switch back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.hub import Waiter
from greenlet import getcurrent, greenlet

from eitherway.config import Config
from eitherway.engines.base import Engine, Parkable, Tick
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface, outlive_exits
from eitherway.net.poller import Poller

_KEPT = 1024  # idle greenlets; a crowd's are given back to the system
_READ = 1  # libev's and libuv's bit for readable


def patch() -> None:
    """Before the application is imported."""
    monkey.patch_all()


class GeventEngine(Engine):
    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._hub = gevent.get_hub()
        self._idle: list[greenlet] = []
        self._stopped = Event()

    def spawn(self, exchange: Exchange) -> None:
        # In the hub, in which the poller is turned: it goes on here when the greenlet first switches away.
        task = self._idle.pop() if self._idle else greenlet(self._work, self._hub)
        exchange.task = task
        task.switch(exchange)

    def _work(self, exchange: Exchange) -> None:
        idle = self._idle
        task = getcurrent()
        switch = self._hub.switch
        while True:
            self._call(exchange)
            if len(idle) >= _KEPT:
                return
            idle.append(task)
            exchange = switch()

    def suspend(self, parked: Parkable, direction: int) -> None:
        # gevent's own waiter: a resume that comes when a gevent.Timeout has ended the wait goes nowhere.
        waiter = Waiter(self._hub)
        if parked.park(direction, partial(self._hub.loop.run_callback, waiter.switch, None)):
            try:
                waiter.get()
            except BaseException:
                parked.unpark(direction)
                raise

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        answer(exchange)  # in the hub, while the greenlet waits; it finds the connection closed when it goes on
        return True

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._call = interface
        loop = self._hub.loop
        watcher = loop.io(self.poller.fileno(), _READ)
        watcher.start(self.poller.turn, 0)
        self._keep_ticking(tick)
        started()
        outlive_exits(self._stopped.wait)
        self._timer.stop()
        watcher.stop()

    def _keep_ticking(self, tick: Tick) -> None:
        # In the hub, as all that can spawn: a greenlet that switched to a task would not be switched back to.
        self._timer = self._hub.loop.timer(tick())
        self._timer.start(self._keep_ticking, tick)

    def stop(self) -> None:
        self._stopped.set()
