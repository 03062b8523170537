"""An ASGI application with a route for every rule of the specification that the tests look at."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import json
import sys
import time
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from loops import beside, cancelled, sleep

from notes import note

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BLOCK = bytes(range(256)) * 256  # 64 KiB
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"body"}


def query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True, encoding="latin-1"))


async def answer(send: Send, body: bytes | str | object, status: int = 200) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [(b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"hello")


async def shown(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope, its bytes as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode("latin-1")
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        return value if isinstance(value, (str, int, bool, type(None))) else repr(value)

    await answer(send, plain(scope))


async def state(scope: Scope, receive: Receive, send: Send) -> None:
    """A request's state is a copy; the things in it are the lifespan's own."""
    own = scope["state"]
    before = sorted(own)
    own["mine"] = True
    own["shared"].append(1)
    await answer(send, {"before": before, "shared": len(own["shared"]), "started": own["started"]})


async def extensions(scope: Scope, receive: Receive, send: Send) -> None:
    """What a request does to its scope is gone with it."""
    before = sorted(scope["extensions"])
    scope["extensions"]["mine"] = {}
    scope["headers"].append((b"mine", b"1"))
    await answer(send, {"before": before, "headers": len(scope["headers"])})


# ---- request bodies ----


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return await answer(send, body)


async def taken(scope: Scope, receive: Receive, send: Send) -> None:
    """Take the body, keeping none of it; with a gate, wait for that before each piece."""
    asked = query(scope)
    digest, size, pieces, more = hashlib.sha256(), 0, 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return note(asked["key"], "disconnect")
        digest.update(message["body"])
        size += len(message["body"])
        pieces += 1
        more = message["more_body"]
        if pieces == 1 and "gate" in asked:
            note(asked["key"], "first piece")
            await opened(asked["gate"])
    return await answer(send, {"sha": digest.hexdigest(), "size": size})


async def opened(gate: str) -> None:
    while not Path(gate).exists():  # noqa: ASYNC240 - the test's signal
        await sleep(0.02)


# ---- responses ----


async def streamed(scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks of 64 KiB, each noted when `send` has returned; what ends it is noted too."""
    asked = query(scope)
    await send(START)
    try:
        for number in range(int(asked["blocks"])):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
            note(asked["key"], number)
        await send({"type": "http.response.body"})
    except OSError as error:
        note(asked["key"], f"{type(error).__name__} is an OSError")
        raise


async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    for piece in (b"one ", b"", b"two ", bytearray(b"three "), memoryview(b"four")):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def in_steps(scope: Scope, receive: Receive, send: Send) -> None:
    """One piece, and the next only when the gate opens: nothing may be held back."""
    await send(START)
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await opened(query(scope)["gate"])
    await send({"type": "http.response.body", "body": b"second"})


async def bodiless(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": int(query(scope)["status"])})
    await send({"type": "http.response.body", "body": b"not to be sent", "more_body": True})
    await send({"type": "http.response.body", "body": b"nor this"})


async def headers(scope: Scope, receive: Receive, send: Send) -> None:
    asked = query(scope)
    pair = (asked.get("name", "x-value").encode("latin-1"), asked.get("value", "").encode("latin-1"))
    pairs: Any = [list(pair)] if asked.get("as") == "list" else iter([pair])
    await send({"type": "http.response.start", "status": int(asked.get("status", "200")), "headers": pairs})
    await send(BODY)


# ---- leaving ----


async def awaits_leaving(scope: Scope, receive: Receive, send: Send) -> None:
    """Wait for the client to leave, then send."""
    key = query(scope)["key"]
    note(key, (await receive())["type"])
    note(key, (await receive())["type"])
    note(key, (await receive())["type"])
    try:
        await send(START)
        await send(BODY)
        note(key, "sent")
    except OSError as error:
        note(key, f"OSError {type(error).__name__}")
        raise


async def receives_after(scope: Scope, receive: Receive, send: Send) -> None:
    key = query(scope)["key"]
    await answer(send, b"done")
    note(key, (await receive())["type"])
    note(key, (await receive())["type"])


async def listens_while_sending(scope: Scope, receive: Receive, send: Send) -> None:
    """Starlette's way to stream: a task waits for the client's leaving while another sends."""
    key = query(scope)["key"]

    async def listen() -> None:
        while True:
            message = await receive()
            note(key, message["type"])
            if message["type"] == "http.disconnect":
                return

    async with beside(listen) as cancel:
        await send(START)
        if "cancel" in query(scope):
            await sleep(0)
            note(key, f"cancelled {await cancel()}")
        else:
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    await send({"type": "http.response.body", "body": b" done"})


async def listens_twice(scope: Scope, receive: Receive, send: Send) -> None:
    """Two tasks listen for the client's leaving, and one gives up, as a handler does that asks whether it has left."""
    asked = query(scope)
    key = asked["key"]
    await receive()

    async def listen(name: str) -> None:
        note(key, f"{name} {(await receive())['type']}")

    async with beside(partial(listen, "first")) as cancel_first:
        await sleep(0)
        async with beside(partial(listen, "second")) as cancel_second:
            await sleep(0)
            note(key, f"cancelled {await (cancel_first if asked['cancel'] == 'first' else cancel_second)()}")


async def sends_twice(scope: Scope, receive: Receive, send: Send) -> None:
    """Two tasks send at once."""
    blocks = int(query(scope)["blocks"])
    await send(START)

    async def push() -> None:
        for _ in range(blocks):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})

    async with beside(push):
        await push()
    await send({"type": "http.response.body"})


async def held(scope: Scope, receive: Receive, send: Send) -> None:
    """Wait until a file appears. A cancellation is noted."""
    asked = query(scope)
    note(asked["key"], "in")
    try:
        await opened(asked["gate"])
    except cancelled():
        note(asked["key"], "cancelled")
        raise
    note(asked["key"], "out")
    await answer(send, b"released")


async def blocked(scope: Scope, receive: Receive, send: Send) -> None:
    """Wait as `held` does, but hold the loop meanwhile."""
    asked = query(scope)
    note(asked["key"], "in")
    while not Path(asked["gate"]).exists():  # noqa: ASYNC240 - the test's signal
        time.sleep(0.02)  # noqa: ASYNC251 - that is the point
    await answer(send, b"released")


# ---- wrong orders ----


async def wrong_order(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the messages that the query names; what `send` raises is noted, and raised on."""
    asked = query(scope)
    messages: dict[str, Any] = {
        "start": START,
        "body": BODY,
        "more": {**BODY, "more_body": True},
        "unknown": {"type": "http.response.nonsense"},
        "websocket": {"type": "websocket.send", "text": "x"},
        "untyped": {"status": 200},
        "text": {"type": "http.response.body", "body": "text"},
        "trailers": {"type": "http.response.trailers", "headers": []},
        "path": {"type": "http.response.pathsend", "path": __file__},
        "nowhere": {"type": "http.response.pathsend", "path": "/nowhere/at/all"},
        "interim": {"type": "http.response.start", "status": 103},
        "statusless": {"type": "http.response.start"},
        "split": {**START, "headers": [(b"x", b"a\r\nb: c")]},
    }
    try:
        for name in asked["messages"].split():
            await send(messages[name])
    except BaseException as error:
        note(asked["key"], f"{type(error).__name__}: {error}")
        raise


async def returns_early(scope: Scope, receive: Receive, send: Send) -> None:
    if "start" in query(scope):
        await send(START)
    if "more" in query(scope):
        await send({**BODY, "more_body": True})


async def raising(scope: Scope, receive: Receive, send: Send) -> None:
    asked = query(scope)
    if asked.get("when") == "started":
        await send(START)
    elif asked.get("when") == "begun":
        await send(START)
        await send({**BODY, "more_body": True})
    elif asked.get("when") == "complete":
        await answer(send, b"complete")
    raise {
        "SystemExit": SystemExit,
        "KeyboardInterrupt": KeyboardInterrupt,
        "CancelledError": asyncio.CancelledError,
    }.get(asked.get("what", ""), RuntimeError)("raised on purpose")


# ---- extensions ----


async def pathsend(scope: Scope, receive: Receive, send: Send) -> None:
    asked = query(scope)
    given = [(b"content-length", asked["length"].encode())] if "length" in asked else []
    await send({"type": "http.response.start", "status": 200, "headers": given})
    await send({"type": "http.response.pathsend", "path": asked["path"]})


async def hints(scope: Scope, receive: Receive, send: Send) -> None:
    links = [b"</style.css>; rel=preload; as=style", b"</app.js>; rel=preload; as=script"]
    await send({"type": "http.response.early_hint", "links": links})
    await answer(send, b"hinted")


async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    given = [(b"content-length", b"4")] if "length" in query(scope) else []
    await send({"type": "http.response.start", "status": 200, "headers": given, "trailers": True})
    await send(BODY)
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-more", b"2")]})


async def debug(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.debug", "info": {"template": "index.html"}})
    await answer(send, b"debugged")


# ---- tasks and contexts ----

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
futures: dict[str, weakref.ref[asyncio.Future[None]]] = {}


async def context(scope: Scope, receive: Receive, send: Send) -> None:
    before = variable.get()
    variable.set("used")
    await sleep(0)
    await answer(send, before)


async def waits_weakly(key: str) -> None:
    """Wait for a future that nobody but this task holds."""
    future = asyncio.get_running_loop().create_future()
    futures[key] = weakref.ref(future)
    note(key, "waits")
    await future
    note(key, "went on")


async def leaves_a_task(scope: Scope, receive: Receive, send: Send) -> None:
    asyncio.create_task(waits_weakly(query(scope)["key"]))  # noqa: RUF006 - that is the point
    await asyncio.sleep(0)
    gc.collect()
    await answer(send, b"left")


async def leaves_an_exit(scope: Scope, receive: Receive, send: Send) -> None:
    """A task and a callback that call sys.exit(), behind the request."""

    async def exit_in_a_task() -> None:
        sys.exit(3)

    asyncio.create_task(exit_in_a_task())  # noqa: RUF006 - left behind
    asyncio.get_running_loop().call_later(0.01, sys.exit, 4)
    await answer(send, b"left")


async def is_held_weakly(scope: Scope, receive: Receive, send: Send) -> None:
    await waits_weakly(query(scope)["key"])
    await answer(send, b"went on")


async def resolves(scope: Scope, receive: Receive, send: Send) -> None:
    gc.collect()
    future = futures[query(scope)["key"]]()
    if future is None:
        return await answer(send, b"lost")
    future.get_loop().call_soon_threadsafe(future.set_result, None)
    return await answer(send, b"resolved")


async def goes_on_behind(scope: Scope, receive: Receive, send: Send) -> None:
    """Work after the response, until the gate opens."""
    asked = query(scope)
    await answer(send, b"answered")
    await opened(asked["gate"])
    note(asked["key"], "background work done")


ROUTES = {
    "/hello": hello,
    "/state": state,
    "/extensions": extensions,
    "/echo": echo,
    "/taken": taken,
    "/streamed": streamed,
    "/pieces": pieces,
    "/in-steps": in_steps,
    "/bodiless": bodiless,
    "/headers": headers,
    "/awaits-leaving": awaits_leaving,
    "/receives-after": receives_after,
    "/listens-while-sending": listens_while_sending,
    "/listens-twice": listens_twice,
    "/sends-twice": sends_twice,
    "/held": held,
    "/blocked": blocked,
    "/wrong-order": wrong_order,
    "/returns-early": returns_early,
    "/raising": raising,
    "/pathsend": pathsend,
    "/hints": hints,
    "/trailers": trailers,
    "/debug": debug,
    "/context": context,
    "/leaves-a-task": leaves_a_task,
    "/leaves-an-exit": leaves_an_exit,
    "/is-held-weakly": is_held_weakly,
    "/resolves": resolves,
    "/goes-on-behind": goes_on_behind,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    return await ROUTES.get(scope["path"], shown)(scope, receive, send)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"].update(started=True, shared=[])
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    note("lifespan", "shutdown")
    await send({"type": "lifespan.shutdown.complete"})
