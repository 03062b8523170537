"""Async calls on asyncio: what its tasks and loops need around them, and loops in threads of their own.

Apart from bridge.py, since engines without coroutines do without asyncio's memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any

from eitherway.http.channel import Parkable
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface, outlive_exits
from eitherway.interfaces.bridge import join_threads


def settle(future: asyncio.Future[None]) -> None:
    """Resume the task that awaits `future`, unless it was cancelled meanwhile."""
    if not future.done():
        future.set_result(None)


def time_out_task(exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
    """Have the loop of an exchange's task call `answer`, and then cancel the task. From any thread."""
    task = getattr(exchange, "task", None)
    if not isinstance(task, asyncio.Task):
        return False

    def cancel() -> None:
        if not task.done():
            answer(exchange)
            task.cancel()

    task.get_loop().call_soon_threadsafe(cancel)
    return True


class AsyncioLoop:
    """What an async interface needs, on the asyncio loop that runs."""

    cancelled: type[BaseException] = asyncio.CancelledError

    def is_cancelled(self) -> bool:
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0

    def start(self, call: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        asyncio.get_running_loop().create_task(call(), name=name)  # which `keep_tasks` keeps

    def event(self) -> asyncio.Event:
        return asyncio.Event()

    async def within(self, seconds: float, call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        try:
            await asyncio.wait_for(call(), seconds)
        except TimeoutError:
            return False
        return True


class LoopThreads:
    """Runs an async interface in `size` threads, each with an asyncio loop; one request at a time in each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: deque[asyncio.AbstractEventLoop] = deque()
        self._waiting: deque[Exchange] = deque()
        self._lock = Lock()

    def spawn(self, exchange: Exchange) -> None:
        with self._lock:
            if not self._idle:
                self._waiting.append(exchange)
                return
            loop = self._idle.pop()
        loop.call_soon_threadsafe(self._start, loop, exchange)

    async def suspend(self, parked: Parkable, direction: int) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if parked.park(direction, lambda: loop.call_soon_threadsafe(settle, future)):
            try:
                await future
            except asyncio.CancelledError:
                parked.unpark(direction)
                raise

    @contextmanager
    def running(self, interface: Interface) -> Iterator[None]:
        """The threads and the application's lifespan, for as long as the block lasts.

        The lifespan runs in the first thread's loop.
        """
        self._interface = interface
        loops = [asyncio.new_event_loop() for _ in range(self._size)]
        threads = [
            Thread(target=_run_loop, args=(loop,), name=f"eitherway-{number}", daemon=True)
            for number, loop in enumerate(loops)
        ]
        for thread in threads:
            thread.start()
        try:
            asyncio.run_coroutine_threadsafe(interface.startup(AsyncioLoop()), loops[0]).result()
            self._idle.extend(loops)
            yield
            asyncio.run_coroutine_threadsafe(interface.shutdown(), loops[0]).result()
        finally:
            for loop in loops:
                loop.call_soon_threadsafe(loop.stop)
            join_threads(threads)

    def _start(self, loop: asyncio.AbstractEventLoop, exchange: Exchange) -> None:
        task = exchange.task = loop.create_task(self._interface(exchange))
        task.add_done_callback(lambda _: self._done(loop))

    def _done(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if not self._waiting:
                self._idle.append(loop)
                return
            exchange = self._waiting.popleft()
        self._start(loop, exchange)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The life of one thread: its loop, and at the end whatever was left in it."""
    keep_tasks(loop)
    asyncio.set_event_loop(loop)
    outlive_exits(loop.run_forever)
    end_loop(loop)


def keep_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Keep every task of the application until it ends; asyncio itself holds them only weakly."""
    kept: set[asyncio.Task[object]] = set()

    def factory(loop: asyncio.AbstractEventLoop, coroutine, **options):  # type: ignore[no-untyped-def]
        task = asyncio.Task(coroutine, loop=loop, **options)
        kept.add(task)
        task.add_done_callback(kept.discard)
        return task

    loop.set_task_factory(factory)


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left in a loop, and close it."""
    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
