"""One client's connection: bytes in, exchanges out, answers back.

A connection is a small object with a state and a deadline; no thread, greenlet or task belongs to it. It has one owner
at a time: the poller (reading a head, collecting a small body, flushing the rest of an answer, closing) or, from spawn
to the end of the response, the task that runs its exchange. While a task owns it the poller only sets the flags
`readable`, `writable`, `hung_up`, `broken` and wakes who waits for them; so no lock is needed, in threads either.
"""

from __future__ import annotations

from socket import socket as Socket  # noqa: N812
from time import monotonic
from typing import TYPE_CHECKING

from eitherway.errors import ClientGone, RequestRefused
from eitherway.http import fields as f
from eitherway.http.body import NO_BODY, Body, body_of
from eitherway.http.exchange import CLOSE, READ, WRITE, Address, Exchange
from eitherway.http.h1 import asks_head, check_start, parse_head
from eitherway.net.poller import BROKEN, HUNG_UP, IN, OUT
from eitherway.net.stream import (
    CLOSED,
    COLLECTING,
    DISCARDING,
    FLUSHING,
    LINGERING,
    NEVER,
    READING,
    RESUMING,
    RUNNING,
    Stream,
)

if TYPE_CHECKING:
    from eitherway.net.service import Service

_HEAD_RECEIVE = 16384


class Connection(Stream):
    """An accepted, non-blocking stream socket, registered with the poller."""

    __slots__ = (
        "body",
        "client",
        "common_fields",
        "exchange",
        "keep_alive",
        "requests",
        "scheme",
        "server",
        "service",
    )

    def __init__(self, service: Service, sock: Socket, client: Address | None, server: Address | None) -> None:
        super().__init__(sock, service.config, service.poller, service.poller.now + service.config.head_timeout)
        self.service = service
        self.client = client
        self.server = server
        self.scheme = "http"
        self.common_fields = service.common
        self.exchange: Exchange | None = None
        self.body: Body = NO_BODY  # of the last request
        self.requests = 0
        self.keep_alive = True
        service.connections.add(self)
        self.watch(self.on_event)

    # -- the poller's side ----------------------------------------------------------------------------------

    def on_event(self, bits: int) -> None:
        """The socket became readable or writable, or the client went."""
        state = self.state
        if bits & HUNG_UP:
            self.hung_up = True
        if state == READING:
            self._read_head()
        elif state == RUNNING:
            self._notify(bits)
        elif state == RESUMING:
            self.readable = True  # to be read after what was received before
        else:
            self._go_on()

    def on_posted(self) -> None:
        """The task gave the connection back with something left to do, or an event came while it did."""
        if self.state == RESUMING:
            self.state = READING
            data, self.buffer = self.buffer, b""
            self._take_head(data, 0)
        elif self.state == READING:
            self._read_head()
        elif self.state != RUNNING:
            self._go_on()

    def _go_on(self) -> None:
        if self.state == FLUSHING:
            self._flush_rest()
        elif self.state == COLLECTING:
            self._collect()
        elif self.state == DISCARDING:
            self._discard()
        elif self.state == LINGERING:
            self.drop_received()

    def _notify(self, bits: int) -> None:
        """Tell the task that owns the connection. Flags first, then the waiters, then see whether it was given back."""
        exchange = self.exchange
        if bits & BROKEN:
            self.broken = self.hung_up = self.readable = True
        elif bits & (IN | HUNG_UP):
            self.readable = True
        self.writable = True
        if exchange is not None:
            exchange.wake_reader()
            if bits & (OUT | BROKEN):
                exchange.wake_writer()
        if self.state != RUNNING:
            self.service.post(self.on_posted)

    def on_deadline(self) -> None:
        """A time-out has passed, unless the client did its part while nobody looked: an application may block."""
        state, deadline = self.state, self.deadline
        if state != RUNNING:
            self.on_event(0)
            if self.state != state or self.deadline != deadline:
                return
        self.deadline = NEVER
        if state == READING and self.buffer:
            self._refuse(RequestRefused(408, "the head of the request took too long"))
        elif state == COLLECTING:
            self._refuse(RequestRefused(408, "the body of the request took too long"))
        elif state == READING and self.requests:
            self.linger()
        elif state == RUNNING:
            self._time_out_task()
        elif state == FLUSHING:
            self.abort()
        else:
            self.close()

    def _time_out_task(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        if self.waiting == WRITE and exchange.write_waiter is not None:
            self._notify(BROKEN)
        elif self.waiting == READ and exchange.read_waiter is not None:
            exchange.refuse(RequestRefused(408, "the body of the request took too long"))
            exchange.wake_reader()

    # -- reading a request ----------------------------------------------------------------------------------

    def _read_head(self) -> None:
        self.readable = False
        try:
            data = self.socket.recv(_HEAD_RECEIVE)
        except BlockingIOError:
            if self.service.closing and self.requests and not self.buffer:  # a first request may be on its way
                self.linger()
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if len(data) == _HEAD_RECEIVE:
            self.readable = True
        if not self.buffer:
            self._take_head(data, 0)
            return
        buffer, self.buffer = bytearray(self.buffer), b""
        self._take_head(buffer + data, len(buffer))

    def _take_head(self, data: bytes | bytearray, scanned: int) -> None:
        """Parse the head that `data` begins with, if it is whole. `scanned`: so much of it is known to lack the end."""
        while data[:2] == b"\r\n":  # RFC 9112 section 2.2: empty lines before a request are ignored
            data, scanned = data[2:], 0
        if not data:
            self.look_for_more()
            return
        try:
            end = data.find(b"\r\n\r\n", scanned - 3 if scanned > 3 else 0)
            if end >= 0:
                end += 4
                self._take_request(bytes(data[:end]), bytes(data[end:]))
            else:
                config = self.config
                check_start(data, config.limit_request_line, config.limit_request_head)
                if scanned == 0:
                    self.deadline = self.poller.now + config.head_timeout
                self.buffer = data
                self.look_for_more()
        except RequestRefused as refusal:
            self._refuse(refusal, bodiless=asks_head(data))

    def _take_request(self, head: bytes, rest: bytes) -> None:
        service, config = self.service, self.config
        line, fields = parse_head(
            head, config.limit_request_line, config.limit_request_fields, config.limit_request_head
        )
        collected = b""
        body: Body = NO_BODY
        if fields.has_body:
            body = body_of(fields.content_length, config.limit_body)
            if rest:
                collected, rest = body.feed(rest)
        self.body = body
        self.buffer = rest
        self.waiting = CLOSE
        self.requests += 1
        keep_alive = fields.persistent if line.http_11 else fields.persistent_10
        if self.requests >= config.limit_keep_alive_requests:
            keep_alive = False
        exchange = self.exchange = Exchange(line, fields, body, collected, self, keep_alive)
        if body.complete or not service.collects_bodies or fields.expects_continue:
            self.state = RUNNING
            self.deadline = NEVER
            service.run(exchange)
        else:
            self._begin_collecting(exchange)

    def _begin_collecting(self, exchange: Exchange) -> None:
        self.state = COLLECTING
        self.be_patient(READ, self.config.body_timeout)
        exchange.started_at = self.since  # for the access log, should the client leave before the body is whole
        exchange.collected = bytearray(exchange.collected)
        self._collect()

    def _collect(self) -> None:
        """Read a body until it is whole, or larger than what is collected before a task is spawned."""
        exchange = self.exchange
        assert exchange is not None
        try:
            while not self.body.complete and len(exchange.collected) < self.config.buffer_body:
                received = self._receive_or_close()
                if received is None:
                    return
                data, self.buffer = self.body.feed(received)
                exchange.collected += data
        except RequestRefused as refusal:
            self._refuse(refusal)
            return
        exchange.collected = bytes(exchange.collected)
        self.state = RUNNING
        self.deadline = NEVER
        self.service.run(exchange)

    def _receive_or_close(self) -> bytes | None:
        """Bytes, or None when there are none now; at the client's end the connection is closed."""
        data = self.receive()
        if data == b"":
            self.close()
            return None
        return data

    def _refuse(self, refusal: RequestRefused, *, bodiless: bool = False) -> None:
        """Answer a request that cannot be run, and close."""
        self.exchange = None
        self.state = RUNNING
        self.buffer = b""
        extra = b"retry-after: 1\r\n" if refusal.status == 503 else b""
        answer = f.error_response(refusal.status, str(refusal), close=True, bodiless=bodiless, extra=extra)
        self.service.refused(self.client, refusal)
        try:
            self.end(f.status_line(refusal.status) + self.common_fields() + answer, False)
        except ClientGone:
            pass  # it did not wait for the answer

    # -- the task's side (http.exchange.Channel) ------------------------------------------------------------

    def end(self, data: bytes, keep_alive: bool) -> None:
        """Send the response's last bytes: the connection is the poller's again. Raises ClientGone."""
        if data:
            try:
                self.write(data)
            except ClientGone:
                self.close()
                raise
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            if self.service.access_log is not None:
                self.service.answered(exchange)
            if exchange.read_waiter is not None:
                exchange.wake_reader()
        self.keep_alive = keep_alive
        if not self.pending:
            self._after_response()
            return
        self.be_patient(WRITE, self.config.write_timeout)
        self.state = FLUSHING
        if self.writable or self.broken or self.readable:
            self.service.post(self.on_posted)

    def complain(self, exchange: Exchange, fault: str) -> None:
        self.service.complain(exchange, fault)

    def abort(self) -> None:
        """Reset the connection."""
        if self.state != CLOSED:
            self.reset_on_close()
            self.close()

    # -- after a response -----------------------------------------------------------------------------------

    def _flush_rest(self) -> None:
        try:
            if self.flush():
                self._after_response()
            elif self.writable:
                self.service.post(self.on_posted)
            elif not self.keep_alive:
                self.drop_received()  # a client that sends all before it reads would wait for us as we do for it
        except ClientGone:
            self.close()

    def _after_response(self) -> None:
        if self.broken:
            self.close()
        elif not self.keep_alive:
            self.linger()
        elif self.body.complete:
            self.deadline = monotonic() + self.config.keep_alive_timeout
            if self.buffer:
                self.state = RESUMING
                self.service.post(self.on_posted)
                return
            self.state = READING
            if self.readable or self.hung_up or self.service.closing:
                self.service.post(self.on_posted)
        else:
            self.state = DISCARDING
            self.be_patient(READ, self.config.body_timeout)
            self.service.post(self.on_posted)

    def _discard(self) -> None:
        """Read the rest of a body that the application did not want, to find the next request behind it."""
        try:
            while not self.body.complete:
                received = self._receive_or_close()
                if received is None:
                    return
                self.buffer = self.body.feed(received)[1]
        except RequestRefused:
            self.linger()
            return
        self.readable = True
        self._after_response()

    def turn_away(self) -> None:
        """Answer 503 at once: there is no room for one more connection."""
        self._refuse(RequestRefused(503, "too many connections; try again"))

    def drain(self) -> None:
        """The worker stops: close when idle, unless a request has arrived by now."""
        if self.state == READING and not self.buffer:
            self._read_head()

    def close(self) -> None:
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.broken = self.hung_up = True
        self.deadline = NEVER
        self.poller.remove(self.fd)
        self.service.closed(self)
        self.socket.close()
        self.drop_pending()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self.service.answered(exchange)
            exchange.wake_reader()
            exchange.wake_writer()
