"""Tornado: a `tornado.web.Application` with Tornado's own server, on asyncio's loop or another of its kind.

A stream of ours carries each socket. The server's delegates tell when a request begins, and that the answer to the one
before it is out: not all that Tornado runs calls the application's `log_request`, and what does has not sent all yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, ResponseStartLine
from tornado.iostream import IOStream
from tornado.web import Application, RequestHandler

from eitherway.config import Config
from eitherway.http.h1 import FORWARDED
from eitherway.interfaces.base import Colour, Loop
from eitherway.interfaces.native import SWITCHED, Fields, Guest, House, Line, Native, Visit, line_of

_PROXIES = {name.decode().title() for name in FORWARDED}  # as Tornado writes names
_BUSY = b"the server is busy; try again\n"


class TornadoInterface(Native):
    """Runs a `tornado.web.Application`."""

    colour: Colour = "asyncio"

    def __init__(self, application: Application, config: Config, house: House) -> None:
        super().__init__(application, config, house)
        self._log = application.log_request
        application.log_request = self._on_answered  # type: ignore[method-assign]

    async def startup(self, loop: Loop) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = _Server(
            self.application,
            idle_connection_timeout=self.config.keep_alive_timeout,
            max_header_size=self.config.limit_request_head,
            max_body_size=self.config.limit_body,
        )
        self._server.house = self.house

    async def shutdown(self) -> None:
        """An application of Tornado's is not told."""

    def _on_answered(self, handler: RequestHandler) -> None:
        if handler.get_status() == SWITCHED:
            connection: Any = handler.request.connection
            connection.stream.guest.switch(handler.close)  # type: ignore[attr-defined]
        self._log(handler)

    def adopt(self, guest: Guest) -> None:
        stream = guest.handler = _Stream(guest.socket)
        stream.guest = guest
        self._server.handle_stream(stream, guest.client or ())

    def later(self, seconds: float, call: Callable[[], object]) -> object:
        return self._loop.call_later(seconds, call)

    def has_unsent(self, guest: Guest) -> bool:
        return False  # a request is over when its answer is out

    def leave(self, guest: Guest, *, answered: bool) -> None:
        guest.handler.close()

    def cut(self, guest: Guest) -> None:
        guest.handler.close()


class _Stream(IOStream):
    """One connection; it counts what is sent, and tells of its end."""

    guest: Guest
    sent = 0
    own: tuple[str, str] | None = None  # its client's address and scheme, while those that a proxy told are in force

    def write_to_fd(self, data: memoryview) -> int:
        count = super().write_to_fd(data)
        self.sent += count
        return count

    def close_fd(self) -> None:
        super().close_fd()
        self.guest.closed()


class _Server(HTTPServer):
    house: House

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """The last answer is out, and its client may ask again."""
        stream: _Stream = request_conn.stream
        guest = stream.guest
        if guest.visit is not None:
            guest.end(guest.visit)
        if stream.own is not None:
            request_conn.context.remote_ip, request_conn.context.protocol = stream.own
            stream.own = None
        stream.sent = 0
        if self.house.draining:
            self.conn_params.no_keep_alive = True  # every answer is its connection's last
        return _Begin(self.house, request_conn, super().start_request(server_conn, request_conn))


class _Begin(HTTPMessageDelegate):
    """Tells of a request's beginning, and passes all that comes on; where the server is too busy it answers itself."""

    def __init__(self, house: House, connection: Any, inner: HTTPMessageDelegate) -> None:
        self._house = house
        self._connection = connection
        self._inner: HTTPMessageDelegate | None = inner
        self._visit: _Visit

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Awaitable[None] | None:
        connection, inner = self._connection, self._inner
        stream: _Stream = connection.stream
        visit = self._visit = _Visit(stream.guest, connection)
        if inner is None or not self._house.has_room():
            self._inner = None
            return None
        if not _PROXIES.isdisjoint(headers):
            self._believe(stream, visit, headers)
        stream.guest.begin(visit)
        return inner.headers_received(start_line, headers)

    def _believe(self, stream: _Stream, visit: _Visit, headers: HTTPHeaders) -> None:
        """Take client, scheme and host from what a trusted proxy says of them, for this request."""
        said = self._house.origin(stream.guest.client, list(_fields(headers)))
        if said is None:
            return
        context = self._connection.context
        stream.own = context.remote_ip, context.protocol
        if said.client is not None:
            visit.client = said.client
            context.remote_ip = said.client[0]
        if said.scheme is not None:
            context.protocol = said.scheme
        if said.host is not None:
            headers["Host"] = said.host.decode("latin-1")

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._inner.data_received(chunk) if self._inner is not None else None

    def finish(self) -> None:
        self._visit.read_all = True
        if self._inner is not None:
            self._inner.finish()
            return
        headers = HTTPHeaders({"Content-Length": str(len(_BUSY)), "Retry-After": "1"})
        body = None if self._visit.line.method == "HEAD" else _BUSY
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", 503, "Service Unavailable"), headers, body)
        self._connection.finish()
        self._visit.guest.refuse(self._visit)

    def on_connection_close(self) -> None:
        if self._inner is not None:
            self._inner.on_connection_close()


class _Visit(Visit):
    """`request` is Tornado's connection, which it makes anew for every request."""

    __slots__ = ("read_all", "stream")

    def __init__(self, guest: Guest, connection: Any) -> None:
        super().__init__(guest, connection)
        self.stream: _Stream = connection.stream
        self.read_all = False

    @property
    def line(self) -> Line:
        line = self.request._request_start_line
        return line_of(line.method, line.path, line.version == "HTTP/1.1")

    @property
    def fields(self) -> Fields:
        return Fields.of(_fields(self.request._request_headers))

    @property
    def status(self) -> int:
        line = self.request._response_start_line
        return line.code if line is not None else 0

    @property
    def bytes_sent(self) -> int:
        return self.stream.sent

    @property
    def read_waiter(self) -> Any:
        return None if self.read_all else self

    def say_last(self) -> None:
        if self.request._response_start_line is None:
            self.request._disconnect_on_finish = True


def _fields(headers: HTTPHeaders) -> Iterator[tuple[bytes, bytes]]:
    return ((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.get_all())
