"""HTTP/1.1 and 1.0 request heads (RFC 9112): the request line by our own grammar, the fields by httptools
(llhttp, strict) with our rules over it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from eitherway.errors import RequestRefused
from eitherway.http import fields as f
from eitherway.http.memory import Memory

_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!\"$-~]+) HTTP/1\.([01])")
_VERSION = re.compile(rb"[^ ]+ [^ ]+ HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(/[^?]*)?(?:\?(.*))?")
_PERCENT = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CODING = re.compile(rb"(?i:transfer-encoding):[ \t]*(?!(?i:chunked)[ \t]*$)[A-Za-z][!-~]*[ \t]*")
_PLAIN_FIELD = re.compile(rb"([0-9A-Za-z-]+): ([!-~]+(?: [!-~]+)*)")


@dataclass(slots=True, eq=False)
class RequestLine:
    """A request line, taken apart. `path` and `path_info` are percent-decoded: as text, and as WSGI's latin-1.

    One object serves all requests with the same line: read it only.
    """

    method: str
    target: bytes
    raw_path: bytes
    query: bytes
    path: str
    path_info: str
    query_string: str
    uri: str
    authority: bytes | None
    http_11: bool
    usual: bool  # HTTP/1.1, and the target is a path
    derived: dict[Any, Any]  # what interfaces make of the line and want to find again with the next request


@dataclass(slots=True, eq=False)
class RequestFields:
    """A request's fields, names in lower case, and what of them the server itself goes by.

    One object serves all requests with the same fields: read it only.
    """

    raw: f.Fields
    host: bytes | None
    content_length: int | None
    has_body: bool
    chunked: bool
    persistent: bool  # the connection may go on behind this request, in HTTP/1.1 ...
    persistent_10: bool  # ... and in HTTP/1.0
    expects_continue: bool = False
    wants_trailers: bool = False
    forwarded: bool = False
    websocket: bool = False  # asks for the connection to be one
    derived: dict[Any, Any] = field(default_factory=dict)  # as in RequestLine


# Pure functions' results: of request lines, of whole blocks of fields, of single field lines.
_lines = Memory(entries=512, largest=256)
_blocks = Memory(entries=512, largest=2048)
_field_lines = Memory(entries=1024, largest=512)


def check_start(buffer: bytes | bytearray, limit_line: int, limit_head: int) -> None:
    """Raise RequestRefused as soon as the start of a head that is not whole yet cannot become a good one."""
    _check_sizes(buffer, limit_line, limit_head)
    if buffer.count(b"\n") != buffer.count(b"\r\n"):
        raise RequestRefused(400, "a line of the head ends in a bare LF")


def asks_head(start: bytes | bytearray) -> bool:
    """Whether a request that is refused is a HEAD all the same: its answer has no body."""
    match = _LINE.fullmatch(start[: max(0, start.find(b"\r\n"))])
    return match is not None and match[1] == b"HEAD"


def _check_sizes(buffer: bytes | bytearray, limit_line: int, limit_head: int) -> None:
    if len(buffer) > limit_line and buffer.find(b"\r\n", 0, limit_line + 2) < 0:
        raise RequestRefused(414, f"the request line is longer than {limit_line} bytes")
    if len(buffer) > limit_head:
        raise RequestRefused(431, f"the head is longer than {limit_head} bytes")


def parse_head(head: bytes, limit_line: int, limit_fields: int, limit_head: int) -> tuple[RequestLine, RequestFields]:
    """Parse a whole head, with its last empty line. Raises RequestRefused with the status to answer."""
    cut = head.find(b"\r\n")
    if cut > limit_line or len(head) > limit_head:
        _check_sizes(head, limit_line, limit_head)
    line = _lines.get(head[:cut]) or parse_request_line(head[:cut])
    block = head[cut:]
    fields = _blocks.get(block) or parse_fields(block)
    if len(fields.raw) > limit_fields:
        raise RequestRefused(431, f"more than {limit_fields} fields")
    if line.usual and fields.host is not None:
        return line, fields
    if line.http_11 and fields.host is None:
        raise RequestRefused(400, "a request in HTTP/1.1 needs a Host field")
    if fields.chunked and not line.http_11:
        raise RequestRefused(400, "HTTP/1.0 has no Transfer-Encoding")
    if line.authority is not None and fields.host is not None and fields.host.lower() != line.authority.lower():
        raise RequestRefused(400, "the target's authority and the Host field disagree")
    return line, fields


def parse_request_line(line: bytes) -> RequestLine:
    """Parse `METHOD target HTTP/1.x` (RFC 9112 section 3). Raises RequestRefused."""
    match = _LINE.fullmatch(line)
    if match is None:
        _refuse_line(line)
    method, target, minor = match.groups()
    authority, raw_path, query = _split_target(method, target)
    decoded = _unquote(raw_path) if b"%" in raw_path else raw_path
    parsed = RequestLine(
        method=method.decode("ascii"),
        target=target,
        raw_path=raw_path,
        query=query,
        path=decoded.decode("utf-8", "replace"),
        path_info=decoded.decode("latin-1"),
        query_string=query.decode("ascii"),
        uri=target.decode("ascii"),
        authority=authority,
        http_11=minor == b"1",
        usual=minor == b"1" and authority is None,
        derived={},
    )
    _lines.remember(line, len(line), parsed)
    return parsed


def _unquote(path: bytes) -> bytes:
    if not _PERCENT.fullmatch(path):
        raise RequestRefused(400, "a percent sign in the path is not followed by two hex digits")
    decoded = unquote_to_bytes(path)
    if b"\0" in decoded:
        raise RequestRefused(400, "the path holds a NUL")
    return decoded


def _refuse_line(line: bytes) -> NoReturn:
    if _VERSION.fullmatch(line) and not line.endswith((b"HTTP/1.1", b"HTTP/1.0")):
        raise RequestRefused(505, "this server speaks HTTP/1.1 and HTTP/1.0 here")
    raise RequestRefused(400, "the request line is not `METHOD target HTTP/1.1`")


def _split_target(method: bytes, target: bytes) -> tuple[bytes | None, bytes, bytes]:
    """Authority (absolute-form only), raw path and query of a target (RFC 9112 section 3.2)."""
    if method == b"CONNECT":
        raise RequestRefused(501, "CONNECT is for proxies; this is not one")
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return None, path, query
    if target == b"*" and method == b"OPTIONS":
        return None, target, b""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not match[1] or not f.HOST.fullmatch(match[1]):
        raise RequestRefused(400, "the target is neither a path nor a full http address")
    return match[1], match[2] or b"/", match[3] or b""


def parse_fields(block: bytes) -> RequestFields:
    """Parse a block of fields: from the CRLF that ends the request line to the empty line. Raises RequestRefused."""
    known = _field_lines.get
    lines = block[2:-4].split(b"\r\n") if len(block) > 4 else ()
    raw: f.Fields = [known(line) or _parse_field(line) for line in lines]
    special: dict[bytes, list[bytes]] = {}
    for name, value in [pair for pair in raw if pair[0] in SPECIAL]:
        special.setdefault(name, []).append(value)
    parsed = _interpret(raw, special)
    _blocks.remember(block, len(block), parsed)
    return parsed


class _Collector:
    """What httptools calls back."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: f.Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.lower(), value.rstrip(b" \t")))


def _parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Parse one field line, without its CRLF, as the only one of a request: no line can lean on another.

    Raises RequestRefused.
    """
    pair = _plain_field(line) or _ask_httptools(line)
    _field_lines.remember(line, len(line), pair)
    return pair


def _plain_field(line: bytes) -> tuple[bytes, bytes] | None:
    """A line that can be read in one way only, and that the server does not go by, needs no httptools.

    Most lines that differ in every request are such.
    """
    match = _PLAIN_FIELD.fullmatch(line)
    if match is None or (name := match[1].lower()) in SPECIAL:
        return None
    return name, match[2]


def _ask_httptools(line: bytes) -> tuple[bytes, bytes]:
    collector = _Collector()
    try:
        HttpRequestParser(collector).feed_data(b"GET / HTTP/1.1\r\n%b\r\n\r\n" % line)
    except HttpParserUpgrade:
        pass  # we find Upgrade ourselves; the field has been reported
    except HttpParserError as error:
        # llhttp refuses codings that it does not know; RFC 9112 section 6.1 wants 501 for those.
        raise RequestRefused(501 if _CODING.fullmatch(line) else 400, f"the head is malformed: {error}") from None
    if len(collector.pairs) != 1:
        raise RequestRefused(400, "a line of the head is not a field")
    return collector.pairs[0]


def _interpret(raw: f.Fields, special: dict[bytes, list[bytes]]) -> RequestFields:
    host = _host(special.get(b"host"))
    keep_alive, close = _persistence(special.get(b"connection"))
    if special.keys() <= _USUAL:
        return RequestFields(raw, host, None, False, False, not close, keep_alive and not close)
    length = _content_length(special.get(b"content-length"))
    chunked = _chunked(special.get(b"transfer-encoding"))
    if chunked and length is not None:
        raise RequestRefused(400, "Content-Length together with Transfer-Encoding")
    # Behind an upgrade may be another protocol's bytes: never to be read as a request.
    close = close or b"upgrade" in special or b"sec-websocket-key1" in special
    return RequestFields(
        raw=raw,
        host=host,
        content_length=length,
        chunked=chunked,
        has_body=chunked or bool(length),
        persistent=not close,
        persistent_10=keep_alive and not close,
        expects_continue=_expects_continue(special.get(b"expect")),
        wants_trailers=b"trailers" in _tokens(special.get(b"te", ())),
        forwarded=not FORWARDED.isdisjoint(special),
        websocket=_asks_websocket(special),
    )


_USUAL = {b"host", b"connection"}
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
SPECIAL = FORWARDED | {
    b"connection",
    b"content-length",
    b"expect",
    b"host",
    b"sec-websocket-key1",
    b"te",
    b"transfer-encoding",
    b"upgrade",
}


def _tokens(values: list[bytes] | tuple[()]) -> set[bytes]:
    return {token.strip(b" \t").lower() for value in values for token in value.split(b",")}


def _persistence(values: list[bytes] | None) -> tuple[bool, bool]:
    """Whether the Connection field says keep-alive, and whether it says close."""
    if not values:
        return False, False
    if values == [b"keep-alive"]:
        return True, False
    tokens = _tokens(values)
    return b"keep-alive" in tokens, b"close" in tokens


def _asks_websocket(special: dict[bytes, list[bytes]]) -> bool:
    upgrade, connection = _tokens(special.get(b"upgrade", ())), _tokens(special.get(b"connection", ()))
    return b"websocket" in upgrade and b"upgrade" in connection


def _host(values: list[bytes] | None) -> bytes | None:
    if not values:
        return None
    if len(values) > 1:
        raise RequestRefused(400, "more than one Host field")
    if not f.HOST.fullmatch(values[0]):
        raise RequestRefused(400, "the Host field is not a host and port")
    return values[0]


def _content_length(values: list[bytes] | None) -> int | None:
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(values[0]):
        raise RequestRefused(400, "the Content-Length field is not one plain number")
    return int(values[0])


def _chunked(values: list[bytes] | None) -> bool:
    if not values:
        return False
    if len(values) > 1 or values[0].lower() != b"chunked":
        raise RequestRefused(501, "the only transfer coding known here is a single `chunked`")
    return True


def _expects_continue(values: list[bytes] | None) -> bool:
    if not values:
        return False
    if len(values) > 1 or values[0].lower() != b"100-continue":
        raise RequestRefused(417, "the only expectation known here is 100-continue")
    return True
