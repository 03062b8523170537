"""trio: a task a request, all in one nursery, on Trio's loop.

spawn: start a task in the nursery. suspend: park it with Trio. resume: have Trio reschedule it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import trio
from trio.lowlevel import (
    Abort,
    TrioToken,
    current_task,
    current_trio_token,
    reschedule,
    wait_readable,
    wait_task_rescheduled,
)

from eitherway.config import Config
from eitherway.engines.base import Engine, Parkable, Tick, end_within
from eitherway.engines.beside import ThreadsBeside
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface
from eitherway.net.poller import Poller


class TrioEngine(Engine):
    collects_bodies = False

    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._call: Callable[[Exchange], Any]
        self._nursery: trio.Nursery
        self._token: TrioToken
        # Only a limit of time cancels single requests; without one they are spared a scope each.
        self._scopes: dict[Exchange, trio.CancelScope] = {}
        self._task = self._cancellable if config.timeout else self._plain

    def spawn(self, exchange: Exchange) -> None:
        self._nursery.start_soon(self._task, exchange, name=exchange.line.uri)

    async def _plain(self, exchange: Exchange) -> None:
        exchange.task = current_task()
        await self._call(exchange)

    async def _cancellable(self, exchange: Exchange) -> None:
        with trio.CancelScope() as scope:
            self._scopes[exchange] = scope
            try:
                await self._plain(exchange)
            finally:
                del self._scopes[exchange]

    async def suspend(self, parked: Parkable, direction: int) -> None:
        def abort(raise_cancel: object) -> Abort:
            parked.unpark(direction)
            return Abort.SUCCEEDED

        if parked.park(direction, partial(reschedule, current_task())):
            await wait_task_rescheduled(abort)

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        if (scope := self._scopes.get(exchange)) is not None:
            answer(exchange)
            scope.cancel()
        return True

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._call = interface
        self._ending = end_within(1.0)
        try:
            trio.run(self._main, interface, started, tick)
        finally:
            self._ending.cancel()

    async def _main(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._token = current_trio_token()
        self._stopped = trio.Event()
        failure: Exception | None = None
        async with trio.open_nursery() as self._nursery:
            try:
                await self._serve(interface, started, tick)
            except Exception as error:  # which the nursery would wrap
                failure = error
            self._ending.start()
            self._nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        await interface.startup(TrioLoop(self._nursery))
        started()
        async with trio.open_nursery() as own:
            own.start_soon(self._watch)
            own.start_soon(self._keep_ticking, tick)
            await self._stopped.wait()
            own.cancel_scope.cancel()
        await interface.shutdown()

    async def _watch(self) -> None:
        fd, turn = self.poller.fileno(), self.poller.turn
        while True:
            await wait_readable(fd)
            turn(0)

    async def _keep_ticking(self, tick: Tick) -> None:
        while True:
            seconds = tick()
            await trio.sleep(seconds)

    def stop(self) -> None:
        self._token.run_sync_soon(self._stopped.set)


class TrioAndThreadsEngine(ThreadsBeside, TrioEngine):
    """trio, for WSGI."""


class TrioLoop:
    """What an async interface needs, on Trio's loop."""

    cancelled: type[BaseException] = trio.Cancelled

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def is_cancelled(self) -> bool:
        return True  # from another it comes as another exception

    def start(self, call: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._nursery.start_soon(call, name=name)

    def event(self) -> trio.Event:
        return trio.Event()

    async def within(self, seconds: float, call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        with trio.move_on_after(seconds) as scope:
            await call()
        return not scope.cancelled_caught
