"""One request on its way through the balancer: from the client's exchange to a backend's connection, and the answer
back. Everything here is a callback of the poller's thread; nothing blocks.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from eitherway.balancer.backend import BackendConnection
from eitherway.balancer.heads import ResponseHead, asks_websocket, request_head
from eitherway.balancer.policy import IDEMPOTENT, Verdict, after_loss
from eitherway.errors import ClientGone, RequestRefused, ResponseError
from eitherway.http import fields as f
from eitherway.http.exchange import CLOSE, READ, WRITE, Exchange
from eitherway.net.stream import PART

if TYPE_CHECKING:
    from eitherway.balancer.balancer import Balancer

_TURNS = 16  # blocks of a body passed on in one turn, so that others are not kept waiting
_ROOM = 65536  # below the bound by so much, more of the response is taken again
_OWN = frozenset({b"date", b"server"})  # fields that the balancer says itself, with 101
RETRY_AFTER = b"retry-after: 1\r\n"


class Forward:
    """`connection` is set while a worker has the request."""

    __slots__ = (
        "_ahead",
        "_body",
        "_chunked",
        "_streaming",
        "_watching",
        "balancer",
        "connection",
        "ended",
        "exchange",
        "method",
        "retries",
        "wants_switch",
    )

    def __init__(self, balancer: Balancer, exchange: Exchange) -> None:
        self.balancer = balancer
        self.exchange = exchange
        self.method = exchange.line.method
        self.connection: BackendConnection | None = None
        self.retries = 0
        self.wants_switch = False
        self.ended = False
        self._body = b""  # kept until the answer begins: the request may have to be run again
        self._streaming = False  # there is more of the body than that
        self._chunked = False  # and it goes to the worker in chunks
        self._watching = False  # parked until the client leaves
        self._ahead = 0  # bytes of the answer that are kept here for a slow client

    # -- the request's way in -------------------------------------------------------------------------------

    def arrive(self) -> None:
        """Enter the queue; a body that waits for `100 Continue` is asked for and collected first."""
        exchange = self.exchange
        if exchange.body.complete:
            self._body = bytes(exchange.collected)
            self.balancer.admit(self)
        elif exchange.fields.expects_continue:
            self._collect()
        else:
            self._streaming = True
            self.balancer.admit(self)

    def _collect(self) -> None:
        exchange = self.exchange
        collected = bytearray(self._body)
        limit = self.balancer.config.buffer_body
        try:
            while not exchange.body.complete and len(collected) < limit:
                data = exchange.read()
                if data:
                    collected += data
                elif data is None and exchange.park(READ, self._collect):
                    self._body = bytes(collected)
                    return
        except RequestRefused as refusal:
            self.fail(refusal.status, str(refusal))
            return
        except ClientGone:
            self._give_up()
            return
        if exchange.body.complete:
            self._body = bytes(collected + exchange.collected)
        else:
            exchange.collected = collected
            self._streaming = True
        self.balancer.admit(self)

    def watch(self) -> None:
        """Be told when the client leaves. Only now: a request that is run at once does without."""
        exchange = self.exchange
        if exchange.park(CLOSE, self._on_client):
            self._watching = True
        else:
            self._on_gone()

    def _on_client(self) -> None:
        """Something happened on the client's connection: it left, or it sent the next request already."""
        self._watching = False
        if not self.ended:
            self.watch()

    def _on_gone(self) -> None:
        exchange = self.exchange
        connection = self.connection
        if connection is None:
            if self.balancer.withdraw(self):
                exchange.keep_alive = False
                # It may have closed its side only; if so it is told why it gets nothing.
                self.fail(503, "the request was dropped from the queue: its client closed the connection")
        elif exchange.channel.broken:
            self._give_up()
        else:
            connection.half_close()

    def _give_up(self) -> None:
        """The client has left; or it closed its side in the middle of the body, and can be told."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()
        refusal = None if self.exchange.channel.broken else self.exchange.refusal
        # Either gives the client's connection back, to be closed.
        if refusal is not None:
            self.fail(refusal.status, str(refusal))
        else:
            self.fail(499, "the client closed the connection")

    # -- to the worker --------------------------------------------------------------------------------------

    def run(self, connection: BackendConnection) -> None:
        """Hand the request to a worker."""
        exchange = self.exchange
        self.connection = connection
        self.wants_switch = asks_websocket(exchange)
        if not self._streaming:
            body = self._body
            connection.begin(self, request_head(exchange, len(body)) + body, whole=True)
            if not self._watching:
                self.watch()
            return
        self._chunked = exchange.fields.content_length is None
        connection.begin(self, request_head(exchange, None), whole=False)
        if self._watching:
            self._watching = False
            exchange.unpark(READ)
        self.on_room()

    def on_room(self) -> None:
        """Pass the body on as it comes, as long as the worker takes it."""
        exchange = self.exchange
        connection = self.connection
        if connection is None or self.ended:
            return
        try:
            for _ in range(_TURNS):
                if connection.pending is not None:
                    return
                data = exchange.read()
                if data is None:
                    if exchange.park(READ, self.on_room):
                        return
                elif data:
                    connection.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
                elif connection.is_tunnel:
                    connection.half_close()
                    self.watch()
                    return
                else:
                    self._end_upload(connection)
                    return
        except RequestRefused as refusal:
            self._break_upload(refusal)
        except ClientGone:
            self._give_up()
        else:
            self.balancer.poller.post(self.on_room)

    def _end_upload(self, connection: BackendConnection) -> None:
        connection.end_upload()
        if self._chunked:
            connection.send(f.LAST_CHUNK)
        self.watch()

    def _break_upload(self, refusal: RequestRefused) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()
        self.fail(refusal.status, str(refusal))

    # -- the worker's answer (backend.Carrier) --------------------------------------------------------------

    def on_interim(self, head: ResponseHead) -> None:
        try:
            self.exchange.inform(head.status, head.pairs)
        except ClientGone:
            self._give_up()
        except ResponseError:
            pass  # an interim response is no loss

    def on_switch(self, head: ResponseHead, data: bytes) -> None:
        """The worker has left HTTP, and so does the client: from here on all bytes are passed on, both ways."""
        exchange = self.exchange
        try:
            exchange.switch([*(pair for pair in head.pairs if pair[0] not in _OWN), (b"upgrade", b"websocket")])
        except ClientGone:
            self._give_up()
            return
        if self._watching:
            self._watching = False
            exchange.unpark(READ)
        if data:
            self.on_data(data, True)
        self.on_room()

    def on_head(self, head: ResponseHead, data: bytes, more: bool) -> None:
        exchange = self.exchange
        encoded = head.encoded
        if not head.dated:
            encoded += f.without(exchange.channel.common_fields(), f.SERVER)
        self._body = b""
        exchange.relay(head.status, (encoded,), None if head.chunked else head.length)
        self.on_data(data, more)

    def on_data(self, data: bytes, more: bool) -> None:
        exchange = self.exchange
        try:
            if more:
                if not exchange.send(data, True):
                    self._ahead += len(data) + PART
                    self._on_writable()
                return
            self.connection = None
            exchange.read_waiter = exchange.write_waiter = None
            exchange.send(data, False)
        except ClientGone:
            self._give_up()
        else:
            self.finish()

    def _on_writable(self) -> None:
        """Give the client what it takes, and see that no more than the bound is kept for it."""
        if self.ended:
            return
        exchange = self.exchange
        connection = self.connection
        try:
            while exchange.write_waiter is None and not exchange.park(WRITE, self._on_writable):
                if exchange.flush():
                    self._ahead = 0
                    break
                self._ahead = exchange.channel.unsent()
        except ClientGone:
            self._give_up()
            return
        if connection is not None:
            bound = self.balancer.config.response_buffer
            if self._ahead > bound:
                connection.pause()
            elif self._ahead <= max(0, bound - _ROOM):
                connection.resume()

    def on_lost(self, delivered: bool, reason: str) -> None:
        """The connection to the worker broke before the answer was complete."""
        connection, self.connection = self.connection, None
        assert connection is not None
        timeout = self.balancer.config.timeout
        verdict = after_loss(
            begun=self.exchange.status != 0,
            delivered=delivered,
            idempotent=self.method in IDEMPOTENT,
            replayable=not self._streaming,
            overdue=0 < timeout <= monotonic() - connection.handed_at,
            alone=connection.backend.slots == 1,
            retries=self.retries,
        )
        if verdict is Verdict.RETRY:
            self.retries += 1
            self.balancer.run_again(self, reason)
        elif verdict is Verdict.TIMED_OUT:
            self.balancer.on_timed_out(self, connection)
            self.fail(504, "the worker took too long")
        else:
            self.balancer.on_bad_gateway(self, connection.backend, reason)
            self.fail(502, "the worker ended before its answer was complete")

    # -- ending ---------------------------------------------------------------------------------------------

    def time_out(self) -> None:
        """The worker took too long to begin its answer."""
        connection, self.connection = self.connection, None
        assert connection is not None
        self.balancer.on_timed_out(self, connection)
        connection.abandon()
        self.fail(504, "the worker took too long")

    def fail(self, status: int, reason: str, extra: bytes = b"") -> None:
        exchange = self.exchange
        exchange.read_waiter = exchange.write_waiter = None
        try:
            exchange.fail(status, reason, extra)
        except ClientGone:
            pass  # nobody is left to be told
        self.finish()

    def finish(self) -> None:
        """The exchange is answered or its client gone."""
        if not self.ended:
            self.ended = True
            self._body = b""
            self.balancer.service.ended(self.exchange)
