"""Applications that use what one library alone has: Trio's nurseries, Curio's task groups, Twisted's Deferreds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import sniffio

from notes import note

BLOCK = b"x" * 65536


async def answer(send: Any, body: str) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})


def is_in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


async def stream(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})


async def on_trio(scope: dict[str, Any], receive: Any, send: Any) -> None:
    import trio

    path, key = scope["path"], scope["query_string"].decode()
    if path == "/nursery":
        done = []

        async def child(number: int) -> None:
            await trio.sleep(0.01)
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(child, number)
        await answer(send, f"{sniffio.current_async_library()} {sorted(done)} {trio.lowlevel.current_task().name}")
    elif path == "/fails":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ValueError("in a nursery")
    elif path == "/timed-out-read":
        with trio.move_on_after(0.05) as limit:
            while (await receive())["more_body"]:
                pass
        await answer(send, f"gave up: {limit.cancelled_caught}")
    elif path == "/timed-out-write":
        with trio.move_on_after(0.2) as limit:
            await stream(send)
        note(key, f"gave up: {limit.cancelled_caught}")
    elif path == "/left":
        await receive()
        note(key, (await receive())["type"])
        await trio.sleep(0.01)  # a checkpoint: were the task cancelled, it would end here
        note(key, "goes on")
    elif path == "/shielded":
        note(key, "in")
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


class Foreign:
    """Something of another loop's."""

    def __await__(self) -> Iterator[object]:
        yield object()


async def on_curio(scope: dict[str, Any], receive: Any, send: Any) -> None:
    import curio

    if scope["type"] == "http" and scope["path"] == "/foreign":
        await Foreign()

    path, key = scope["path"], scope["query_string"].decode()
    if path == "/group":

        async def child(number: int) -> int:
            await curio.sleep(0.01)
            return number

        async with curio.TaskGroup() as group:
            for number in range(3):
                await group.spawn(child, number)
        in_thread = await curio.run_in_thread(is_in_main_thread)
        await answer(send, f"{sniffio.current_async_library()} {sorted(group.results)} {in_thread}")
    elif path == "/timed-out-read":
        async with curio.ignore_after(0.05) as limit:
            while (await receive())["more_body"]:
                pass
        await answer(send, f"gave up: {limit.expired}")
    elif path == "/timed-out-write":
        async with curio.ignore_after(0.2) as limit:
            await stream(send)
        note(key, f"gave up: {limit.expired}")
    elif path == "/fails":
        await curio.timeout_after(0.01, curio.sleep, 60)


def reactor() -> Any:
    """Imported when it is installed: a file of applications must not install one."""
    from twisted.internet import reactor

    return reactor


async def on_twisted(scope: dict[str, Any], receive: Any, send: Any) -> None:
    from twisted.internet import defer, task, threads

    if scope["path"] == "/fails":
        await defer.fail(ValueError("of a Deferred")).asFuture(asyncio.get_running_loop())
    loop = asyncio.get_running_loop()
    later = await task.deferLater(reactor(), 0.01, lambda: "later").asFuture(loop)
    in_thread = await threads.deferToThread(lambda: threading.current_thread() is threading.main_thread()).asFuture(
        loop
    )

    async def coroutine() -> str:
        await asyncio.sleep(0)
        return "from asyncio"

    back = defer.Deferred.fromFuture(asyncio.ensure_future(coroutine()))
    await answer(send, f"{later}, {in_thread}, {await back.asFuture(loop)}, {type(reactor()).__name__}")


def wsgi_on_twisted(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Threads of ours ask the reactor in both of Twisted's ways."""
    from twisted.internet import threads
    from twisted.internet.utils import getProcessOutput
    from twisted.python.threadable import isInIOThread

    called = threading.Event()
    reactor().callFromThread(called.set)
    assert called.wait(20)
    said = threads.blockingCallFromThread(reactor(), isInIOThread)
    output = threads.blockingCallFromThread(reactor(), getProcessOutput, "/bin/echo", [b"a child"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield f"{said} {isInIOThread()} {output.decode().strip()} {type(reactor()).__name__}".encode()


async def names_the_loop(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, type(asyncio.get_running_loop()).__module__)


def starlette_application() -> Any:
    import anyio
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield {"group": group}
            note("starlette", "ends")
            group.cancel_scope.cancel()

    def plain(request: Request) -> Response:
        return PlainTextResponse(f"{is_in_main_thread()} {request.query_params['x']}")

    async def streamed(request: Request) -> Response:
        async def numbers() -> AsyncIterator[str]:
            for number in range(5):
                await anyio.lowlevel.checkpoint()
                yield f"{number} "

        return StreamingResponse(numbers(), background=BackgroundTask(note, "starlette", "behind"))

    async def upload(request: Request) -> Response:
        request.state.group.start_soon(anyio.sleep, 0)
        with anyio.fail_after(20):
            return PlainTextResponse(str(len(await request.body())))

    routes = [Route("/plain", plain), Route("/streamed", streamed), Route("/upload", upload, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan)
