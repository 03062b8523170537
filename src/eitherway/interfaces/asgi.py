"""ASGI 3 (specification 3.0, HTTP 2.5): an exchange as scope, receive and send."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from eitherway.config import Config
from eitherway.errors import ClientGone, RequestRefused, ResponseError
from eitherway.http.exchange import CLOSE, READ, WRITE, Exchange
from eitherway.http.fields import bytes_fields
from eitherway.http.response import Heads, ResponseHead, compose
from eitherway.http.sessions import Sessions
from eitherway.interfaces.base import AsyncSuspend, Colour, Event, Loop, break_off, describe, opens_websocket, report
from eitherway.interfaces.lifespan import Lifespan

logger = logging.getLogger("eitherway.app")

Message = dict[str, Any]

_VERSIONS = {"version": "3.0", "spec_version": "2.5"}
_EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.pathsend": {},
    "http.response.early_hint": {},
    "http.response.trailers": {},
    "http.response.debug": {},
}


class ASGIInterface:
    """Runs an ASGI application. `ended` is told of every exchange whose call has ended."""

    colour: Colour = "async"
    suspend: AsyncSuspend

    def __init__(
        self,
        application: Callable[..., Any],
        config: Config,
        ended: Callable[[Exchange], None],
        sessions: Sessions,
    ) -> None:
        self._application = application
        self._ended = ended
        self._sessions = sessions
        self._root = config.root_path.rstrip("/")
        self._lifespan = Lifespan(application)
        self._patience = max(1.0, config.graceful_timeout)
        self._state: dict[str, Any] = {}

    async def startup(self, loop: Loop) -> None:
        """Run the lifespan's startup. Raises LifespanError when the application refuses."""
        self._loop = loop
        await self._lifespan.startup(loop)
        self._state = self._lifespan.state

    async def shutdown(self) -> None:
        if not await self._loop.within(self._patience, self._lifespan.shutdown):
            logger.error("the application's shutdown did not end within %g s", self._patience)

    async def __call__(self, exchange: Exchange) -> None:
        try:
            if exchange.fields.websocket and opens_websocket(exchange):
                await self._serve_websocket(exchange)
            else:
                cycle = _Cycle(exchange, self.suspend, self._loop)
                await self._application(self._scope(exchange), cycle.receive, cycle.send)
            if not exchange.complete and not exchange.switched:
                if not exchange.disconnected and exchange.refusal is None:
                    logger.error("%s: the application returned without completing its response", describe(exchange))
                break_off(exchange)
        except BaseException as error:  # SystemExit too: one request must not end the server
            if isinstance(error, self._loop.cancelled) and self._loop.is_cancelled():
                break_off(exchange)
                raise
            report(exchange, error)
        finally:
            self._ended(exchange)

    async def _serve_websocket(self, exchange: Exchange) -> None:
        from eitherway.interfaces.asgi_websocket import serve

        await serve(self._application, exchange, self._scope(exchange), self.suspend, self._sessions)

    def _scope(self, exchange: Exchange) -> Message:
        line = exchange.line
        headers = exchange.fields.raw.copy()
        if exchange.host is not exchange.fields.host and exchange.host is not None:
            headers = [pair for pair in headers if pair[0] != b"host"]
            headers.append((b"host", exchange.host))
        path, raw_path = line.path, line.raw_path
        if self._root and not path.startswith(self._root + "/") and path != self._root:
            path, raw_path = self._root + path, self._root.encode() + raw_path
        return {
            "type": "http",
            "asgi": _VERSIONS,
            "http_version": "1.1" if line.http_11 else "1.0",
            "method": line.method,
            "scheme": exchange.scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": line.query,
            "root_path": self._root,
            "headers": headers,
            "client": exchange.client,
            "server": exchange.channel.server,
            "state": self._state.copy(),
            "extensions": _EXTENSIONS.copy(),
        }


_GONE = "nothing: the client has left"


class _Cycle:
    """`receive` and `send` of one request. `_expected` is the kind of message that may come next."""

    __slots__ = ("_exchange", "_expected", "_loop", "_received", "_suspend", "_trailers", "_waiting")

    def __init__(self, exchange: Exchange, suspend: AsyncSuspend, loop: Loop) -> None:
        self._exchange = exchange
        self._suspend = suspend
        self._loop = loop
        self._expected = "http.response.start"
        self._received = False  # the body's end was reported
        self._trailers: list[tuple[bytes, bytes]] | None = None
        self._waiting: dict[bool, Event] | None = None  # to write or not, while a task waits: for others that want to

    async def _wait(self, direction: int) -> None:
        """Suspend; a second task that receives, or sends, waits for the first: an exchange resumes one of each only."""
        writes = direction == WRITE
        if self._waiting is None:  # most requests need none
            self._waiting = {}
        waiting = self._waiting
        if writes in waiting:
            await waiting[writes].wait()
            return
        others = waiting[writes] = self._loop.event()
        try:
            await self._suspend(self._exchange, direction)
        finally:
            del waiting[writes]
            others.set()

    # -- receive --------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        exchange = self._exchange
        while not self._received:
            try:
                data = exchange.read()
            except (ClientGone, RequestRefused):
                self._received = True
                return self._disconnect()
            if data is not None:
                more = not exchange.body.complete
                self._received = not more
                return {"type": "http.request", "body": data, "more_body": more}
            await self._wait(READ)
        while not exchange.disconnected and exchange.refusal is None:
            await self._wait(CLOSE)
        return self._disconnect()

    def _disconnect(self) -> Message:
        """What tells of the client's leaving; from now on `send` raises."""
        if not self._exchange.complete:
            self._expected = _GONE
        return {"type": "http.disconnect"}

    # -- send -----------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body" == self._expected:
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = _to_bytes(body)
            more = message.get("more_body", False)
            if not more:
                self._expected = "nothing more"
                if self._trailers is not None:
                    self._expected, more = "http.response.trailers", True
            exchange = self._exchange
            if not exchange.send(body, more):
                while not exchange.flush():
                    await self._wait(WRITE)
        elif kind == self._expected:
            if kind == "http.response.start":
                self._start(message)
            else:
                self._send_trailers(message)
        elif self._expected is _GONE:
            raise ClientGone("the client has left, as http.disconnect said")
        elif kind in _INTERIM:
            self._interim(kind, message)
        else:
            raise RuntimeError(f"ASGI: expected a message {self._expected!r}, got {kind!r}")

    def _start(self, message: Message) -> None:
        self._exchange.start(_heads.get(message["status"], message.get("headers", ())))
        self._expected = "http.response.body"
        if message.get("trailers"):
            self._trailers = []

    def _send_trailers(self, message: Message) -> None:
        assert self._trailers is not None
        self._trailers.extend(message.get("headers", ()))
        if not message.get("more_trailers", False):
            self._expected = "nothing more"
            self._exchange.send_trailers(self._trailers)

    def _interim(self, kind: str, message: Message) -> None:
        exchange = self._exchange
        if kind == "http.response.early_hint":
            exchange.inform(103, [(b"link", link) for link in message.get("links", ())])
        elif kind == "http.response.pathsend":
            if self._expected != "http.response.body" or exchange.begun:
                raise RuntimeError("ASGI: http.response.pathsend comes once, directly after http.response.start")
            self._expected = "nothing more"
            fd = os.open(message["path"], os.O_RDONLY | os.O_CLOEXEC)
            exchange.send_file(fd, 0, os.fstat(fd).st_size)
        else:
            logger.debug("%s: debug information: %r", describe(exchange), message.get("info"))


def _compose(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> ResponseHead:
    return compose(status, bytes_fields(headers))


_heads = Heads(_compose)

_INTERIM = frozenset({"http.response.early_hint", "http.response.pathsend", "http.response.debug"})


def _to_bytes(body: Any) -> bytes:
    if isinstance(body, (bytearray, memoryview, bytes)):
        return bytes(body)
    raise ResponseError(f"the body of http.response.body is {type(body).__name__}, not bytes")
