"""What the applications of tests need of the loop that runs them, whichever library's it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sniffio import current_async_library


async def sleep(seconds: float) -> None:
    library = current_async_library()
    if library == "trio":
        import trio

        await trio.sleep(seconds)
    elif library == "curio":
        import curio

        await curio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def event() -> Any:
    """The library's own; to be set with `happen`."""
    library = current_async_library()
    if library == "trio":
        import trio

        return trio.Event()
    if library == "curio":
        import curio

        return curio.Event()
    return asyncio.Event()


async def happen(event: Any) -> None:
    done = event.set()
    if done is not None:  # Curio's is awaited
        await done


def cancelled() -> type[BaseException]:
    """What a cancelled task raises here."""
    library = current_async_library()
    if library == "trio":
        import trio

        return trio.Cancelled
    if library == "curio":
        import curio

        return curio.CancelledError
    return asyncio.CancelledError


@asynccontextmanager
async def beside(call: Callable[[], Awaitable[None]]) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Run a call beside the block, which does not end before it; gives a function that cancels it and says whether."""
    library = current_async_library()
    if library == "trio":
        import trio

        async def run() -> None:
            with scope:
                await call()
            ended.set()

        async def cancel() -> bool:
            scope.cancel()
            await ended.wait()
            return scope.cancelled_caught

        scope, ended = trio.CancelScope(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            yield cancel
    elif library == "curio":
        import curio

        async def cancel() -> bool:
            await task.cancel()
            return isinstance(task.exception, curio.CancelledError)

        task = await curio.spawn(call)
        yield cancel
        await task.wait()
    else:

        async def cancel() -> bool:
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        task = asyncio.ensure_future(call())
        yield cancel
        await asyncio.wait([task])
