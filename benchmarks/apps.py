"""The applications under test: the smallest answer there is, and one that waits 50 ms before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

BODY = b"Hello, World!"
WAIT_SECONDS = 0.05

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
    if scope["type"] == "http":
        await asyncio.sleep(WAIT_SECONDS)
    await asgi_hello(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    """Say yes to the start and to the end of the server."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
