"""ASGI applications whose lifespans differ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from notes import note

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Lifespan = Callable[[Scope, Receive, Send], Awaitable[None]]


def with_lifespan(lifespan: Lifespan) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
            return
        body = repr(sorted(scope["state"])).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))],
            }
        )
        await send({"type": "http.response.body", "body": body})

    return app


@with_lifespan
async def full(scope: Scope, receive: Receive, send: Send) -> None:
    note("scope", f"{scope['type']} {scope['asgi']['version']} {scope['state']}")
    note("got", (await receive())["type"])
    scope["state"]["database"] = object()
    await send({"type": "lifespan.startup.complete"})
    note("got", (await receive())["type"])
    await send({"type": "lifespan.shutdown.complete"})


@with_lifespan
async def none(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError("only http is known here")


@with_lifespan
async def none_after_receive(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise KeyError("only http is known here")


@with_lifespan
async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    return


@with_lifespan
async def ends_after_startup(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


@with_lifespan
async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database at db.example"})


@with_lifespan
async def refuses_with_a_traceback(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    message = "Traceback (most recent call last):\n  File x\nValueError: no database at db.example\n"
    await send({"type": "lifespan.startup.failed", "message": message})


@with_lifespan
async def refuses_without_a_word(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed"})


@with_lifespan
async def fails_to_stop(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "the queue is not empty"})


@with_lifespan
async def raises_in_shutdown(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise ValueError("while stopping")


@with_lifespan
async def raises_later(scope: Scope, receive: Receive, send: Send) -> None:
    """Startup is complete, then the lifespan breaks while requests are served."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    raise ValueError("while serving")


@with_lifespan
async def sends_nonsense(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    try:
        await send({"type": "http.response.start", "status": 200})
    except RuntimeError as error:
        note("raised", error)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
