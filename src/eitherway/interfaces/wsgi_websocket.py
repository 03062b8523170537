"""WebSockets for WSGI: what applications find as environ["eitherway.websocket"]. Imported with the first handshake."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from eitherway.errors import ClientGone, RequestRefused
from eitherway.http.exchange import READ, WRITE, Exchange
from eitherway.http.sessions import Sessions
from eitherway.http.websocket import Handshake, Message
from eitherway.interfaces.base import Suspend
from eitherway.interfaces.websocket import Room, Session, open_session

_NORMAL, _INTERNAL_ERROR = 1000, 1011


def run(
    application: Callable[..., Iterable[bytes]],
    environ: dict[str, Any],
    start_response: Callable[..., Any],
    exchange: Exchange,
    suspend: Suspend,
    sessions: Sessions,
) -> Iterable[bytes]:
    """Call the application for a handshake; a malformed one is a plain request. Raises what the application raises.

    Where the application accepts, what it returns is dropped, and what it left open is closed.
    """
    try:
        handshake = Handshake(exchange.fields)
    except RequestRefused:
        return application(environ, start_response)
    socket = environ["eitherway.websocket"] = WebSocket(exchange, handshake, suspend, sessions)
    code = _INTERNAL_ERROR
    try:
        result = application(environ, start_response)
        code = _NORMAL
    finally:
        socket._end(code)
    if exchange.switched or socket._missed:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    if socket._missed:
        raise ClientGone("the client has left before it was accepted")  # no fault of an application that took it well
    return result


class WebSocket:
    """One WebSocket, blocking: `for message in socket: socket.send(message)`.

    It is accepted by the first use; an application that does not use it answers the request as any other.
    `subprotocols` has what the client offers. One thread or greenlet receives; any number may send.
    """

    def __init__(self, exchange: Exchange, handshake: Handshake, suspend: Suspend, sessions: Sessions) -> None:
        self._exchange = exchange
        self._handshake = handshake
        self._suspend = suspend
        self._sessions = sessions
        self._session: Session | None = None
        self._late = False  # the application has returned
        self._missed = False  # the client had left before it was accepted
        self.subprotocols: tuple[str, ...] = tuple(handshake.subprotocols)

    def accept(self, subprotocol: str | None = None, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Open the WebSocket, with one of the client's subprotocols and fields of our own in the answer.

        Raises ConnectionError when the client has left, RuntimeError when it is too late.
        """
        if self._session is not None:
            raise RuntimeError("the WebSocket is accepted already; call accept() before receive(), send() and close()")
        if self._exchange.status or self._late:
            raise RuntimeError("a WebSocket is accepted before anything is written, and before the application returns")
        if self._exchange.disconnected:
            self._missed = True
            raise ClientGone("the client has left before it was accepted")
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._session = open_session(self._exchange, self._handshake, subprotocol, pairs, self._sessions)

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message: str for text, bytes for binary; None when the WebSocket is closed.

        Raises TimeoutError when none comes within `timeout` seconds.
        """
        session = self._open()
        while (message := session.take()) is None:
            if session.closed:
                return None
            if timeout is None:
                self._suspend(session, READ)
            elif not _wait(session, timeout):
                raise TimeoutError(f"no message came within {timeout:g} s")
        return message

    def __iter__(self) -> Iterator[Message]:
        """The messages until the WebSocket is closed."""
        while (message := self.receive()) is not None:
            yield message

    def send(self, message: Message) -> None:
        """Send a str as text, or bytes as binary; waits for a client that is slow.

        Raises ConnectionError when the WebSocket is closed.
        """
        session = self._open()
        if not isinstance(message, (str, bytes)):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        if not session.send(message):
            room = Room(session)
            while not session.flush():
                self._suspend(room, WRITE)

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Close the WebSocket; does not wait for the client. Closing it again does nothing.

        Raises ValueError for a code that may not be sent, or a reason of more than 123 bytes.
        """
        self._open().close(code, reason)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more. Messages that came before can still be received."""
        return self._session is not None and self._session.closed

    @property
    def close_code(self) -> int | None:
        """Why it was closed (RFC 6455 section 7.4): 1005 for no reason given, 1006 for a connection that was lost."""
        return self._session.outcome[0] if self._session is not None and self._session.closed else None

    @property
    def close_reason(self) -> str:
        return self._session.outcome[1] if self._session is not None and self._session.closed else ""

    def _open(self) -> Session:
        if self._session is None:
            self.accept()
        assert self._session is not None
        return self._session

    def _end(self, code: int) -> None:
        """The application has returned."""
        self._late = True
        if self._session is not None:
            self._session.close(code)


def _wait(session: Session, timeout: float) -> bool:
    """Wait for a message with a time-out, which an engine's own verb does not have.

    The lock is of threading as it is now: where greenlets run, it has been patched to switch them.
    """
    lock = threading.Lock()
    lock.acquire()
    if not session.park(READ, lock.release) or lock.acquire(timeout=timeout):
        return True
    session.unpark(READ)
    return False
