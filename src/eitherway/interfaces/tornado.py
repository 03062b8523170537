"""Tornado: a `tornado.web.Application` with Tornado's own server, on asyncio's loop or another of its kind.

A stream of ours carries each socket, the server's delegates tell when a request begins, the application's `log_request`
when it is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, ResponseStartLine
from tornado.iostream import IOStream
from tornado.web import Application, RequestHandler

from eitherway.config import Config
from eitherway.http.h1 import FORWARDED
from eitherway.interfaces.base import Colour, Loop
from eitherway.interfaces.native import Fields, Guest, House, Line, Native, Visit, line_of

_SWITCHED = 101
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
        connection: Any = handler.request.connection
        guest: Guest = connection.stream.guest
        visit = guest.visit
        if visit is not None:
            visit.status = handler.get_status()
            if visit.status == _SWITCHED:
                guest.switch(visit, handler.close)  # type: ignore[attr-defined]
            else:
                guest.end(visit)
        self._log(handler)

    def adopt(self, guest: Guest) -> None:
        stream = guest.handler = _Stream(guest.socket)
        stream.guest = guest
        self._server.handle_stream(stream, guest.client or ())

    def leave(self, guest: Guest, *, answered: bool) -> None:
        guest.handler.close()

    def cut(self, guest: Guest) -> None:
        guest.handler.close()


class _Stream(IOStream):
    """One connection; it counts what is sent, and tells of its end."""

    guest: Guest

    def write_to_fd(self, data: memoryview) -> int:
        count = super().write_to_fd(data)
        if count and self.guest.visit is not None:
            self.guest.visit.bytes_sent += count
        return count

    def close_fd(self) -> None:
        super().close_fd()
        self.guest.closed()


class _Server(HTTPServer):
    house: House

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        if self.house.draining:
            self.conn_params.no_keep_alive = True  # every answer is its connection's last
        return _Begin(self.house, request_conn, super().start_request(server_conn, request_conn))


class _Begin(HTTPMessageDelegate):
    """Tells of a request's beginning, and passes all that comes on; where the server is too busy it answers itself."""

    def __init__(self, house: House, connection: Any, inner: HTTPMessageDelegate) -> None:
        self._house = house
        self._connection = connection
        self._inner: HTTPMessageDelegate | None = inner

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Awaitable[None] | None:
        connection, inner = self._connection, self._inner
        guest: Guest = connection.stream.guest
        if inner is None or not self._house.has_room():
            self._inner = None
            return None
        visit = _Visit(guest, (start_line, headers))
        guest.begin(visit)
        if _PROXIES.isdisjoint(headers):
            return inner.headers_received(start_line, headers)
        said = self._house.origin(guest.client, list(_fields(headers)))
        if said is not None:
            if said.client is not None:
                visit.client = said.client
                connection.context.remote_ip = said.client[0]
            if said.host is not None:
                headers["Host"] = said.host.decode("latin-1")
            connection.context.protocol = said.scheme or "http"
        return inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._inner.data_received(chunk) if self._inner is not None else None

    def finish(self) -> None:
        if self._inner is not None:
            self._inner.finish()
            return
        headers = HTTPHeaders({"Content-Length": str(len(_BUSY)), "Retry-After": "1"})
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", 503, "Service Unavailable"), headers, _BUSY)
        self._connection.finish()

    def on_connection_close(self) -> None:
        if self._inner is not None:
            self._inner.on_connection_close()


class _Visit(Visit):
    __slots__ = ()

    @property
    def line(self) -> Line:
        line = self.request[0]
        return line_of(line.method, line.path, line.version == "HTTP/1.1")

    @property
    def fields(self) -> Fields:
        return Fields.of(_fields(self.request[1]))


def _fields(headers: HTTPHeaders) -> Iterator[tuple[bytes, bytes]]:
    return ((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.get_all())
