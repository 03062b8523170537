"""Request bodies (RFC 9112 sections 6 and 7): decoders that take bytes as they come and keep what lies behind.

httptools cannot tell where a chunked body ended, so the next request's bytes could not be told apart; hence this
decoder, which is also stricter: no white space, no bare LF, at most 16 digits, bounded extensions and trailers.
"""

from __future__ import annotations

import re

from eitherway.errors import RequestRefused
from eitherway.http.fields import TOKEN

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;([\t -~\x80-\xff]*))?")
_TRAILER = re.compile(TOKEN.pattern + rb":[\t -~\x80-\xff]*")
_LONGEST_LINE = 4096
_MOST_OVERHEAD = 65536  # bytes of extensions and trailers in one body


class NoBody:
    """The body of a request that has none."""

    __slots__ = ()
    complete = True
    expected = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return b"", data


NO_BODY = NoBody()


class LengthBody:
    """A body of `length` bytes."""

    __slots__ = ("complete", "expected")

    def __init__(self, length: int) -> None:
        self.expected = length
        self.complete = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take received bytes; return the body's part of them and what lies behind the body."""
        expected = self.expected
        if len(data) < expected:
            self.expected = expected - len(data)
            return data, b""
        self.expected = 0
        self.complete = True
        return (data, b"") if len(data) == expected else (data[:expected], data[expected:])


class ChunkedBody:
    """A body in chunks. `limit` bounds its decoded bytes (0: unbounded). Trailers are checked, then dropped."""

    __slots__ = ("_buffer", "_in_chunk", "_in_trailers", "_limit", "_overhead", "_total", "complete")
    expected: int | None = None

    def __init__(self, limit: int) -> None:
        self.complete = False
        self._limit = limit
        self._buffer = b""
        self._total = 0
        self._overhead = 0
        self._in_chunk = 0  # bytes of the current chunk still to come, with its CRLF
        self._in_trailers = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """As LengthBody.feed. Raises RequestRefused (400, 413) when the coding is broken or the body too large."""
        data = self._buffer + data if self._buffer else data
        pieces: list[bytes] = []
        position = 0
        while not self.complete:
            moved = self._take_chunk(data, position, pieces) if self._in_chunk else self._take_line(data, position)
            if moved == position:
                break
            position = moved
        rest = data[position:]
        if self.complete:
            self._buffer = b""
            return b"".join(pieces), rest
        self._buffer = rest
        return b"".join(pieces), b""

    def _take_chunk(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        payload = self._in_chunk - 2
        if payload > 0:
            piece = data[position : position + payload]
            if piece:
                pieces.append(piece)
                self._in_chunk -= len(piece)
                return position + len(piece)
            return position
        ending = data[position : position + 2]
        if ending != b"\r\n":
            if not b"\r\n".startswith(ending):
                raise RequestRefused(400, "a chunk is longer than its size says")
            return position
        self._in_chunk = 0
        return position + 2

    def _take_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position, position + _LONGEST_LINE)
        if end < 0:
            if len(data) - position >= _LONGEST_LINE:
                raise RequestRefused(400, "a chunk's extension or a trailer is too long")
            self._check_start(data[position:])
            return position
        if end == position or data[end - 1] != 0x0D:
            raise RequestRefused(400, "a line of the chunked coding ends in a bare LF")
        line = data[position : end - 1]
        if self._in_trailers:
            self._trailer(line)
        else:
            self._size(line)
        return end + 1

    def _check_start(self, start: bytes) -> None:
        """Refuse a size line that is broken already, without waiting for its end."""
        if start and not self._in_trailers and not _SIZE.fullmatch(start.removesuffix(b"\r")):
            raise RequestRefused(400, "a chunk's size is not plain hex digits")

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "a chunk's size is not plain hex digits")
        if match[2] is not None:
            self._spend(len(match[2]))
            if not match[2].strip(b" \t") or match[2].count(b'"') % 2:
                raise RequestRefused(400, "a chunk's extension has no name or no end")
        size = int(match[1], 16)
        self._total += size
        if self._limit and self._total > self._limit:
            raise RequestRefused(413, f"the body is larger than {self._limit} bytes")
        if size:
            self._in_chunk = size + 2
        else:
            self._in_trailers = True

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.complete = True
            return
        self._spend(len(line))
        if not _TRAILER.fullmatch(line):
            raise RequestRefused(400, "a trailer is malformed")

    def _spend(self, size: int) -> None:
        self._overhead += size
        if self._overhead > _MOST_OVERHEAD:
            raise RequestRefused(400, "too many bytes of chunk extensions and trailers")


class RawBytes:
    """What comes on a connection that has left HTTP. It is complete when the client has closed its side."""

    __slots__ = ("complete",)
    expected: int | None = None

    def __init__(self) -> None:
        self.complete = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


Body = NoBody | LengthBody | ChunkedBody | RawBytes


def body_of(length: int | None, limit: int) -> Body:
    """The decoder of a body of `length` bytes (None: chunked), of at most `limit` (0: any). Raises RequestRefused."""
    if length is None:
        return ChunkedBody(limit)
    if limit and length > limit:
        raise RequestRefused(413, f"the body is larger than {limit} bytes")
    return LengthBody(length)
