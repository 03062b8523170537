"""Field names, field values, status lines and dates (RFC 9110 sections 5, 6.6.1 and 15). Pure functions and tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from time import gmtime
from typing import Any

from eitherway.errors import ResponseError
from eitherway.http.memory import Memory

Fields = list[tuple[bytes, bytes]]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")

REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}
STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in REASONS.items()}
NO_BODY = frozenset({204, 304})

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

# What the server must know about a response's field; every other name is PLAIN.
PLAIN, LENGTH, CODING, CONNECTION, DATE, SERVER, SECRET = range(7)
_ROLES = {
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"date": DATE,
    b"server": SERVER,
    b"set-cookie": SECRET,
}

ResponseField = tuple[int, bytes, bytes]  # role, the whole line, value

# Fields of responses, by the pair as the application gives it: one that was found good once need not be checked and
# encoded again.
TEXT_FIELDS = Memory(entries=1024, largest=64)
BYTES_FIELDS = Memory(entries=1024, largest=64)


def text_field(pair: tuple[str, str]) -> ResponseField:
    """A response's field given as text (WSGI), checked and encoded in latin-1. Raises ResponseError."""
    try:
        name, value = pair
        encoded = _check_field(name.encode("latin-1"), value.encode("latin-1"))
    except (AttributeError, UnicodeEncodeError, ValueError, TypeError):
        raise ResponseError(f"the response's field {pair!r} is not a pair of latin-1 strings") from None
    return _remember(TEXT_FIELDS, pair, encoded)


def bytes_field(pair: tuple[bytes, bytes]) -> ResponseField:
    """A response's field given as bytes (ASGI), checked. Raises ResponseError."""
    try:
        name, value = pair
        encoded = _check_field(name, value)
    except (ValueError, TypeError, AttributeError):
        raise ResponseError(f"the response's field {pair!r} is not a pair of byte strings") from None
    return _remember(BYTES_FIELDS, (name, value), encoded)


def text_fields(pairs: tuple[Any, ...]) -> list[ResponseField]:
    """All of a response's fields given as text. Raises ResponseError."""
    return _fields(pairs, TEXT_FIELDS, text_field)


def bytes_fields(pairs: tuple[Any, ...]) -> list[ResponseField]:
    """All of a response's fields given as bytes. Raises ResponseError."""
    return _fields(pairs, BYTES_FIELDS, bytes_field)


def _fields(pairs: tuple[Any, ...], known: Memory, check: Callable[[Any], ResponseField]) -> list[ResponseField]:
    try:
        return [known.get(pair) or check(pair) for pair in pairs]
    except TypeError:  # pairs that are lists cannot be looked up
        return [check(tuple(pair)) for pair in pairs]


def _check_field(name: bytes, value: bytes) -> ResponseField:
    if not TOKEN.fullmatch(name):
        raise ResponseError(f"the response's field name {name!r} has characters that are not allowed")
    line = b"%b: %b\r\n" % (name, value)
    check_line(line)
    return _ROLES.get(name.lower(), PLAIN), line, bytes(value)


def _remember(memory: Memory, pair: tuple[Any, Any], field: ResponseField) -> ResponseField:
    if field[0] != SECRET:
        memory.remember(pair, len(field[2]), field)
    return field


def check_line(line: bytes) -> None:
    """Refuse a serialised line into which a value smuggled CR, LF or NUL (header injection)."""
    if line.count(b"\n") != 1 or line.count(b"\r") != 1 or 0 in line:
        raise ResponseError("a field of the response holds CR, LF or NUL; strip it from the value")


def status_line(status: int, reason: bytes = b"") -> bytes:
    """The first line of a response, with its CRLF. Raises ResponseError for a status outside 100 to 999."""
    if not reason or reason == REASONS.get(status):
        line = STATUS_LINES.get(status)
        if line is not None:
            return line
    if not 100 <= status <= 999:
        raise ResponseError(f"the response's status {status} is not a number from 100 to 999")
    line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    check_line(line)
    return line


def encode_fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialise fields, checked. Raises ResponseError."""
    return b"".join([bytes_field(pair)[1] for pair in headers])


def parse_length(value: bytes, known: int | None) -> int:
    """A response's Content-Length; `known` is one that was given before. Raises ResponseError."""
    if not value.isdigit() or len(value) > 19:
        raise ResponseError(f"the response's Content-Length {value!r} is not a number")
    if known is not None and known != int(value):
        raise ResponseError("the response has two Content-Length fields that disagree")
    return int(value)


def without(common: bytes, role: int) -> bytes:
    """The server's own fields less the one (DATE, SERVER) that the application gives itself."""
    prefix = b"date:" if role == DATE else b"server:"
    return b"".join(line for line in common.splitlines(True) if not line.startswith(prefix))


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(now: float) -> bytes:
    """`now` (seconds since the epoch) as an IMF-fixdate (RFC 9110 section 5.6.7)."""
    t = gmtime(now)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    ).encode()


def error_response(status: int, reason: str, *, close: bool, bodiless: bool = False, extra: bytes = b"") -> bytes:
    """The fields and body, after the status line and common fields, of an answer the server gives itself."""
    body = b"%d %b\n%b\n" % (status, REASONS.get(status, b"Error"), reason.encode("utf-8", "replace"))
    closing = b"connection: close\r\n" if close else b""
    head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(body)
    return head + extra + closing + b"\r\n" + (b"" if bodiless else body)
