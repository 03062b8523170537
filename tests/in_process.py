"""The server's own parts without the server: connections over socket pairs, exchanges over a channel of memory."""

from __future__ import annotations

import json
import select
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from eitherway.config import Config
from eitherway.errors import ClientGone, RequestRefused
from eitherway.http.exchange import READ, Exchange
from eitherway.http.response import compose
from eitherway.net.connection import Connection
from eitherway.net.poller import Poller
from eitherway.net.service import Service


def describe(exchange: Exchange, body: bytes) -> dict[str, Any]:
    """What the application would receive, in the form of tests/apps/echo.py."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in exchange.fields.raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    if exchange.host is not None:
        fields["host"] = exchange.host.decode("latin-1")
    line = exchange.line
    return {
        "method": line.method,
        "target": line.uri,
        "path": line.path_info,
        "query": line.query_string,
        "version": "1.1" if line.http_11 else "1.0",
        "scheme": exchange.scheme,
        "client": exchange.client[0] if exchange.client else "",
        "fields": fields,
        "length": len(body),
        "body": body.decode("latin-1"),
    }


class InProcess:
    """One connection with everything behind it, and an application that records requests and echoes them.

    `collects` and `queues` make it like a sync engine (small bodies are read first, a request begins when the poller
    has turned) or like an async one (it begins at once and reads its body itself).
    """

    def __init__(self, config: Config | None = None, *, collects: bool = False, queues: bool = False) -> None:
        self.poller = Poller()
        spawn: Callable[[Exchange], None] = self._enqueue if queues else self._run
        self.logged: list[tuple[str, int]] = []  # target and status of what stands in the access log
        log: Any = AccessLines(self.logged)
        self.service = Service(config or Config(), self.poller, spawn, collects_bodies=collects, access_log=log)
        self.client, server = socket.socketpair()
        server.setblocking(False)
        self.client.settimeout(20)
        self.connection = Connection(self.service, server, None, None)
        self.requests: list[dict[str, Any]] = []
        self.given_up: list[BaseException] = []
        self.received = b""
        self.closed = False  # the server has closed its side
        self._queue: deque[Exchange] = deque()

    def __enter__(self) -> InProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.service.close()
        self.poller.close()

    # -- the client -----------------------------------------------------------------------------------------

    def send(self, *pieces: bytes) -> InProcess:
        """Send pieces one after the other; the server has done all it can with each before the next."""
        for piece in pieces:
            try:
                self.client.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            self.settle()
        return self

    def finish(self) -> InProcess:
        """Close the client's side."""
        try:
            self.client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has closed altogether
        return self.settle()

    def settle(self) -> InProcess:
        """Turn the poller until there is nothing more to do, and take what came for the client."""
        while self._has_work():
            self.poller.turn(0)
            while self._queue:
                self._run(self._queue.popleft())
            self._receive()
        self._receive()
        return self

    def _has_work(self) -> bool:
        return bool(self._queue or select.select([self.poller.fileno()], [], [], 0)[0])

    def _receive(self) -> None:
        while not self.closed and select.select([self.client], [], [], 0)[0]:
            try:
                data = self.client.recv(65536)
            except ConnectionResetError:
                data = b""
            self.received += data
            self.closed = not data

    # -- the application ------------------------------------------------------------------------------------

    def _enqueue(self, exchange: Exchange) -> None:
        self._queue.append(exchange)

    def _run(self, exchange: Exchange, body: bytes = b"") -> None:
        """Read the whole body, with a callback where an engine would suspend a task; then answer."""
        try:
            while True:
                data = exchange.read()
                if data == b"":
                    break
                if data is not None:
                    body += data
                elif exchange.park(READ, partial(self._run, exchange, body)):
                    return
            self._answer(exchange, body)
        except (ClientGone, RequestRefused) as error:
            self.given_up.append(error)
            self._give_up(exchange)
        self.service.ended(exchange)

    def _answer(self, exchange: Exchange, body: bytes) -> None:
        request = describe(exchange, body)
        self.requests.append(request)
        answer = json.dumps(request).encode()
        exchange.start(compose(200, [(0, b"content-type: application/json\r\n", b"application/json")]))
        exchange.send(answer, False)

    def _give_up(self, exchange: Exchange) -> None:
        try:
            if exchange.refusal is not None:
                exchange.fail(exchange.refusal.status, str(exchange.refusal))
            else:
                exchange.fail(500, "given up")
        except ClientGone:
            pass


class AccessLines:
    """An access log of memory."""

    def __init__(self, lines: list[tuple[str, int]]) -> None:
        self._lines = lines

    def write(self, exchange: Exchange, seconds: float) -> None:
        assert seconds >= 0
        self._lines.append((exchange.line.uri, exchange.status or 499))

    def write_refusal(self, client: object, status: int) -> None:
        self._lines.append(("-", status))


class FakeChannel:
    """A channel of memory: what `received` holds can be read, what is written lies in `sent`."""

    def __init__(self, *received: bytes) -> None:
        self.client: tuple[str, int] | None = ("192.0.2.1", 4711)
        self.server: tuple[str, int] | None = ("127.0.0.1", 80)
        self.scheme = "http"
        self.broken = False
        self.hung_up = False
        self.endless = False
        self.incoming = deque(received)
        self.unused = b""
        self.sent = b""
        self.files: list[tuple[int, int, int]] = []
        self.room = True  # whether writes are taken at once
        self.wait = True  # what wait_for answers
        self.stopped_waiting = 0
        self.keep_alive: bool | None = None  # None until the response has ended
        self.aborted = False
        self.faults: list[str] = []

    @staticmethod
    def common_fields() -> bytes:
        return b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: eitherway\r\n"

    def receive(self) -> bytes | None:
        return self.incoming.popleft() if self.incoming else None

    def unread(self, data: bytes) -> None:
        self.unused += data

    def write(self, data: bytes) -> bool:
        if self.broken:
            raise ClientGone("the client closed the connection")
        self.sent += data
        return self.room

    def write_file(self, head: bytes, fd: int, offset: int, count: int) -> None:
        self.write(head)
        self.files.append((fd, offset, count))

    def flush(self) -> bool:
        return self.room

    def wait_for(self, direction: int) -> bool:
        return self.wait

    def stop_waiting(self, direction: int) -> None:
        self.stopped_waiting += 1

    def end(self, data: bytes, keep_alive: bool) -> None:
        assert self.keep_alive is None, "a response ended twice"
        self.write(data)
        self.keep_alive = keep_alive

    def abort(self) -> None:
        self.aborted = True

    def complain(self, exchange: Exchange, fault: str) -> None:
        self.faults.append(fault)
