"""ASGI's WebSocket (specification 2.5): the scope, receive and send of one. Imported with the first handshake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eitherway.errors import ClientGone, RequestRefused
from eitherway.http.exchange import CLOSE, READ, WRITE, Exchange
from eitherway.http.fields import bytes_fields
from eitherway.http.response import compose
from eitherway.http.sessions import Sessions
from eitherway.http.websocket import Handshake
from eitherway.interfaces.base import AsyncSuspend
from eitherway.interfaces.websocket import REFUSAL_FIELDS, Room, Session, open_session

Message = dict[str, Any]

_NORMAL, _LOST, _INTERNAL_ERROR = 1000, 1006, 1011

# What may be sent, by what was sent before.
_CONNECTING, _OPEN, _CLOSED, _DENYING, _DENIED = range(5)
_EXPECTED = (
    "websocket.accept, websocket.close or websocket.http.response.start",
    "websocket.send or websocket.close",
    "nothing: the WebSocket is closed",
    "websocket.http.response.body",
    "nothing: the response is complete",
)


async def serve(
    application: Callable[..., Any], exchange: Exchange, scope: Message, suspend: AsyncSuspend, sessions: Sessions
) -> None:
    """Run the application for a handshake; `scope` is that of the request. Raises what the application raises."""
    try:
        handshake = Handshake(exchange.fields)
    except RequestRefused as refusal:
        exchange.fail(refusal.status, str(refusal), REFUSAL_FIELDS)
        return
    socket = _Socket(exchange, handshake, suspend, sessions)
    try:
        await application(_scope(scope, handshake), socket.receive, socket.send)
    except BaseException:
        socket.end(_INTERNAL_ERROR)
        raise
    socket.end(_NORMAL)


def _scope(request: Message, handshake: Handshake) -> Message:
    del request["method"]
    request["type"] = "websocket"
    request["scheme"] = "wss" if request["scheme"] == "https" else "ws"
    request["subprotocols"] = handshake.subprotocols
    request["extensions"] = {"websocket.http.response": {}}
    return request


class _Socket:
    """`receive` and `send` of one WebSocket."""

    __slots__ = ("_connected", "_exchange", "_handshake", "_session", "_sessions", "_state", "_suspend")

    def __init__(self, exchange: Exchange, handshake: Handshake, suspend: AsyncSuspend, sessions: Sessions) -> None:
        self._exchange = exchange
        self._handshake = handshake
        self._suspend = suspend
        self._sessions = sessions
        self._session: Session | None = None
        self._state = _CONNECTING
        self._connected = False  # websocket.connect was received

    def end(self, code: int) -> None:
        """The application has returned."""
        if self._session is not None:
            self._session.close(code)

    # -- receive --------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        session = self._session
        if session is None:
            return await self._receive_early()
        while (message := session.take()) is None:
            if session.closed:
                code, reason = session.outcome
                return {"type": "websocket.disconnect", "code": code, "reason": reason}
            await self._suspend(session, READ)
        return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}

    async def _receive_early(self) -> Message:
        """Before the WebSocket is accepted, or when it was not."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._exchange.disconnected and self._session is None:
            await self._suspend(self._exchange, CLOSE)
        if self._session is not None:
            return await self.receive()
        return {"type": "websocket.disconnect", "code": _LOST, "reason": ""}

    # -- send -----------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        kind = message["type"]
        state = self._state
        if state == _OPEN:
            session = self._session
            assert session is not None
            if kind == "websocket.send":
                if not session.send(_content(message)):
                    room = Room(session)
                    while not session.flush():
                        await self._suspend(room, WRITE)
                return
            if kind == "websocket.close":
                self._close(session, message)
                return
        elif state == _CONNECTING and kind in _ANSWERS:
            _ANSWERS[kind](self, message)
            return
        elif state == _DENYING and kind == "websocket.http.response.body":
            await self._send_denial(message)
            return
        raise RuntimeError(f"ASGI: expected {_EXPECTED[state]}, got {kind!r}")

    def _accept(self, message: Message) -> None:
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers") or ()]
        subprotocol = message.get("subprotocol")
        if self._exchange.disconnected:
            raise ClientGone("the client has left before it was accepted")
        self._session = open_session(self._exchange, self._handshake, subprotocol, headers, self._sessions)
        self._state = _OPEN

    def _close(self, session: Session, message: Message) -> None:
        code, reason = message.get("code", _NORMAL), message.get("reason") or ""
        try:
            session.close(code, reason)
        except ValueError as error:
            raise RuntimeError(f"ASGI: in websocket.close, {error}") from None
        self._state = _CLOSED

    def _refuse(self, message: Message) -> None:
        self._state = _CLOSED
        self._exchange.fail(403, "the application refuses the WebSocket")

    def _begin_denial(self, message: Message) -> None:
        fields = bytes_fields(tuple(message.get("headers") or ()))
        self._exchange.start(compose(message["status"], fields))
        self._state = _DENYING

    async def _send_denial(self, message: Message) -> None:
        exchange = self._exchange
        more = message.get("more_body", False)
        if not more:
            self._state = _DENIED
        if not exchange.send(bytes(message.get("body", b"")), more):
            while not exchange.flush():
                await self._suspend(exchange, WRITE)


_ANSWERS = {
    "websocket.accept": _Socket._accept,
    "websocket.close": _Socket._refuse,
    "websocket.http.response.start": _Socket._begin_denial,
}


def _content(message: Message) -> str | bytes:
    text, data = message.get("text"), message.get("bytes")
    if type(text) is str and data is None:
        return text
    if text is None and isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise RuntimeError("ASGI: websocket.send takes either a str as `text` or bytes as `bytes`")
