"""WebSocket frames of the tests' own (RFC 6455 section 5.2), good and bad, and a client that takes raw bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

from serving import Client, Server

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN = 0x80
MASK = b"\x17\x2a\x3f\x80"
HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of that key, as in RFC 6455 section 1.3


def masked(data: bytes, mask: bytes = MASK) -> bytes:
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def frame(opcode: int, data: bytes = b"", first: int = FIN, mask: bytes = MASK, size: int | None = None) -> bytes:
    """A frame of a client. `first`: the bits beside the opcode; `mask` may be empty; `size` is what the head says."""
    size = len(data) if size is None else size
    head = bytes((first | opcode,))
    bit = 0x80 if mask else 0
    if size < 126:
        head += bytes((bit | size,))
    elif size < 65536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    return head + mask + (masked(data, mask) if mask else data)


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Frame(NamedTuple):
    opcode: int
    data: bytes
    first: int = FIN


class RawSocket:
    """An open WebSocket over a test's client; whoever asks for another answer than 101 fails."""

    def __init__(self, server: Server, target: str = "/echo", *fields: str, behind: bytes = b"") -> None:
        self.client: Client = server.connect()
        lines = [f"GET {target} HTTP/1.1", "Host: test", *HANDSHAKE, *fields, "", ""]
        self.client.send("\r\n".join(lines).encode() + behind)
        self.head = self.client.read_until(b"\r\n\r\n")
        assert self.head.startswith(b"HTTP/1.1 101 "), self.head

    def __enter__(self) -> RawSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.socket.close()

    def send(self, *data: bytes) -> None:
        for piece in data:
            self.client.send(piece)

    def read(self) -> Frame:
        """The server's next frame, which must be unmasked."""
        first, size = self.client.read_exactly(2)
        assert not size & 0x80, "the server masked a frame"
        if size > 125:
            size = int.from_bytes(self.client.read_exactly(2 if size == 126 else 8))
        return Frame(first & 0x0F, self.client.read_exactly(size), first & 0xF0)

    def closes(self) -> tuple[int, str]:
        """Code and reason of the close frame that comes next (1005: it has none), behind which the connection ends."""
        opcode, data, _ = self.read()
        assert opcode == CLOSE, (opcode, data[:100])
        assert self.client.is_closed()
        return (int.from_bytes(data[:2]), data[2:].decode()) if data else (1005, "")
