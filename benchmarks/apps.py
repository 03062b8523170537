"""The applications under test: the smallest answer there is, and ones that wait before it, or say who gives it."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

BODY = b"Hello, World!"
WAIT_SECONDS = 0.05
SHORT_SECONDS = 0.002
LONG_SECONDS = 0.1  # for the path LONG_PATH
LONG_PATH = "/long"
WORKER_FIELD = "X-Worker"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def wsgi_hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer at once. Its lists are new each time, as an application's are."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [BODY]


def wsgi_sleep(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer after a blocking wait, as for a database; a monkey-patched server lets others run meanwhile."""
    time.sleep(WAIT_SECONDS)
    return wsgi_hello(environ, start_response)


def wsgi_mixed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer after a short wait, or after a long one."""
    time.sleep(LONG_SECONDS if environ["PATH_INFO"] == LONG_PATH else SHORT_SECONDS)
    return wsgi_hello(environ, start_response)


def wsgi_worker(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer at once, and say which process does."""
    fields = [("Content-Type", "text/plain"), ("Content-Length", "13"), (WORKER_FIELD, str(os.getpid()))]
    start_response("200 OK", fields)
    return [BODY]


async def asgi_hello(scope: Message, receive: Receive, send: Send) -> None:
    """Answer at once."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
    return None


async def asgi_sleep(scope: Message, receive: Receive, send: Send) -> None:
    """Answer after an awaited wait."""
    import asyncio  # here, so that servers of the other applications are weighed without it

    if scope["type"] == "http":
        await asyncio.sleep(WAIT_SECONDS)
    await asgi_hello(scope, receive, send)


async def asgi_echo(scope: Message, receive: Receive, send: Send) -> None:
    """Send back what comes over a WebSocket."""
    if scope["type"] != "websocket":
        return await asgi_hello(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    return None


async def asgi_worker(scope: Message, receive: Receive, send: Send) -> None:
    """Answer at once, and say which process does."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    worker = (WORKER_FIELD.lower().encode(), str(os.getpid()).encode())
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13"), worker]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
    return None


async def lifespan(receive: Receive, send: Send) -> None:
    """Say yes to the start and to the end of the server."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
