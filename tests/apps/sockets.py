"""WebSocket applications for the tests: `asgi`, and `wsgi` for what both can do; the path says what is done.

/echo           sends back what comes, until the client closes
/close?c&r      closes with code c and reason r
/return /raise  returns or raises, once the WebSocket is open
/early-...      the same before it is accepted
/push?n         sends n messages of 64 KiB
/hold?file      takes no message until that file exists, then counts what comes; "end" ends it
/idle           takes messages, and sends nothing
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from notes import note

BLOCK = "x" * 65536
LOOK = 0.01  # seconds between two looks whether the file is there


# ---- ASGI ----


class Socket:
    """The few verbs that the applications below need, over receive and send."""

    def __init__(self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        self.scope = scope
        self.receive = receive
        self.raw_send = send
        self.query = scope["query_string"].decode()

    async def accept(self, **more: Any) -> None:
        assert await self.receive() == {"type": "websocket.connect"}
        await self.raw_send({"type": "websocket.accept", **more})

    async def send(self, message: str | bytes) -> None:
        key = "text" if isinstance(message, str) else "bytes"
        await self.raw_send({"type": "websocket.send", key: message})

    async def messages(self) -> Any:
        while (event := await self.receive())["type"] == "websocket.receive":
            yield event.get("text", event.get("bytes"))
        note(self.scope["path"] + self.query, (event["code"], event["reason"]))


async def echo(socket: Socket) -> None:
    await socket.accept()
    async for message in socket.messages():
        await socket.send(message)


async def close(socket: Socket) -> None:
    await socket.accept()
    code, _, reason = socket.query.partition("&")
    await socket.raw_send({"type": "websocket.close", "code": int(code), "reason": reason})
    async for _ in socket.messages():
        pass


async def return_(socket: Socket) -> None:
    await socket.accept()


async def raise_(socket: Socket) -> None:
    await socket.accept()
    raise LookupError("on purpose")


async def early_return(socket: Socket) -> None:
    await socket.receive()


async def early_raise(socket: Socket) -> None:
    raise LookupError("on purpose")


async def early_close(socket: Socket) -> None:
    await socket.receive()
    await socket.raw_send({"type": "websocket.close", "code": 4000})
    note("early-close", await socket.receive())


async def deny(socket: Socket) -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"no key")]
    await socket.raw_send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await socket.raw_send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
    await socket.raw_send({"type": "websocket.http.response.body", "body": b"you"})


async def scope(socket: Socket) -> None:
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol=offered[-1] if offered else None, headers=[[b"x-kind", b"test"]])
    shown = {key: repr(value) for key, value in socket.scope.items()}
    await socket.send(json.dumps(shown))


async def push(socket: Socket) -> None:
    await socket.accept()
    try:
        for number in range(int(socket.query)):
            await socket.send(BLOCK)
            note("pushed", number)
    except OSError as error:
        note("push-ended", repr(error))


async def push_from_many(socket: Socket) -> None:
    """Eight tasks send at once, more than fits on the way; one of them is cancelled while it waits."""
    await socket.accept()
    tasks = [asyncio.create_task(socket.send(str(number) * 4_000_000)) for number in range(8)]
    await asyncio.sleep(0)
    tasks[7].cancel()
    await asyncio.sleep(0)
    note("cancelled", sum(task.cancelled() for task in tasks))
    await asyncio.wait(tasks)
    note("sent", sum(not task.cancelled() for task in tasks))


async def hold(socket: Socket) -> None:
    await socket.accept()
    loop: Any = sys.modules.get("trio") or sys.modules.get("curio") or asyncio  # only an engine imports the others
    while not Path(socket.query).exists():  # noqa: ASYNC240 - the test's signal
        await loop.sleep(LOOK)
    count = size = 0
    async for message in socket.messages():
        if message == "end":
            await socket.send(f"{count} {size}")
        count, size = count + 1, size + len(message)


async def idle(socket: Socket) -> None:
    await socket.accept()
    async for _ in socket.messages():
        pass


async def wrong(socket: Socket) -> None:
    """Everything that may not be sent; the errors go to the client."""
    errors = []

    async def fails(message: dict[str, Any]) -> None:
        try:
            await socket.raw_send(message)
        except RuntimeError as error:
            errors.append(str(error))

    await fails({"type": "websocket.send", "text": "early"})
    await fails({"type": "http.response.start", "status": 200})
    await socket.accept()
    await fails({"type": "websocket.accept"})
    await fails({"type": "websocket.send"})
    await fails({"type": "websocket.send", "text": "a", "bytes": b"a"})
    await fails({"type": "websocket.send", "text": b"a"})
    await fails({"type": "websocket.close", "code": 1005})
    await fails({"type": "websocket.close", "code": 1000, "reason": "x" * 124})
    other = asyncio.create_task(socket.receive())
    await asyncio.sleep(0)
    try:
        await socket.receive()
    except RuntimeError as error:
        errors.append(str(error))
    other.cancel()
    await socket.send(json.dumps(errors))
    await socket.raw_send({"type": "websocket.close"})
    await fails({"type": "websocket.send", "text": "late"})
    note("late", errors[-1])


async def after_the_end(socket: Socket) -> None:
    """Go on when the client has left."""
    await socket.accept()
    async for _ in socket.messages():
        pass
    for message in ({"type": "websocket.send", "text": "a"}, {"type": "websocket.send", "bytes": b"a"}):
        try:
            await socket.raw_send(message)
        except OSError as error:
            note("gone", type(error).__name__)
    note("gone", (await socket.receive())["type"])
    raise ConnectionError("in the application's own code")


ROUTES = {
    "/echo": echo,
    "/close": close,
    "/return": return_,
    "/raise": raise_,
    "/early-return": early_return,
    "/early-raise": early_raise,
    "/early-close": early_close,
    "/deny": deny,
    "/scope": scope,
    "/push": push,
    "/push-from-many": push_from_many,
    "/hold": hold,
    "/idle": idle,
    "/wrong": wrong,
    "/after": after_the_end,
}


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["shared"] = "by all"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await ROUTES["/" + scope["path"].rpartition("/")[2]](Socket(scope, receive, send))
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"plain"})


# ---- WSGI ----


def _until_closed(socket: Any, path: str) -> Iterator[str | bytes]:
    yield from socket
    note(path, (socket.close_code, socket.close_reason))


def _serve(environ: dict[str, Any], socket: Any) -> None:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/echo":
        for message in _until_closed(socket, path + query):
            socket.send(message)
    elif path == "/close":
        code, _, reason = query.partition("&")
        socket.close(int(code), reason)
        socket.close()
        note(path + query, (socket.close_code, socket.close_reason))
    elif path == "/return":
        socket.accept()
    elif path == "/raise":
        socket.accept()
        raise LookupError("on purpose")
    elif path == "/early-raise":
        raise LookupError("on purpose")
    elif path == "/scope":
        socket.accept(socket.subprotocols[-1] if socket.subprotocols else None, [("X-Kind", "test")])
        socket.send(json.dumps({"subprotocols": repr(socket.subprotocols), "path": environ["PATH_INFO"]}))
    elif path == "/push":
        try:
            for number in range(int(query)):
                socket.send(BLOCK)
                note("pushed", number)
        except ConnectionError as error:
            note("push-ended", repr(error))
    elif path == "/hold":
        socket.accept()
        while not Path(query).exists():
            time.sleep(LOOK)
        count = size = 0
        for message in _until_closed(socket, path):
            if message == "end":
                socket.send(f"{count} {size}")
            count, size = count + 1, size + len(message)
    elif path == "/timeout":
        try:
            socket.receive(timeout=0.05)
        except TimeoutError as error:
            socket.send(str(error))
        socket.send(f"then {socket.receive(timeout=60)}")
    elif path == "/wrong":
        _misuse(socket)
    else:
        for _ in _until_closed(socket, path + query):
            pass


def _misuse(socket: Any) -> None:
    errors = []
    for call in (
        lambda: socket.send(5),
        lambda: socket.accept(),
        lambda: socket.close(1005),
        lambda: socket.close(1000, "x" * 124),
    ):
        try:
            call()
        except (RuntimeError, TypeError, ValueError) as error:
            errors.append(f"{type(error).__name__}: {error}")
    socket.send(json.dumps(errors))
    socket.close()
    try:
        socket.send("late")
    except ConnectionError as error:
        note("late", error)
    note("late", socket.receive())


class Answer(list[bytes]):
    """What the server is to close, whether it is sent or dropped."""

    def close(self) -> None:
        note("answer", "closed")


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    socket = environ.get("eitherway.websocket")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    if socket is not None and environ["PATH_INFO"] != "/plain":
        _serve(environ, socket)
    return Answer([b"plain"])
