"""A worker as the balancer sees it: its slots, and the connections to its Unix socket.

A connection carries one request at a time. It reads and frames the response; what becomes of it is the business of
the `Carrier` that it works for. A connection that was given up in the middle of a request keeps its slot until the
worker ends it, because until then the worker may still be busy.
"""

from __future__ import annotations

import socket as socket_module
from socket import socket as Socket  # noqa: N812
from typing import Protocol

from eitherway.balancer.heads import ResponseHead, parse_response_head
from eitherway.balancer.policy import Target
from eitherway.errors import BackendError, RequestRefused
from eitherway.http.body import NO_BODY, Body
from eitherway.net.poller import BROKEN, IN, OUT, Poller

_RECEIVE = 65536
_LARGEST_HEAD = 262144
_MOST_DROPPED = 65536  # bytes read for nobody's use, before the worker is shown that nobody reads
_TRUSTED_IDLE = 1.0  # seconds; a connection idle for longer is looked at before it is used again
_ONE_READ = 4096  # a request up to this size is read by any server in one piece: wholly, or not at all


class Carrier(Protocol):
    """Whose request a connection carries."""

    method: str

    wants_switch: bool  # to another protocol

    def on_interim(self, head: ResponseHead) -> None: ...
    def on_switch(self, head: ResponseHead, data: bytes) -> None: ...
    def on_head(self, head: ResponseHead, data: bytes, more: bool) -> None: ...
    def on_data(self, data: bytes, more: bool) -> None: ...
    def on_room(self) -> None: ...
    def on_lost(self, delivered: bool, reason: str) -> None: ...


class House(Protocol):
    """Who keeps the backends (balancer.Balancer)."""

    poller: Poller  # whose clock goes
    backend_poller: Poller

    def on_slot_free(self, backend: Backend) -> None: ...
    def on_death(self, backend: Backend) -> None: ...


class Backend(Target):
    """`take` gives a connection for one request; it comes back by itself.

    `is_loop`: a request that became a tunnel takes nobody's place there, as it would take a thread elsewhere.
    """

    __slots__ = ("connections", "house", "idle", "is_loop", "path", "requests")

    def __init__(self, id: int, path: str, slots: int, house: House, is_loop: bool = False) -> None:
        super().__init__(id, slots)
        self.is_loop = is_loop
        self.path = path
        self.house = house
        self.idle: list[BackendConnection] = []
        self.connections: set[BackendConnection] = set()
        self.requests = 0

    def take(self) -> BackendConnection | None:
        """A connection that is open, as far as can be known; None when the worker cannot be reached."""
        idle = self.idle
        now = self.house.poller.now
        while idle:
            connection = idle.pop()
            if now - connection.idle_since < _TRUSTED_IDLE or connection.is_open():
                return connection
            connection.close()
        sock = Socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(self.path)
        except OSError:  # nobody listens, or the backlog is full
            sock.close()
            return None
        return BackendConnection(self, sock)

    def close_idle(self, since: float) -> None:
        """Close what has been idle since then: the worker would do it soon, and perhaps as we use it."""
        for connection in [c for c in self.idle if c.idle_since <= since]:
            connection.close()

    def close(self) -> None:
        for connection in list(self.connections):
            connection.close()

    def leave(self) -> None:
        """It runs no request any more; tunnels last until it ends them."""
        for connection in [c for c in self.connections if not c.is_tunnel]:
            connection.close()


class BackendConnection:
    """A connection to a worker: idle, carrying (`carrier` is set), given up (`abandoned`), or closed."""

    __slots__ = (
        "_body",
        "_buffer",
        "_dropped",
        "_head",
        "_paused",
        "_persistent",
        "_size",
        "_until_end",
        "_uploaded",
        "abandoned",
        "backend",
        "carrier",
        "closed",
        "fd",
        "handed_at",
        "idle_since",
        "is_tunnel",
        "pending",
        "socket",
    )

    def __init__(self, backend: Backend, sock: Socket) -> None:
        self.backend = backend
        self.socket = sock
        self.fd = sock.fileno()
        self.carrier: Carrier | None = None
        self.abandoned = False
        self.closed = False
        self.is_tunnel = False  # both sides have left HTTP
        self.idle_since = 0.0
        self.handed_at = 0.0  # when the worker got the last of the request that it has got
        self.pending: memoryview | None = None  # of the request, not yet taken by the kernel
        self._size = 0  # of the request, as far as sent
        self._uploaded = True  # the request has been sent whole
        self._persistent = True
        self._paused = False
        self._buffer = b""
        self._head: ResponseHead | None = None
        self._body: Body = NO_BODY
        self._until_end = False  # the body ends with the connection
        self._dropped = 0
        backend.connections.add(self)
        backend.house.backend_poller.watch(self.fd, self.on_event)

    # -- the request ----------------------------------------------------------------------------------------

    def begin(self, carrier: Carrier, data: bytes, *, whole: bool) -> None:
        """Send a request's head, and as much of its body as is there: all of it, or more will follow by `send`."""
        self.carrier = carrier
        self.backend.requests += 1
        self._size = 0
        self._head = None
        self._uploaded = whole
        self.send(data)

    def send(self, data: bytes) -> None:
        """Send more of the request. What the kernel does not take is kept in `pending`; `on_room` tells of its end."""
        self.handed_at = self.backend.house.poller.now
        self._size += len(data)
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._size -= len(data)
            return  # broken; the poller tells why, and whether an answer came first
        if sent < len(data):
            self.pending = memoryview(data)[sent:]
            self._watch()

    def end_upload(self) -> None:
        self._uploaded = True

    def _flush(self) -> None:
        assert self.pending is not None
        self.handed_at = self.backend.house.poller.now
        try:
            sent = self.socket.send(self.pending)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self.pending)  # broken, as in `send`
        self.pending = self.pending[sent:] if sent < len(self.pending) else None
        if self.pending is None:
            self._watch()
            if self.carrier is not None and not self._uploaded:
                self.carrier.on_room()

    def half_close(self) -> None:
        """Tell the worker that the client has closed its side; the answer may still come."""
        self._persistent = False
        try:
            self.socket.shutdown(socket_module.SHUT_WR)
        except OSError:
            pass  # broken, as in `send`

    def abandon(self) -> None:
        """Nobody wants the response any more. The slot is free when the worker ends it."""
        if self.closed:
            return
        self.carrier = None
        self.abandoned = True
        self.pending = None
        self._buffer = b""
        self._paused = False
        self._watch()
        self.half_close()

    # -- the poller's side ----------------------------------------------------------------------------------

    def pause(self) -> None:
        """Take no more of the response for now."""
        if not self._paused and not self.closed:
            self._paused = True
            self._watch()

    def resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self._watch()

    def _watch(self) -> None:
        bits = (0 if self._paused else IN) | (OUT if self.pending is not None else 0)
        self.backend.house.backend_poller.interest(self.fd, bits)

    def on_event(self, bits: int) -> None:
        if bits & OUT and self.pending is not None:
            self._flush()
        if not bits & (IN | BROKEN) or self.closed:
            return
        # Even when paused, if the worker has closed: what it left behind is at most what the kernel holds.
        try:
            data = self.socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self._on_end(self._size > _ONE_READ, "reset the connection")
            return
        if not data:
            self._on_end(self._size > 0, "closed the connection")
            return
        if self.carrier is None:
            self._drop(len(data))
            return
        try:
            if self._head is None:
                self._take_head(self._buffer + data if self._buffer else data)
            else:
                self._take_body(data)
        except (BackendError, RequestRefused) as error:
            self._fail(str(error))

    def _drop(self, size: int) -> None:
        self._dropped += size
        if not self.abandoned or self._dropped > _MOST_DROPPED:
            self.close()

    # -- the response ---------------------------------------------------------------------------------------

    def _take_head(self, data: bytes) -> None:
        carrier = self.carrier
        assert carrier is not None
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > _LARGEST_HEAD:
                    raise BackendError("the response's head is too large")
                self._buffer = data
                return
            head = parse_response_head(data[:end])
            data = data[end:]
            if head.status >= 200:
                break
            if head.status == 101:
                self._switch(carrier, head, data)
                return
            if head.status != 100:
                carrier.on_interim(head)
            if self.carrier is not carrier:
                return  # given up meanwhile
        self._buffer = b""
        self._head = head
        self._persistent = self._persistent and head.persistent
        if head.sized and head.length == len(data) and carrier.method != "HEAD":
            self._complete(head, data, b"")  # what most are: whole, and received at once
            return
        body = head.body(carrier.method)
        self._body, self._until_end = body or NO_BODY, body is None
        if not self._until_end and self._body.complete:
            self._complete(head, b"", data)
        else:
            part, rest = (data, b"") if self._until_end else self._body.feed(data)
            if not self._until_end and self._body.complete:
                self._complete(head, part, rest)
            else:
                carrier.on_head(head, part, True)

    def _switch(self, carrier: Carrier, head: ResponseHead, data: bytes) -> None:
        """From here on raw bytes go both ways, until either side closes."""
        if not carrier.wants_switch:
            raise BackendError("the worker switched protocols unasked")
        self._buffer = b""
        self._head = head
        self._until_end = self.is_tunnel = True
        self._persistent = self._uploaded = False
        if self.backend.is_loop:
            self.backend.house.on_slot_free(self.backend)
        carrier.on_switch(head, data)

    def _take_body(self, data: bytes) -> None:
        assert self.carrier is not None
        if self._until_end:
            self.carrier.on_data(data, True)
            return
        part, rest = self._body.feed(data)
        if self._body.complete:
            self._complete(None, part, rest)
        elif part:
            self.carrier.on_data(part, True)

    def _complete(self, head: ResponseHead | None, data: bytes, rest: bytes) -> None:
        """The response has come whole: first the worker gets its next request, then the client its answer."""
        carrier, self.carrier = self.carrier, None
        assert carrier is not None
        backend = self.backend
        if self._persistent and self._uploaded and self.pending is None and not rest:
            self.idle_since = backend.house.poller.now
            self.resume()
            backend.idle.append(self)
            backend.house.on_slot_free(backend)
        else:
            self.close()
        if head is not None:
            carrier.on_head(head, data, False)
        else:
            carrier.on_data(data, False)

    def _on_end(self, delivered: bool, how: str) -> None:
        """The worker closed the connection, or died."""
        if self._until_end and self._head is not None and self.carrier is not None and how.startswith("closed"):
            self._persistent = False
            self._complete(None, b"", b"")
            return
        # A worker that answers and then closes may have an application that broke its answer off. If it has died
        # all the same, the next request that meets it is lost without an answer, and tells.
        if self.carrier is not None and self._head is None:
            self.backend.house.on_death(self.backend)
        self._fail(f"the worker {how} before its answer was complete", delivered or self._head is not None)

    def _fail(self, reason: str, delivered: bool = True) -> None:
        carrier, self.carrier = self.carrier, None
        if carrier is not None:
            carrier.on_lost(delivered, reason)  # first, so that it waits before the others when the slot becomes free
        self.close()

    @property
    def silent(self) -> bool:
        """A worker has the request and has not begun its answer, nor waits for more of the body."""
        waited_for = self._uploaded or self.pending is not None
        return waited_for and self.carrier is not None and self._head is None

    # -- ending ---------------------------------------------------------------------------------------------

    def is_open(self) -> bool:
        """Whether the worker has not closed the idle connection."""
        try:
            self.socket.recv(1, socket_module.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # the end, or bytes that nobody asked for

    def close(self) -> None:
        """Close it; the slot of a request that it carried, or of one given up, is free again."""
        if self.closed:
            return
        self.closed = True
        backend = self.backend
        backend.house.backend_poller.remove(self.fd)
        backend.connections.discard(self)
        self.socket.close()
        self.pending = None
        if self in backend.idle:
            backend.idle.remove(self)
        elif not (self.is_tunnel and backend.is_loop):
            backend.house.on_slot_free(backend)
