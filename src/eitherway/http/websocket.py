"""WebSocket (RFC 6455, RFC 7692) without sockets: the handshake, messages out of bytes, bytes out of messages.

The protocol is that of the library websockets, which sees every frame but the plainest: whole, unfragmented data
without compression is taken apart here, since that is nearly all there ever is. Imported with the first handshake.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from binascii import Error as Base64Error
from codecs import getincrementaldecoder
from collections.abc import Callable
from io import BytesIO, StringIO
from struct import pack

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, ProtocolError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]
from websockets.headers import parse_extension, parse_subprotocol
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from eitherway.errors import RequestRefused
from eitherway.http.h1 import RequestFields

Message = str | bytes

VERSION = b"13"

_OPEN = State.OPEN
_WHOLE = _TEXT, _BINARY = 0x81, 0x82  # the first byte of a whole message
_MASKED = 0x80
_SMALL_TEXT = tuple(bytes((_TEXT, size)) for size in range(126))
_SMALL_BINARY = tuple(bytes((_BINARY, size)) for size in range(126))
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
_INVALID_DATA, _LOST = 1007, 1006

_decoder = getincrementaldecoder("utf-8")
# 4 KiB of window each way and a small hash table: about 50 KiB a connection in place of 300.
_deflate = ServerPerMessageDeflateFactory(
    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
)

_logger = logging.getLogger("eitherway.websocket")
_logger.setLevel(logging.WARNING)  # the library tells of every connection


class Handshake:
    """A client's opening handshake: what it offers, and the fields that accept it.

    Raises RequestRefused (400, or 426 for another version of the protocol) when it is not one (RFC 6455 section 4.2.1).
    """

    def __init__(self, fields: RequestFields) -> None:
        self._headers = Headers(
            (name.decode(), value.decode("latin-1")) for name, value in fields.raw if name.startswith(b"sec-websocket-")
        )
        version = self._only("Sec-WebSocket-Version")
        if version != VERSION.decode():
            raise RequestRefused(426, "the only version of WebSocket spoken here is 13")
        self._key = self._only("Sec-WebSocket-Key")
        try:
            if len(b64decode(self._key, validate=True)) != 16:
                raise RequestRefused(400, "the Sec-WebSocket-Key does not hold 16 bytes")
        except (Base64Error, ValueError):
            raise RequestRefused(400, "the Sec-WebSocket-Key is not base64") from None
        try:
            for value in self._headers.get_all("Sec-WebSocket-Extensions"):
                parse_extension(value)
            offers = [parse_subprotocol(value) for value in self._headers.get_all("Sec-WebSocket-Protocol")]
        except InvalidHandshake:
            raise RequestRefused(400, "a Sec-WebSocket field is malformed") from None
        self.subprotocols: list[str] = [name for offer in offers for name in offer]

    def _only(self, name: str) -> str:
        values = self._headers.get_all(name)
        if len(values) != 1:
            raise RequestRefused(400, f"a WebSocket handshake needs one {name} field")
        return values[0]

    def accept(self, subprotocol: str | None, largest: int, deflate: bool) -> tuple[Wire, list[tuple[bytes, bytes]]]:
        """The protocol of the connection, and the fields of the answer.

        `largest`: bytes of a message (0: any). `deflate`: compress when the client can.
        """
        protocol = ServerProtocol(
            extensions=[_deflate] if deflate else None, state=_OPEN, max_size=largest or None, logger=_logger
        )
        extensions, protocol.extensions = protocol.process_extensions(self._headers)
        answer = [(b"upgrade", b"websocket"), (b"sec-websocket-accept", accept_key(self._key).encode())]
        if subprotocol is not None:
            answer.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        if extensions is not None:
            answer.append((b"sec-websocket-extensions", extensions.encode()))
        return Wire(protocol), answer


class Wire:
    """One open connection. Bytes that `receive` was given come out of `next` as messages. After either call, and after
    `close`, `ping` and `fail`, where `touched` is set, `outgoing` has what must be sent, and then `ended` says whether
    nothing follows that.
    """

    __slots__ = (
        "_at",
        "_data",
        "_decode",
        "_extended",
        "_fragments",
        "_largest",
        "_owed",
        "_plain",
        "_protocol",
        "ended",
        "touched",
    )

    def __init__(self, protocol: ServerProtocol) -> None:
        self._protocol = protocol
        self._largest = protocol.max_message_size or 1 << 63
        self._data = b""  # received; taken apart up to _at
        self._at = 0
        self._owed = 0  # bytes that the library lacks of the frame it has begun
        self._fragments: StringIO | BytesIO | None = None
        self._decode: Callable[[bytes, bool], str] | None = None  # of a text, as far as it has come
        self._plain = True  # the connection is open, and no message has begun
        self._extended = bool(protocol.extensions)
        self.ended = False
        self.touched = False  # the library was: it may have something to say

    # -- receiving ------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        self._data = data if self._at == len(self._data) else self._data[self._at :] + data
        self._at = 0

    def receive_eof(self) -> None:
        """The client has closed its side, or is lost."""
        self._data, self._at = b"", 0
        self.touched = True
        self._protocol.receive_eof()

    def next(self) -> Message | None:
        """The next whole message; None when there is none yet, or none comes any more."""
        data = self._data
        while (at := self._at) < len(data):
            if not self._owed:
                # The head of a frame (RFC 6455 section 5.2).
                first, second = data[at], data[at + 1] if at + 1 < len(data) else 0
                size = second & 0x7F
                start = at + (6 if second & _MASKED else 2)
                if size > 125:
                    wide = 2 if size == 126 else 8
                    size = int.from_bytes(data[at + 2 : at + 2 + wide])
                    start += wide
                if len(data) < start:
                    break
                end = start + size
                if first in _WHOLE and second & _MASKED and end <= len(data) and size <= self._largest and self._plain:
                    self._at = end
                    payload = apply_mask(data[start:end], data[start - 4 : start])
                    return payload if first == _BINARY else self._text(payload)
                self._owed = end - at
                if (
                    first & 0x0F == Opcode.CLOSE
                ):  # may come between fragments (section 5.4); the library will not have it
                    self._protocol.current_size = None
            if (message := self._feed(data[at : at + self._owed])) is not None:
                return message
        return None

    def _text(self, payload: bytes) -> str | None:
        try:
            return payload.decode()
        except UnicodeDecodeError as error:
            self._refuse_text(error)
            return None

    def _refuse_text(self, error: UnicodeDecodeError) -> None:
        self.fail(_INVALID_DATA, f"{error.reason} at position {error.start}")

    def _feed(self, piece: bytes) -> Message | None:
        """Give the library what has come of one frame; the message that this completes."""
        if self._protocol.eof_sent:  # RFC 6455 section 1.4: what follows is discarded
            self._at = len(self._data)
            return None
        self._at += len(piece)
        self._owed -= len(piece)
        self.touched = True
        self._protocol.receive_data(piece)
        self._plain = self._protocol.current_size is None and self.open
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode in _DATA:
                return self._assemble(frame)
        return None

    def _assemble(self, frame: Frame) -> Message | None:
        """Put fragments together. Text is decoded as it comes, so that what is none is refused at once."""
        if frame.opcode is not Opcode.CONT:
            self._decode = _decoder().decode if frame.opcode is Opcode.TEXT else None
            self._fragments = StringIO() if self._decode else BytesIO()
        try:
            part = self._decode(bytes(frame.data), frame.fin) if self._decode else bytes(frame.data)
        except UnicodeDecodeError as error:
            self._refuse_text(error)
            return None
        fragments = self._fragments
        assert fragments is not None
        fragments.write(part)  # type: ignore[arg-type]
        if not frame.fin:
            return None
        self._fragments = None
        return fragments.getvalue()

    # -- sending --------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Neither side has taken its leave."""
        return self._protocol.state is _OPEN

    def encode(self, message: Message) -> bytes:
        """A message as the bytes to be sent. Only while `open`."""
        text = isinstance(message, str)
        data = message.encode() if isinstance(message, str) else message
        if self._extended:
            (self._protocol.send_text if text else self._protocol.send_binary)(data)
            return b"".join(self._protocol.data_to_send())
        size = len(data)
        if size < 126:
            return (_SMALL_TEXT if text else _SMALL_BINARY)[size] + data
        first = _TEXT if text else _BINARY
        return (pack("!BBH", first, 126, size) if size < 65536 else pack("!BBQ", first, 127, size)) + data

    def close(self, code: int, reason: str) -> None:
        """Take leave. Only while `open`. Raises ValueError for what no close frame may hold."""
        self.touched = True
        try:
            self._protocol.send_close(code, reason)
        except ProtocolError:
            raise ValueError(
                f"a close code is one of 1000-1003, 1007-1014 and 3000-4999, and a reason 123 bytes at most: "
                f"got {code} and {reason!r}"
            ) from None
        self._plain = False

    def ping(self) -> None:
        """Only while `open`."""
        self.touched = True
        self._protocol.send_ping(b"")

    def fail(self, code: int, reason: str) -> None:
        """Take leave and do not wait for the client's answer (RFC 6455 section 7.1.7)."""
        self._plain, self.touched = False, True
        self._protocol.fail(code, reason)

    def outgoing(self) -> bytes:
        """What is to be sent now, beside what `encode` gives."""
        self.touched = False
        writes = self._protocol.data_to_send()
        if writes and not writes[-1]:
            self.ended = True
        return b"".join(writes)

    @property
    def outcome(self) -> tuple[int, str]:
        """Code and reason of the end: the client's where it gave one, else ours; 1006 where the connection was lost."""
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return (int(close.code), close.reason) if close else (_LOST, "")
