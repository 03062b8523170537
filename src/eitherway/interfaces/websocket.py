"""One open WebSocket on an exchange that has switched protocols; what ASGI and WSGI give to applications lies over it.

Reading is done by callbacks of the poller, so that pings are answered and a close is seen whatever the application
does; sending is done by the application's task. Both may be different threads, hence the lock. No engine is known
here: who has to wait is suspended for the session, which is a Parkable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from threading import RLock
from time import monotonic

from eitherway.errors import ClientGone
from eitherway.http.channel import Resume
from eitherway.http.exchange import READ, WRITE, Exchange
from eitherway.http.sessions import Sessions
from eitherway.http.websocket import Handshake, Message, Wire

_MOST_QUEUED = 1 << 20  # bytes of messages that the application has not taken; a last one may be larger
_MOST_UNSENT = 1 << 16  # bytes that the client has not taken; beyond it nothing is read that may want an answer
_TURNS = 16  # receives in one turn
_CLOSING = 10.0  # seconds that the client has to answer our close
_NEVER = float("inf")

# What the answer to a handshake that is refused tells (RFC 6455 section 4.4).
REFUSAL_FIELDS = b"upgrade: websocket\r\nsec-websocket-version: 13\r\n"

_INTERNAL_ERROR = 1011


def open_session(
    exchange: Exchange,
    handshake: Handshake,
    subprotocol: str | None,
    headers: Iterable[tuple[bytes, bytes]],
    sessions: Sessions,
) -> Session:
    """Accept a client's handshake. Raises ClientGone; ResponseError for headers that cannot be sent."""
    config = sessions.config
    wire, fields = handshake.accept(subprotocol, config.ws_max_size, config.ws_per_message_deflate)
    ours = {name for name, _ in fields}
    try:
        exchange.switch([*fields, *(pair for pair in headers if pair[0].lower() not in ours)])
    except ClientGone:
        exchange.fail(500, "the connection is broken")  # no session is there to end it
        raise
    session = Session(exchange, wire, sessions)
    session.begin()
    return session


class Session:
    """`closed`: nothing can be sent any more; what is queued can still be taken.

    A task that gets None from `take`, or False from `send`, waits for READ or WRITE: one reader, any number of
    writers, each of them for a `Room` of its own.
    """

    __slots__ = (
        "_channel",
        "_congested",
        "_exchange",
        "_heard",
        "_interval",
        "_lock",
        "_most",
        "_over",
        "_paused",
        "_ping_at",
        "_pong_by",
        "_queue",
        "_queued",
        "_reader",
        "_sessions",
        "_timeout",
        "_wire",
        "_writers",
        "closed",
    )

    def __init__(self, exchange: Exchange, wire: Wire, sessions: Sessions) -> None:
        config = sessions.config
        self._exchange = exchange
        self._channel = exchange.channel  # bytes go straight to it; the exchange is there to wait, and to be ended
        self._wire = wire
        self._sessions = sessions
        self._lock = RLock()
        self._queue: deque[Message] = deque()
        self._queued = 0  # bytes in it
        self._most = config.ws_max_queue
        self._reader: Resume | None = None
        self._writers: dict[Room, Resume] = {}
        self._paused = False  # nothing is read until the application takes a message, or the client its bytes
        self._congested = False  # the client has not taken all that was sent
        self._over = False  # the exchange is complete
        self.closed = False
        self._heard = True  # something came since the last ping
        self._interval = config.ws_ping_interval or _NEVER
        self._timeout = config.ws_ping_timeout or _NEVER
        self._ping_at = monotonic() + self._interval
        self._pong_by = _NEVER  # of our close: until when the client has to answer it

    def begin(self) -> None:
        self._sessions.add(self)
        self._on_readable()

    # -- the application's side -----------------------------------------------------------------------------

    def take(self) -> Message | None:
        """The next message; None when there is none yet, or, where `closed`, none comes any more."""
        with self._lock:
            if not self._queue:
                return None
            message = self._queue.popleft()
            self._queued -= len(message)
            if not self._paused or len(self._queue) > self._most // 2:
                return message
            self._read_on()
        self._wake()
        return message

    def send(self, message: Message) -> bool:
        """Send a message. True: taken. False: wait for a `Room`. Raises ClientGone."""
        with self._lock:
            if self.closed:
                raise ClientGone("the WebSocket is closed")
            data = self._wire.encode(message)
            try:
                return self._give(data)
            except ClientGone:
                self._lose()
        self._wake()
        raise ClientGone("the client closed the connection")

    def flush(self) -> bool:
        """Whether the client has taken all. Raises ClientGone when it does not."""
        if self._congested and self._over:
            raise ClientGone("the client closed the connection, or did not take what was sent")
        return not self._congested

    def close(self, code: int, reason: str = "") -> None:
        """Take leave of the client, and take no more messages; nothing where `closed`. Raises ValueError."""
        with self._lock:
            self._leave(code, reason)
            self._queue.clear()
            self._queued = 0
        self._wake()

    @property
    def outcome(self) -> tuple[int, str]:
        """Code and reason of the close; 1006 where there was none."""
        return self._wire.outcome

    # -- waiting --------------------------------------------------------------------------------------------

    def park(self, direction: int, resume: Resume) -> bool:
        with self._lock:
            if self._queue or self.closed:
                return False
            if self._reader is not None:
                raise RuntimeError("two tasks receive from one WebSocket; let one receive for both")
            self._reader = resume
            return True

    def unpark(self, direction: int) -> None:
        self._reader = None

    def park_writer(self, room: Room, resume: Resume) -> bool:
        with self._lock:
            if not self._congested or self._over:
                return False
            self._writers[room] = resume
            return True

    def unpark_writer(self, room: Room) -> None:
        with self._lock:
            self._writers.pop(room, None)

    def _resumable(self) -> list[Resume]:
        """Who waited and can go on. To be resumed without the lock, as the last thing: that may run the application."""
        resumed: list[Resume] = []
        if self._reader is not None and (self._queue or self.closed):
            resumed.append(self._reader)
            self._reader = None
        if self._writers and (not self._congested or self._over):
            resumed += self._writers.values()
            self._writers = {}
        return resumed

    def _wake(self) -> None:
        with self._lock:
            resumed = self._resumable()
        for resume in resumed:
            resume()

    # -- the poller's side ----------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        with self._lock:
            if not self._over and not self._paused:
                self._read()
            resumed = self._resumable()
        for resume in resumed:
            resume()

    def _read(self) -> None:
        """Take what has come, as far as there is room for it; the poller says when more has."""
        wire = self._wire
        for _ in range(_TURNS):
            data = self._channel.receive()
            if data:
                self._heard = True
                wire.receive(data)
            elif data is not None:
                wire.receive_eof()
            self._take_messages()
            if self._over or self._paused or self._exchange.park(READ, self._on_readable):
                return
        self._sessions.post(self._on_readable)

    def _read_on(self) -> None:
        """There may be room again for what was left lying."""
        self._take_messages()
        if not self._over and not self._paused and not self._exchange.park(READ, self._on_readable):
            self._read()

    def _take_messages(self) -> None:
        """Bring messages into the queue, and answer what the protocol answers."""
        queue, wire = self._queue, self._wire
        self._paused = False
        while self.closed or (len(queue) < self._most and self._queued < _MOST_QUEUED):
            if (message := wire.next()) is None:
                break
            if not self.closed:
                queue.append(message)
                self._queued += len(message)
        else:
            self._paused = True
        if wire.touched:
            self._answer()
        if self._congested and self._channel.unsent() > _MOST_UNSENT:
            self._paused = True

    def _answer(self) -> None:
        """Send what the protocol itself has to say, and take note of its end."""
        wire = self._wire
        data = wire.outgoing()
        self.closed = self.closed or not wire.open
        try:
            if wire.ended and not self._over:
                self._finish(data)
            elif data:
                self._give(data)
        except ClientGone:
            self._lose()

    def _on_writable(self) -> None:
        with self._lock:
            self._flush()
            if self._paused and not self._congested and not self._over:
                self._read_on()
        self._wake()

    def _give(self, data: bytes) -> bool:
        self._exchange.bytes_sent += len(data)
        if self._channel.write(data):
            return True
        if not self._congested:
            self._congested = True
            self._flush()
        return not self._congested

    def _flush(self) -> None:
        exchange = self._exchange
        try:
            while self._congested and not self._over:
                if exchange.park(WRITE, self._on_writable):
                    return
                self._congested = not exchange.flush()
        except ClientGone:
            self._lose()

    # -- the end --------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Ping the client, and give up one that does not answer that, or our close."""
        if now < self._ping_at and now < self._pong_by:
            return
        with self._lock:
            if self._congested or self._paused:
                # The one has a time-out of its own; with the other an answer may have come that nobody has read.
                self._ping_at = now + self._interval if self._wire.open else _NEVER
                self._pong_by = _NEVER if self._wire.open else now + _CLOSING
            elif self._wire.open:
                self._keep_alive(now)
            elif not self._over:
                self._finish(b"")
        self._wake()

    def _keep_alive(self, now: float) -> None:
        wire = self._wire
        if self._heard:
            self._pong_by = _NEVER
        elif now >= self._pong_by:
            wire.fail(_INTERNAL_ERROR, "keepalive ping timeout")
        if wire.open and now >= self._ping_at:
            self._ping_at = now + self._interval
            if self._pong_by == _NEVER:
                self._pong_by = now + self._timeout
                self._heard = False
            wire.ping()
        self._answer()

    def go_away(self, code: int) -> None:
        """The server ends: take leave; what is queued can still be taken."""
        with self._lock:
            self._leave(code, "")
        self._wake()

    def _leave(self, code: int, reason: str) -> None:
        if not self._wire.open or self._over:
            return
        self._wire.close(code, reason)
        self._ping_at = _NEVER
        self._pong_by = monotonic() + _CLOSING
        self._answer()
        if self._paused and not self._over:
            self._read_on()

    def _finish(self, last: bytes) -> None:
        """Close our side behind these bytes; the connection is the poller's again."""
        self._end()
        try:
            self._exchange.send(last, False)
        except ClientGone:
            pass  # nobody is left to be told

    def _lose(self) -> None:
        """The connection is broken."""
        self._end()
        self._wire.receive_eof()
        self._exchange.fail(500, "the connection is broken")

    def _end(self) -> None:
        self._over = self.closed = True
        self._sessions.discard(self)
        self._exchange.read_waiter = self._exchange.write_waiter = None  # the exchange's end is no news to us


class Room:
    """What one writer waits for: that the client takes what it was sent."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def park(self, direction: int, resume: Resume) -> bool:
        return self._session.park_writer(self, resume)

    def unpark(self, direction: int) -> None:
        self._session.unpark_writer(self)
