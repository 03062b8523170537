"""A client's socket, non-blocking: receiving, sending what the kernel does not take at once, patience with both, and
parting without loss.

The half of a connection that knows bytes; `Connection` adds what they mean.
"""

from __future__ import annotations

import os
import socket as socket_module
import struct
from collections import deque
from time import monotonic

from eitherway.config import Config
from eitherway.errors import ClientGone
from eitherway.http.exchange import CLOSE, READ, WRITE
from eitherway.net.poller import STREAM, UNIX_STREAM, Handler, Poller

READING, COLLECTING, RUNNING, FLUSHING, DISCARDING, RESUMING, LINGERING, CLOSED = range(8)

NEVER = float("inf")

PART = 256  # bytes that every piece of an answer takes beside itself while it waits to be sent

_RECEIVE = 65536
_DROPS = 16  # receives in one turn of bytes that nobody wants
_LINGER = 3.0  # seconds that a stream closed for writing waits for the client to close its side
_TURN = 1 << 21  # bytes sent in one go to a client that takes all: others are to have their turn
_MIN_RATE = 1024.0  # bytes a second; a slower client uses up the patience that a time-out grants
_SOL_SOCKET, _SO_LINGER = socket_module.SOL_SOCKET, socket_module.SO_LINGER
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _FilePart:
    """A part of an open file, still to be sent."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = fd
        self.offset = offset
        self.count = count


class Stream:
    """`readable`, `writable`, `hung_up` and `broken` say what the poller has seen since they were last cleared."""

    __slots__ = (
        "broken",
        "buffer",
        "config",
        "deadline",
        "endless",
        "fd",
        "hears_of_room",
        "hung_up",
        "patience",
        "pending",
        "poller",
        "readable",
        "since",
        "socket",
        "state",
        "waiting",
        "writable",
    )

    def __init__(self, sock: socket_module.socket, config: Config, poller: Poller, deadline: float) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.config = config
        self.poller = poller
        self.hears_of_room = sock.family != socket_module.AF_UNIX
        self.state = READING
        self.buffer: bytes | bytearray = b""  # received, not yet used
        self.pending: deque[memoryview | _FilePart] | None = None  # to be sent, not yet taken by the kernel
        self.readable = self.writable = self.hung_up = self.broken = False
        self.waiting = CLOSE  # what the patience is for
        self.patience = 0.0  # seconds of waiting that are left to the client
        self.since = 0.0
        self.deadline = deadline
        self.endless = False  # nothing that comes can be late: READ is waited for without a time-out

    @property
    def idle(self) -> bool:
        """No request is being read, run or answered."""
        return self.state == READING and not self.buffer

    @property
    def busy(self) -> bool:
        """A request is being read, run or answered."""
        return not self.idle and self.state not in (LINGERING, CLOSED)

    def watch(self, handler: Handler) -> None:
        """Have the poller call `handler` from now on."""
        self.poller.add(self.fd, handler, STREAM if self.hears_of_room else UNIX_STREAM)

    def on_posted(self) -> None:
        """The poller comes back to what was left to do."""
        raise NotImplementedError

    # -- receiving ------------------------------------------------------------------------------------------

    def receive(self) -> bytes | None:
        """Bytes that the client sent; b"" at its end, None when there are none now."""
        if self.buffer:
            data, self.buffer = bytes(self.buffer), b""
            return data
        self.readable = False
        try:
            data = self.socket.recv(_RECEIVE)
        except BlockingIOError:
            return None
        except OSError:
            self.broken = True
            return b""
        if len(data) == _RECEIVE:
            self.readable = True
        self._progress(READ, len(data), self.config.body_timeout)
        return data

    def unread(self, data: bytes) -> None:
        """Put back what lies behind the body: the next request."""
        self.buffer = data

    def look_for_more(self) -> None:
        """Go on, later, if the poller would not say again that more is there."""
        if self.readable or self.hung_up:
            self.poller.post(self.on_posted)

    def drop_received(self) -> None:
        """Receive what nobody wants. At the client's end the stream is closed, unless an answer is on its way."""
        for _ in range(_DROPS):
            data = self.receive()
            if not data:
                if data is not None and self.state != FLUSHING:
                    self.close()
                return
        self.poller.post(self.on_posted)  # let the others have their turn

    # -- sending --------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """Send, or keep what the kernel does not take (False). Raises ClientGone."""
        if self.pending:
            self.pending.append(memoryview(data))
            return False
        self.writable = False
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken = True
            raise ClientGone("the client closed the connection") from None
        if sent == len(data):
            return True
        self.pending = deque((memoryview(data)[sent:],))
        self._await_room()
        return False

    def write_file(self, head: bytes, fd: int, offset: int, count: int) -> None:
        """Send bytes and then a part of a file, now or as the client takes them.

        `fd` is closed when that is done, or when the stream is closed. Raises ClientGone.
        """
        if self.pending is None:
            self.pending = deque()
        self.pending += (memoryview(head), _FilePart(fd, offset, count))
        self.flush()

    def flush(self) -> bool:
        """Send what is pending. True when nothing is left. Raises ClientGone.

        False and `writable`: it was enough for now, and the client would take more.
        """
        pending = self.pending
        left = _TURN
        if self.broken:
            raise ClientGone("the client closed the connection, or did not take its answer")
        while pending:
            self.writable = False
            part = pending[0]
            try:
                if isinstance(part, _FilePart):
                    sent = self._send_part(part)
                    done = part.count == 0
                else:
                    sent = self.socket.send(part)
                    done = sent == len(part)
                    if not done:
                        pending[0] = part[sent:]
            except BlockingIOError:
                self._await_room()
                return False
            except OSError:
                self.broken = True
                raise ClientGone("the client closed the connection") from None
            self._progress(WRITE, sent, self.config.write_timeout)
            if done:
                self._drop_part(pending.popleft())
            left -= sent
            if left <= 0 and pending:
                self.writable = True
                return False
        self.pending = None
        return True

    def _await_room(self) -> None:
        """The kernel takes no more for now: be told when it does."""
        if not self.hears_of_room:
            self.hears_of_room = True
            self.poller.interest(self.fd, STREAM)

    def unsent(self) -> int:
        """About how much memory is taken by what the kernel has not taken yet."""
        return sum(len(part) + PART for part in self.pending or () if not isinstance(part, _FilePart))

    def _send_part(self, part: _FilePart) -> int:
        if not part.count:
            return 0
        sent = os.sendfile(self.fd, part.fd, part.offset, min(part.count, _TURN))
        if sent == 0:  # the file became shorter: the client must see that bytes are missing
            raise OSError("end of file")
        part.offset += sent
        part.count -= sent
        return sent

    @staticmethod
    def _drop_part(part: memoryview | _FilePart) -> None:
        if isinstance(part, _FilePart):
            os.close(part.fd)

    def drop_pending(self) -> None:
        """Give up what is still to be sent."""
        for part in self.pending or ():
            self._drop_part(part)
        self.pending = None

    # -- closing --------------------------------------------------------------------------------------------

    def linger(self) -> None:
        """Close our side, then read until the client closes its own: closing at once could reset the answer away.

        RFC 9112 section 9.6.
        """
        self.buffer = b""
        try:
            self.socket.shutdown(socket_module.SHUT_WR)
        except OSError:
            self.close()
            return
        self.deadline = monotonic() + _LINGER
        self.state = LINGERING
        self.look_for_more()

    def shut(self, last_words: bytes) -> None:
        """Close the connection for both sides, from any thread: who uses it finds out. Raises OSError."""
        if last_words:
            self.socket.send(last_words)
        self.socket.shutdown(socket_module.SHUT_RDWR)

    def reset_on_close(self) -> None:
        """Have the client see a reset, not an end, when the socket is closed."""
        try:
            self.socket.setsockopt(_SOL_SOCKET, _SO_LINGER, _RESET_ON_CLOSE)
        except OSError:
            pass  # gone already

    def close(self) -> None:
        """Close the socket and let go of everything."""
        raise NotImplementedError

    # -- waiting --------------------------------------------------------------------------------------------

    def wait_for(self, direction: int) -> bool:
        """Whether a task that wants to go on in `direction` has to wait; its time-out starts."""
        if self.broken:
            return False
        if direction == WRITE:
            if self.writable:
                return False
            self.be_patient(WRITE, self.config.write_timeout)
        elif direction == READ:
            if self.readable or self.hung_up or self.buffer:
                return False
            if not self.endless:
                self.be_patient(READ, self.config.body_timeout)
        elif self.hung_up:
            return False
        return True

    def stop_waiting(self, direction: int) -> None:
        """The task that waited does not any more."""
        if self.state == RUNNING and self.waiting == direction:
            self.deadline = NEVER

    def be_patient(self, direction: int, timeout: float) -> None:
        """Start waiting for the client, or go on; only time spent waiting counts."""
        if self.waiting != direction:
            self.waiting = direction
            self.patience = timeout
        elif self.deadline != NEVER:
            return  # still the same wait
        self.since = monotonic()
        self.deadline = self.since + self.patience

    def _progress(self, direction: int, count: int, timeout: float) -> None:
        """The client moved `count` bytes: patience grows with them, at _MIN_RATE, up to the whole time-out."""
        if self.deadline == NEVER or self.waiting != direction or self.state == LINGERING:
            return  # nobody had to wait for this, or the time is fixed
        now = monotonic()
        self.patience = min(timeout, self.patience - (now - self.since) + count / _MIN_RATE)
        self.since = now
        self.deadline = NEVER if self.state == RUNNING else now + self.patience
