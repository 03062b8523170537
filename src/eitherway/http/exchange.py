"""One request and its response: what interfaces read and write.

The task that runs an exchange owns it, and its connection's socket with it, from the moment it is spawned until the
response is complete. Nothing here blocks: where an operation has to wait it says so, and the interface then asks its
engine to suspend the task until the exchange is ready (`park`). How that is done is the engine's business.
"""

from __future__ import annotations

from collections.abc import Iterable

from eitherway.errors import ClientGone, RequestRefused, ResponseError
from eitherway.http import fields as f
from eitherway.http.body import Body, RawBytes
from eitherway.http.channel import Address as Address
from eitherway.http.channel import Channel, Resume
from eitherway.http.h1 import RequestFields, RequestLine
from eitherway.http.response import CLOSES, DATED, NAMED, ResponseHead

# What a task can wait for: bytes of the body, room for bytes of the answer, the client's leaving.
READ, WRITE, CLOSE = range(3)

# An unread body up to this size is read and dropped to keep the connection; behind a larger one it is closed.
PASSABLE_BODY = 65536

# A first block of the body up to this size goes out with the head, in one system call; a larger one is not copied.
_COPIED = 65536


class Exchange:
    """A request (`line`, `fields`, `client`, `scheme`, `host`, its body by `read`) and its response."""

    __slots__ = (
        "_announced",
        "_bodiless",
        "_chunked",
        "_head",
        "_remaining",
        "body",
        "bytes_sent",
        "channel",
        "client",
        "collected",
        "complete",
        "fields",
        "host",
        "keep_alive",
        "line",
        "read_waiter",
        "refusal",
        "scheme",
        "started_at",
        "status",
        "task",
        "write_waiter",
    )

    def __init__(
        self,
        line: RequestLine,
        fields: RequestFields,
        body: Body,
        collected: bytes,
        channel: Channel,
        keep_alive: bool,
    ) -> None:
        self.line = line
        self.fields = fields
        self.body = body
        self.collected: bytes | bytearray = collected  # bytes of the body that came before they were asked for
        self.channel = channel
        self.client = channel.client
        self.scheme = channel.scheme
        self.host = line.authority if fields.host is None else fields.host
        self.keep_alive = keep_alive
        self.status = 0
        self.bytes_sent = 0  # of the response's body
        self.complete = False  # the response has been handed over whole, or given up
        self.refusal: RequestRefused | None = None  # why the request cannot be read to its end
        self.read_waiter: Resume | None = None
        self.write_waiter: Resume | None = None
        self.started_at: float  # where there is an access log
        self.task: object  # what an engine runs it in, where that must be kept from the garbage collector
        self._head: tuple[bytes, ...] | None = None  # until it goes out with the body's first bytes
        self._remaining: int | None  # from start on: bytes that the response's Content-Length still promises
        self._bodiless: bool
        self._chunked: bool
        self._announced = False  # 100 Continue was sent

    # -- the request's body ---------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        """The next bytes of the body; b"" at its end; None when they are not there yet: park(READ), try again.

        Raises ClientGone when the client left before the end, RequestRefused when the body cannot be taken.
        """
        if self.collected:
            data, self.collected = bytes(self.collected), b""
            return data
        while not self.body.complete:
            if self.refusal is not None:
                raise self.refusal
            if self.complete or self.channel.broken:
                raise ClientGone("the connection was closed before the whole body came")
            if self.fields.expects_continue and not self._announced:
                self._announced = True
                if self._head is None and not self.status and self.line.http_11:  # RFC 9110 section 10.1.1
                    self.channel.write(f.CONTINUE)
            received = self.channel.receive()
            if received is None:
                return None
            if not received and self.switched and not self.channel.broken:
                self.body.complete = True
            elif not received:
                self.refuse(RequestRefused(400, "the body of the request ended before its end"))
                raise ClientGone("the client closed the connection before the whole body came")
            elif data := self._decode(received):
                return data
        return b""

    def _decode(self, received: bytes) -> bytes:
        try:
            data, rest = self.body.feed(received)
        except RequestRefused as refusal:
            self.refuse(refusal)
            raise
        if rest:
            self.channel.unread(rest)
        return data

    def refuse(self, refusal: RequestRefused) -> None:
        """The rest of the request cannot be taken; the response, if not begun, becomes the refusal."""
        self.refusal = refusal
        self.keep_alive = False

    # -- waiting --------------------------------------------------------------------------------------------

    def park(self, direction: int, resume: Resume) -> bool:
        """Ask for `resume` to be called once when the exchange can go on. False: it can already, do not suspend."""
        if direction == WRITE:
            self.write_waiter = resume
        else:
            self.read_waiter = resume
        # Looked at after the waiter is set, so that what comes in between is seen by one side or by both.
        over = self.complete or (self.refusal is not None and direction != WRITE)  # there is nothing more to be read
        if not over and self.channel.wait_for(direction):
            return True
        if direction == WRITE:
            self.write_waiter = None
        else:
            self.read_waiter = None
        return False

    def unpark(self, direction: int) -> None:
        """The task that waited has been cancelled."""
        if direction == WRITE:
            self.write_waiter = None
        else:
            self.read_waiter = None
        self.channel.stop_waiting(direction)

    def wake_reader(self) -> None:
        if (resume := self.read_waiter) is not None:
            self.read_waiter = None
            resume()

    def wake_writer(self) -> None:
        if (resume := self.write_waiter) is not None:
            self.write_waiter = None
            resume()

    @property
    def disconnected(self) -> bool:
        """The client has closed its side, the connection broke, or the response is complete."""
        return self.complete or self.channel.hung_up or self.channel.broken

    # -- the response ---------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Bytes of the response have gone out: its status cannot be changed any more."""
        return self.complete or (self.status != 0 and self._head is None)

    def start(self, head: ResponseHead) -> None:
        """Set status and fields; they go out with the body's first bytes."""
        status, line, fields, length, special = head
        common = self.channel.common_fields()
        if special:
            if special & CLOSES:
                self.keep_alive = False
            if special & DATED:
                common = f.without(common, f.DATE)
            if special & NAMED:
                common = f.without(common, f.SERVER)
        self.relay(status, (line, common, fields), length)

    def relay(self, status: int, head: tuple[bytes, ...], length: int | None) -> None:
        """As `start`, with a status line and fields that are encoded already, the server's own among them."""
        self._head = head
        self._chunked = False
        self._remaining = length
        self._bodiless = status in f.NO_BODY or self.line.method == "HEAD"
        self.status = status

    def switch(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Answer 101 with `headers` and leave HTTP (RFC 9110 section 7.8): raw bytes go both ways from here on.

        `read` gives what comes, b"" when the client has closed its side; `send` is not framed, and closes our side
        when no more follows. A reader and a writer may wait at once; only the writer's wait has a time-out.
        Raises ClientGone; ResponseError where an answer has begun or the request's body was not read.
        """
        if self.status or self.collected or not self.body.complete or not self.line.http_11:
            raise ResponseError(
                "only a request in HTTP/1.1, read to its end and not yet answered, can switch protocols"
            )
        lines = [line for role, line, _ in map(f.bytes_field, headers) if role in (f.PLAIN, f.SECRET)]
        head = (f.STATUS_LINES[101], self.channel.common_fields(), b"connection: Upgrade\r\n", *lines, b"\r\n")
        self.relay(101, head, None)
        self.keep_alive = False
        self.body = RawBytes()
        self.channel.endless = True
        self._head, self._bodiless = None, False
        self.channel.write(b"".join(head))

    @property
    def switched(self) -> bool:
        """The connection speaks another protocol by now."""
        return self.status == 101

    def send(self, data: bytes, more: bool) -> bool:
        """Send bytes of the response's body; `more`: others will follow.

        True: taken. False: park(WRITE) until `flush` says True, before the next bytes.
        Raises ClientGone; ResponseError when `start` was not called.
        """
        if self.complete:
            raise ClientGone("the response is complete already, or its connection was closed")
        head = self._head
        if head is None:
            if not self.status:
                raise ResponseError("a body was sent before the response was started")
            framed = self._frame(data, more)
        elif (
            not more
            and self._remaining == len(data) <= _COPIED
            and self.keep_alive
            and self.body.complete
            and self.line.http_11
            and not self._bodiless
        ):
            # The usual response: all of it, as long as it says, on a connection of which nothing need be said.
            self.bytes_sent = self._remaining
            self.complete = True
            self.channel.end(b"".join((*head, b"\r\n", data)), True)
            return True
        elif self.refusal is not None:
            self.fail(self.refusal.status, str(self.refusal))
            return True
        else:
            parts = self._frame_head(None if more else len(data))
            if len(data) > _COPIED:
                self.channel.write(b"".join(parts))
                parts = ()
            framed = b"".join((*parts, self._frame(data, more)))
        if more:
            return self.channel.write(framed) if framed else True
        self._end(framed)
        return True

    def _end(self, framed: bytes) -> None:
        self.complete = True
        self.channel.end(framed, self.keep_alive and (self.body.complete or self._body_passable()))

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send `count` bytes of an open file as the whole body, by os.sendfile; `fd` is closed behind it.

        The task need not wait: the connection holds no bytes, only the place in the file.
        """
        head = b"".join(self._frame_head(count))
        promised = self._remaining or 0
        if self._bodiless:
            count = 0
        elif count < promised:
            self._short(promised - count)
        self.bytes_sent = count = min(count, promised)
        self.channel.write_file(head, fd, offset, count)
        self._end(b"")

    def send_trailers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """End the response with trailer fields (RFC 9110 section 6.5).

        They are dropped where the response is not chunked, or the client did not say `TE: trailers`.
        """
        if self._chunked and self.fields.wants_trailers:
            self._end(b"0\r\n" + f.encode_fields(headers) + b"\r\n")
        else:
            self.send(b"", False)

    def inform(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send an interim response (103 Early Hints, RFC 8297) before the head; HTTP/1.0 has none."""
        if not self.begun and self.line.http_11:
            self.channel.write(f.status_line(status) + f.encode_fields(headers) + b"\r\n")

    def flush(self) -> bool:
        """Give the connection what `send` could not. True when nothing is left. Raises ClientGone."""
        return self.channel.flush()

    def fail(self, status: int, reason: str, extra: bytes = b"") -> None:
        """Answer with an error of the server's; where the response has begun, break it off visibly."""
        if self.complete:
            return
        if self.status and self._head is None:
            # Only a reset tells the client of a body without a length that its end is missing.
            self.complete = True
            if self._chunked or self._remaining is not None:
                self.channel.end(b"", False)
            else:
                self.channel.abort()
            return
        self.status = status
        self._head = None
        keep_alive = self.keep_alive = self.keep_alive and self._body_passable()
        self._remaining = 0
        if keep_alive and not self.line.http_11:
            extra += b"connection: keep-alive\r\n"
        head = f.status_line(status) + self.channel.common_fields()
        bodiless = self.line.method == "HEAD"
        answer = f.error_response(status, reason, close=not keep_alive, bodiless=bodiless, extra=extra)
        self._end(head + answer)

    def _body_passable(self) -> bool:
        """Whether the next request can be found: the body was read, or its rest is small and will come."""
        body = self.body
        if body.complete:
            return True
        if body.expected is None or (self.fields.expects_continue and not self._announced):
            return False
        return body.expected <= PASSABLE_BODY

    def _frame_head(self, whole: int | None) -> tuple[bytes, ...]:
        """The head's parts, with its framing (RFC 9112 section 6.3); `whole` is the body's size where it is known."""
        head, self._head = self._head, None
        assert head is not None
        if whole is not None and not self.body.complete and not self._body_passable():
            self.keep_alive = False
        framing = b""
        if self._remaining is None and not self._bodiless:
            if whole is not None:
                self._remaining = whole
                framing = b"content-length: %d\r\n" % whole
            elif self.line.http_11:
                self._chunked = True
                framing = b"transfer-encoding: chunked\r\n"
            else:
                self.keep_alive = False
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        elif not self.line.http_11:
            framing += b"connection: keep-alive\r\n"
        return (*head, framing, b"\r\n")

    def _frame(self, data: bytes, more: bool) -> bytes:
        if self._bodiless:
            return b""
        size = len(data)
        self.bytes_sent += size
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (size, data) if size else b""
            return chunk if more else chunk + f.LAST_CHUNK
        if self._remaining is None:
            return data
        left = self._remaining - size
        if left == 0 or (left > 0 and more):
            self._remaining = left
            return data
        if left > 0:
            self._short(left)
            return data
        kept = max(0, self._remaining)
        self.bytes_sent += kept - size
        if self._remaining >= 0:
            self.channel.complain(self, "the response is longer than its Content-Length; the rest was cut off")
        self._remaining = -1  # once is enough
        return data[:kept]

    def _short(self, missing: int) -> None:
        self.keep_alive = False  # the close tells the client that bytes are missing
        self.channel.complain(self, f"the response is {missing} bytes shorter than its Content-Length")
