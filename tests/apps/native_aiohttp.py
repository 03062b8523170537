"""An aiohttp application for the tests, and variants that fail."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from notes import note


class HalfALoop(asyncio.SelectorEventLoop):
    async def connect_accepted_socket(self, *_: Any, **options: Any) -> Any:
        raise NotImplementedError


number: ContextVar[str] = ContextVar("number", default="none")


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"pid": os.getpid(), "remote": request.remote, "scheme": request.scheme})


async def upload(request: web.Request) -> web.Response:
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
    return web.json_response({"size": size})


async def download(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(16):
        await response.write(b"x" * 65536)
    await response.write_eof()
    return response


async def large(request: web.Request) -> web.Response:
    """More than the kernel takes at once."""
    note("large", "began")
    return web.Response(body=b"x" * (8 << 20))


async def drip(request: web.Request) -> web.StreamResponse:
    """Send a byte every now and then, for about two seconds."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(20):
        await asyncio.sleep(0.1)
        await response.write(b"x")
    await response.write_eof()
    return response


async def wait(request: web.Request) -> web.Response:
    """Until the file of that name is there."""
    note(request.query["key"], "began")
    while not Path(request.query["gate"]).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(0.005)
    return web.Response(text="waited")


async def echo(request: web.Request) -> web.Response:
    number.set(request.match_info["number"])
    await asyncio.sleep(0.005)
    return web.Response(text=number.get())


async def fail(request: web.Request) -> web.Response:
    raise ValueError("no luck")


async def block(request: web.Request) -> web.Response:
    time.sleep(60)  # noqa: ASYNC251 - that is the fault
    return web.Response()


async def chat(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def lifetime(app: web.Application) -> AsyncIterator[None]:
    note("lifetime", "began")
    yield
    note("lifetime", "ended")


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Prepared"] = request.scheme


def create() -> web.Application:
    app = web.Application(handler_args={"auto_decompress": False})
    app.cleanup_ctx.append(lifetime)
    app.on_response_prepare.append(mark)
    app.add_routes(
        [
            web.get("/", hello),
            web.post("/upload", upload),
            web.get("/download", download),
            web.get("/large", large),
            web.get("/drip", drip),
            web.get("/wait", wait),
            web.get("/echo/{number}", echo),
            web.get("/fail", fail),
            web.get("/block", block),
            web.get("/chat", chat),
        ]
    )
    return app


async def create_later() -> web.Application:
    await asyncio.sleep(0)
    return create()


async def refuse(app: web.Application) -> None:
    raise ConnectionError("no database at db.example")


app = create()
refuses = create()
refuses.on_startup.append(refuse)
mistaken = web.Application(handler_args={"no_such": 1})
