"""curio: a task a request, on Curio's kernel.

spawn: have the task that watches the sockets start another. suspend: wait on a barrier. resume: have the same task
lift it. In Curio only a task can start, wake or cancel one; what is asked for elsewhere waits in queues for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from curio import CancelledError, Kernel, TaskCancelled, TaskTimeout, sleep, timeout_after
from curio.sched import SchedBarrier
from curio.task import ContextTask
from curio.traps import _read_wait, _spawn

from eitherway.config import Config
from eitherway.engines.base import Engine, Parkable, Tick, end_within
from eitherway.engines.beside import ThreadsBeside
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface
from eitherway.net.poller import Poller

Call = Callable[[], Coroutine[Any, Any, None]]


class CurioEngine(Engine):
    collects_bodies = False

    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._call: Callable[[Exchange], Any]
        self._exchanges: deque[Exchange] = deque()  # to be started
        self._asked: deque[Callable[[], Coroutine[Any, Any, object]]] = deque()  # to be awaited, and quick
        self._turning = False

    def spawn(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)

    async def suspend(self, parked: Parkable, direction: int) -> None:
        barrier = SchedBarrier()
        if parked.park(direction, partial(self.ask, barrier.wake)):
            try:
                await barrier.suspend("CLIENT_WAIT")
            except CancelledError:
                parked.unpark(direction)
                raise

    def ask(self, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Have `call` awaited soon by the task that watches the sockets. In the kernel's thread."""
        self._asked.append(call)
        if not self._turning:
            self.poller.wake()

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        if (task := getattr(exchange, "task", None)) is not None and not task.terminated:
            answer(exchange)
            self.ask(partial(task.cancel, blocking=False))
        return True

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._call = interface
        kernel = Kernel(taskcls=_Task)
        ending = end_within(1.0)
        try:
            kernel.run(self._serve, interface, started, tick)
        finally:
            ending.start()
            kernel.run(shutdown=True)  # cancels what is left
            ending.cancel()

    async def _serve(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        loop = CurioLoop(self)
        self._stopped = loop.event()
        await _begin(self._watch(), "sockets")
        await interface.startup(loop)
        started()
        await _begin(self._keep_ticking(tick), "ticks")
        await self._stopped.wait()
        await interface.shutdown()

    async def _watch(self) -> None:
        poller, exchanges, asked = self.poller, self._exchanges, self._asked
        while True:
            await _read_wait(poller)  # by the object: then Curio leaves it registered
            self._turning = True
            poller.turn(0)
            self._turning = False
            while asked:
                await asked.popleft()()
            while exchanges:
                exchange = exchanges.popleft()
                exchange.task = await _begin(self._call(exchange), exchange.line.uri)

    async def _keep_ticking(self, tick: Tick) -> None:
        while True:
            await sleep(tick())

    def stop(self) -> None:
        self.poller.post(self._stopped.set)


class CurioAndThreadsEngine(ThreadsBeside, CurioEngine):
    """curio, for WSGI."""


class CurioLoop:
    """What an async interface needs, on Curio's kernel."""

    cancelled: type[BaseException] = TaskCancelled  # of which a time-out of the application's is none

    def __init__(self, engine: CurioEngine) -> None:
        self._engine = engine

    def is_cancelled(self) -> bool:
        return True  # from another it comes as another exception

    def start(self, call: Call, name: str) -> None:
        self._engine.ask(lambda: _begin(call(), name))

    def event(self) -> _Event:
        return _Event(self._engine)

    async def within(self, seconds: float, call: Call) -> bool:
        try:
            await timeout_after(seconds, call)
        except TaskTimeout:
            return False
        return True


class _Event:
    """Curio's own can only be set with `await`."""

    def __init__(self, engine: CurioEngine) -> None:
        self._engine = engine
        self._barrier = SchedBarrier()
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        self._engine.ask(self._barrier.wake)

    async def wait(self) -> None:
        if not self._is_set:
            await self._barrier.suspend("EVENT_WAIT")


class _Task(ContextTask):  # type: ignore[misc]
    """A task that awaits what is not Curio's, such as a future of asyncio's, fails; the kernel goes on."""

    def send(self, value: Any) -> Any:
        trap = super().send(value)
        while type(trap) is not tuple:
            error = RuntimeError(f"{type(trap).__qualname__} is nothing that Curio can wait for")
            trap = self._context.run(self._throw, error)
        return trap


async def _begin(coroutine: Coroutine[Any, Any, None], name: str) -> Any:
    """Start a task that nobody joins."""
    task = await _spawn(coroutine)
    task.daemon = True
    task.name = name
    return task
