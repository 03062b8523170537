"""Where an answer ends (RFC 9112 section 6.3), as far as a load generator has to know: bodies are counted, not kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_BYTES = 256 << 20  # of one answer; a longer one is taken for one without an end

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:(?:[^\r\n]*,)?[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection:[ \t]*([^\r\n]*)\r\n", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n")

_LARGEST_HEAD = 65536
_LARGEST_LINE = 1024  # of a chunk's size
_REMEMBERED = 256


class MalformedError(Exception):
    """What came is not an HTTP/1.1 answer."""


class EndlessError(Exception):
    """The answer is longer than MOST_BYTES."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    length: int | None  # of the body; None: in chunks, or until the connection is closed
    chunked: bool
    keep_alive: bool


HEADS: dict[bytes, Head] = {}


def parse_head(data: bytes) -> Head:
    """Read a whole head, with its empty line. Raises MalformedError."""
    known = HEADS.get(data)
    if known is not None:
        return known
    status = _STATUS.match(data)
    if status is None:
        raise MalformedError(f"an answer begins with {data[:40]!r}")
    length, connection = _LENGTH.search(data), _CONNECTION.search(data)
    chunked = _CHUNKED.search(data) is not None
    said = connection[1].lower() if connection else b""
    number = int(status[2])
    bodiless = number < 200 or number in (204, 304)
    size = 0 if bodiless else int(length[1]) if length and not chunked else None
    keep_alive = b"close" not in said if status[1] == b"1" else b"keep-alive" in said
    head = Head(number, size, chunked and not bodiless, keep_alive and (chunked or size is not None))
    if len(HEADS) >= _REMEMBERED:
        HEADS.clear()
    HEADS[data] = head
    return head


class Answer:
    """Reads one answer. `feed` it what comes; `closed` when nothing more does."""

    __slots__ = ("_buffer", "_chunked", "_left", "_to_head", "bytes", "complete", "head")

    def __init__(self, to_head: bool) -> None:
        self._to_head = to_head  # it answers HEAD: there is no body
        self.head: Head | None = None
        self.complete = False
        self.bytes = 0
        self._buffer = b""
        self._left = 0  # bytes of the body, or of the chunk with its line's end
        self._chunked = False

    def feed(self, data: bytes) -> None:
        """Take bytes of it. Raises MalformedError, EndlessError."""
        self.bytes += len(data)
        if self.bytes > MOST_BYTES:
            raise EndlessError
        while self.head is None:
            data = self._take_head(data)
            if self.head is None and not data:
                return
        if self._chunked:
            self._take_chunks(data)
        elif self.head.length is not None:
            self._left -= len(data)
            if self._left < 0:
                raise MalformedError("more came than the answer's Content-Length says")
            self.complete = not self._left

    def _take_head(self, data: bytes) -> bytes:
        """What follows the head; nothing where it is not whole yet. An interim one (1xx) is left out."""
        data = self._buffer + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(data) > _LARGEST_HEAD:
                raise MalformedError("an answer's head has no end")
            self._buffer = data
            return b""
        self._buffer = b""
        head = parse_head(data[:end])
        if head.status >= 200:
            self.head = head
            self._chunked = head.chunked and not self._to_head
            if self._to_head:
                self._left = 0
                self.head = Head(head.status, 0, False, head.keep_alive)
            else:
                self._left = head.length or 0
        return data[end:]

    def _take_chunks(self, data: bytes) -> None:
        data = self._buffer + data
        at = 0
        while not self.complete:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                if self._left:
                    break
            line = _SIZE.match(data, at)
            if line is None:
                if len(data) - at > _LARGEST_LINE or b"\n" in data[at:]:
                    raise MalformedError("the size of a chunk is no number")
                break
            size = int(line[1], 16)
            if size:
                at = line.end()
                self._left = size + 2
                continue
            # The last chunk: trailers, then an empty line. It is found from the line's own end on.
            end = data.find(b"\r\n\r\n", line.end() - 2)
            if end < 0:
                if len(data) - at > _LARGEST_HEAD:
                    raise MalformedError("an answer's trailers have no end")
                break
            at = end + 4
            self.complete = True
        self._buffer = data[at:]
        if self.complete and self._buffer:
            raise MalformedError("more came than the last chunk")

    def closed(self) -> bool:
        """The connection was closed: whether that is the end of the answer."""
        until_end = self.head is not None and self.head.length is None and not self._chunked
        self.complete = self.complete or until_end
        return self.complete
