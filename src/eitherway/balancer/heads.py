"""The heads that pass through the balancer: a client's request as a backend gets it, a backend's response as parsed.

Pure functions of bytes. Both sides repeat themselves, so the results are remembered: what is made of a request line
and of a block of fields beside them, and response heads.

A backend believes what the balancer says of the client. So the fields that say it are never passed on: they are
written anew, from what the connection and the proxies that are trusted say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from eitherway.errors import BackendError
from eitherway.http import fields as f
from eitherway.http.body import NO_BODY, Body, ChunkedBody, LengthBody
from eitherway.http.exchange import Exchange
from eitherway.http.h1 import RequestFields, RequestLine
from eitherway.http.memory import Memory

_KEY = "balancer"  # under which the request line and fields remember what was made of them here
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_OURS = frozenset(
    {b"content-length", b"expect", b"forwarded", b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
)
_UPGRADE = b"connection: Upgrade\r\nupgrade: websocket\r\n"
# What a worker lets pass (fields.check_line): control characters other than these are harmless.
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\r\n\0]*))?\r\n")
_BLOCK = re.compile(rb"(?:" + f.TOKEN.pattern + rb":[^\r\n\0]*\r\n)*\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_responses = Memory(entries=512, largest=2048)
_origins = Memory(entries=512, largest=64)


# -- requests -----------------------------------------------------------------------------------------------


def request_head(exchange: Exchange, length: int | None) -> bytes:
    """The head for a backend. `length` is the body's size where all of it is there; None: chunked, or as promised."""
    line, fields = exchange.line, exchange.fields
    first = line.derived.get(_KEY) or _first_line(line)
    block = fields.derived.get(_KEY)
    if block is None:
        block = _fields_block(fields)
    client = exchange.client
    if client is not None:
        said = _origins.get((client[0], exchange.scheme)) or _origin(client[0], exchange.scheme)
    else:
        said = b"x-forwarded-proto: https\r\n" if exchange.scheme == "https" else b""
    host = exchange.host
    if host is not None and host is not fields.host and host is not line.authority:
        said += b"x-forwarded-host: %b\r\n" % host
    if asks_websocket(exchange):
        said += _UPGRADE
    if fields.host is None:
        said += b"host: %b\r\n" % (line.authority or _server_name(exchange))
    if fields.content_length is not None:
        said += b"content-length: %d\r\n" % fields.content_length
    elif fields.chunked:
        said += b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
    return b"".join((first, block, said, b"\r\n"))


def asks_websocket(exchange: Exchange) -> bool:
    """Whether a request wants to leave HTTP for WebSocket (RFC 6455 section 4.1).

    The only protocol that is let through: what another one said to a worker, nobody would have looked at.
    """
    line, fields = exchange.line, exchange.fields
    return fields.websocket and line.method == "GET" and line.http_11 and not fields.has_body


def _first_line(line: RequestLine) -> bytes:
    target = line.target
    if line.authority is not None:  # RFC 9112 section 3.2.2: only proxies get the absolute form
        target = line.raw_path + (b"?" + line.query if line.query else b"")
    first: bytes = b"%b %b HTTP/1.1\r\n" % (line.method.encode("ascii"), target)
    line.derived[_KEY] = first
    return first


def _fields_block(fields: RequestFields) -> bytes:
    dropped = _HOP_BY_HOP | _OURS | _nominated(fields.raw)
    kept = [b"host: %b\r\n" % fields.host] if fields.host is not None else []
    kept += [b"%b: %b\r\n" % pair for pair in fields.raw if pair[0] not in dropped]
    block = b"".join(kept)
    fields.derived[_KEY] = block
    return block


def _nominated(raw: f.Fields) -> set[bytes]:
    """The fields that `Connection` names: they are for the next hop only (RFC 9110 section 7.6.1)."""
    return {token.strip(b" \t").lower() for name, value in raw if name == b"connection" for token in value.split(b",")}


def _origin(host: str, scheme: str) -> bytes:
    said = f"x-forwarded-for: {host}\r\nx-forwarded-proto: {scheme}\r\n".encode("ascii", "replace")
    _origins.remember((host, scheme), len(host), said)
    return said


def _server_name(exchange: Exchange) -> bytes:
    """The Host of a request that names none (HTTP/1.0): the address it came to."""
    server = exchange.channel.server
    if server is None:
        return b"localhost"
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    return f"{host}:{server[1]}".encode("ascii", "replace")


# -- responses ----------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class ResponseHead:
    """A backend's response head. One object serves all responses with the same head: read it only."""

    status: int
    encoded: bytes  # the status line and the fields that are for the client
    pairs: tuple[tuple[bytes, bytes], ...]  # of an interim response; empty for a final one
    length: int | None
    chunked: bool
    persistent: bool
    dated: bool
    sized: bool  # the body is `length` bytes, unless the request was HEAD

    def body(self, method: str) -> Body | None:
        """What follows in the answer to `method` (RFC 9112 section 6.3); None: all until the connection's end."""
        if method == "HEAD" or self.status in f.NO_BODY:
            return NO_BODY
        if self.chunked:
            return ChunkedBody(0)
        return None if self.length is None else LengthBody(self.length)


def parse_response_head(head: bytes) -> ResponseHead:
    """Parse a whole response head, with its last empty line. Raises BackendError."""
    known: ResponseHead | None = _responses.get(head)
    if known is not None:
        return known
    match = _STATUS.match(head)
    if match is None:
        raise BackendError("the response does not begin with an HTTP/1.1 status line")
    if not _BLOCK.fullmatch(head, match.end()):
        raise BackendError("the response's fields are malformed")
    raw = [_split(line) for line in head[match.end() : -4].split(b"\r\n") if line]
    parsed = _interpret(match[1] == b"1", int(match[2]), match[3] or b"", raw)
    _responses.remember(head, len(head), parsed)
    return parsed


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def _interpret(http_11: bool, status: int, reason: bytes, raw: f.Fields) -> ResponseHead:
    lengths = [value for name, value in raw if name == b"content-length"]
    codings = [value.lower() for name, value in raw if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        raise BackendError("the response's transfer coding is not a single `chunked`")
    if lengths and (codings or len(set(lengths)) > 1 or not _LENGTH.fullmatch(lengths[0])):
        raise BackendError("the response's Content-Length is not one plain number, or disagrees")
    nominated = _nominated(raw)
    dropped = _HOP_BY_HOP | nominated | {b"content-length"}
    lines = [b"%b: %b\r\n" % pair for pair in raw if pair[0] not in dropped]
    length = int(lengths[0]) if lengths else None
    if length is not None and status != 204:
        lines.append(b"content-length: %d\r\n" % length)
    return ResponseHead(
        status=status,
        encoded=f.status_line(status, reason) + b"".join(lines),
        pairs=tuple(pair for pair in raw if pair[0] not in dropped) if status < 200 else (),
        length=length,
        chunked=bool(codings),
        persistent=b"close" not in nominated if http_11 else b"keep-alive" in nominated,
        dated=any(name == b"date" for name, _ in raw),
        sized=length is not None and status >= 200 and status not in f.NO_BODY,
    )
