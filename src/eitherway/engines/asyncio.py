"""asyncio: a task a request, on asyncio's own loop or another of its kind (uvloop).

spawn: create a task. suspend: await a future. resume: set its result.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from eitherway.config import Config
from eitherway.engines.base import Engine, Parkable, Tick, Ticker
from eitherway.engines.beside import ThreadsBeside
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface, outlive_exits
from eitherway.interfaces.loops import AsyncioLoop, LoopThreads, end_loop, keep_tasks, settle, time_out_task
from eitherway.net.poller import Poller

# From Python 3.12 on a task can begin at once: one that never waits then costs the loop nothing.
_Task: Callable[..., asyncio.Task[Any]] = asyncio.Task
if sys.version_info >= (3, 12):
    _Task = partial(asyncio.Task, eager_start=True)


class AsyncioEngine(Engine):
    collects_bodies = False

    def __init__(
        self,
        config: Config,
        poller: Poller,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        super().__init__(config, poller)
        self._loop = new_loop()
        self._call: Callable[[Exchange], Any]
        self._stopped = asyncio.Event()

    def spawn(self, exchange: Exchange) -> None:
        # Directly, not by the loop's factory: the exchange keeps the task. With a name, or asyncio makes one up.
        exchange.task = _Task(self._call(exchange), loop=self._loop, name=exchange.line.uri)

    async def suspend(self, parked: Parkable, direction: int) -> None:
        future = self._loop.create_future()
        if parked.park(direction, lambda: settle(future)):
            try:
                await future
            except asyncio.CancelledError:
                parked.unpark(direction)
                raise

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._call = interface
        if interface.colour != "asyncio":  # an application with its own server finds the loop as it would be there
            keep_tasks(self._loop)
        asyncio.set_event_loop(self._loop)
        try:
            self._turn(self._serve(interface, started, tick))
        finally:
            self._end()

    def _turn(self, serving: Coroutine[Any, Any, None]) -> None:
        """Have the loop run until `serving` has ended."""
        task = self._loop.create_task(serving)
        outlive_exits(partial(self._loop.run_until_complete, task), task.done)

    async def _serve(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        loop = self._loop
        await interface.startup(AsyncioLoop())
        loop.add_reader(self.poller.fileno(), self.poller.turn, 0)
        started()
        self._keep_ticking(tick)
        await self._stopped.wait()
        self._ticking.cancel()
        loop.remove_reader(self.poller.fileno())
        await interface.shutdown()

    def _keep_ticking(self, tick: Tick) -> None:
        self._ticking = self._loop.call_later(tick(), self._keep_ticking, tick)

    def _end(self) -> None:
        end_loop(self._loop)

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        return time_out_task(exchange, answer)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)


class OneAtATimeEngine(AsyncioEngine):
    """sync, for ASGI: one request at a time, on a loop that serves the sockets meanwhile."""

    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._queue: deque[Exchange] = deque()
        self._current: asyncio.Task[None] | None = None

    def spawn(self, exchange: Exchange) -> None:
        self._queue.append(exchange)
        if self._current is None:
            self._start_next(None)

    def _start_next(self, done: object) -> None:
        self._current = None
        if self._queue:
            exchange = self._queue.popleft()
            exchange.task = self._current = self._loop.create_task(self._call(exchange))
            self._current.add_done_callback(self._start_next)


class LoopThreadsEngine(Engine):
    """threads, for ASGI: every thread has an asyncio loop of its own and runs one request at a time in it."""

    collects_bodies = False

    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._loops = LoopThreads(config.threads)
        self._stopping = False

    def spawn(self, exchange: Exchange) -> None:
        self._loops.spawn(exchange)

    async def suspend(self, parked: Parkable, direction: int) -> None:
        await self._loops.suspend(parked, direction)

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        ticker = Ticker(tick)
        with self._loops.running(interface):
            started()
            while not self._stopping:
                self.poller.turn(ticker.wait())

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        return time_out_task(exchange, answer)

    def stop(self) -> None:
        self._stopping = True
        self.poller.wake()


class LoopAndThreadsEngine(ThreadsBeside, AsyncioEngine):
    """asyncio, for WSGI."""
