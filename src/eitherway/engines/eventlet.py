"""eventlet: a greenlet a request, on eventlet's hub; the application's blocking calls are monkey-patched to switch.

spawn: switch to an idle greenlet, or a new one. suspend: switch to the hub. resume: have the hub switch back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import eventlet
from eventlet import hubs
from greenlet import getcurrent, greenlet

from eitherway.config import Config
from eitherway.engines.base import Engine, Parkable, Tick
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface
from eitherway.net.poller import Poller

_KEPT = 1024  # idle greenlets; a crowd's are given back to the system


def patch() -> None:
    """Before the application is imported."""
    eventlet.monkey_patch()
    # psycopg 3 would wait in C: it looks for gevent's patches only. In Python it waits by select, which is patched.
    os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_select")


class EventletEngine(Engine):
    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._hub = hubs.get_hub()
        self._hub.SYSTEM_EXCEPTIONS = KeyboardInterrupt  # sys.exit() in a greenlet that a request left behind is logged
        self._idle: list[greenlet] = []

    def spawn(self, exchange: Exchange) -> None:
        # In the hub, in which the poller is turned: it goes on here when the greenlet first switches away.
        task = self._idle.pop() if self._idle else greenlet(self._work, self._hub.greenlet)
        exchange.task = task
        task.switch(exchange)

    def _work(self, exchange: Exchange) -> None:
        idle = self._idle
        task = getcurrent()
        switch = self._hub.greenlet.switch
        while True:
            self._call(exchange)
            if len(idle) >= _KEPT:
                return
            idle.append(task)
            exchange = switch()

    def suspend(self, parked: Parkable, direction: int) -> None:
        waiter = _Waiter(self._hub)
        if parked.park(direction, waiter.resume):
            try:
                waiter.wait()
            except BaseException:
                parked.unpark(direction)
                raise

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        answer(exchange)  # in the hub, while the greenlet waits; it finds the connection closed when it goes on
        return True

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._call = interface
        self._main = _Waiter(self._hub)
        hub = self._hub
        watched = hub.add(hub.READ, self.poller.fileno(), self._turn, _never_thrown, None)
        self._keep_ticking(tick)
        started()
        self._main.wait()
        self._timer.cancel()
        hub.remove(watched)

    def _turn(self, fd: int) -> None:
        self.poller.turn(0)

    def _keep_ticking(self, tick: Tick) -> None:
        # In the hub, as all that can spawn: a greenlet that switched to a task would not be switched back to.
        self._timer = self._hub.schedule_call_global(tick(), self._keep_ticking, tick)

    def stop(self) -> None:
        self.poller.post(self._main.resume)


class _Waiter:
    """A greenlet that waits: a resume that comes when an eventlet.Timeout has ended the wait goes nowhere."""

    __slots__ = ("_hub", "_task")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._task: greenlet | None = getcurrent()

    def wait(self) -> None:
        try:
            self._hub.switch()
        finally:
            self._task = None

    def resume(self) -> None:
        """Have the hub switch to it. In the hub, in which the poller is turned."""
        self._hub.schedule_call_global(0, self._switch)

    def _switch(self) -> None:
        if self._task is not None:
            self._task.switch()


def _never_thrown(error: BaseException) -> None:
    """What the hub would throw to a waiter whose descriptor was closed and opened anew: the poller's never is."""
