"""http/fields.py: what a response may consist of."""

from __future__ import annotations

from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.errors import ResponseError
from eitherway.http import fields as f

INJECTIONS = ["a\r\nX: y", "a\nX: y", "a\rX: y", "a\0", "\r\n", "\n", "a\r\n"]


@pytest.mark.parametrize("value", INJECTIONS)
def test_a_value_cannot_smuggle_a_line(value: str) -> None:
    with pytest.raises(ResponseError):
        f.text_field(("X-A", value))
    with pytest.raises(ResponseError):
        f.bytes_field((b"X-A", value.encode()))
    with pytest.raises(ResponseError):
        f.status_line(200, value.encode())
    with pytest.raises(ResponseError):
        f.encode_fields([(b"ok", b"ok"), (b"x-a", value.encode())])


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\r\n", "a\n", "\xe9", "a\0", "(", "a\r\nb: c\r\nd"])
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(ResponseError):
        f.text_field((name, "x"))
    with pytest.raises(ResponseError):
        f.bytes_field((name.encode("latin-1"), b"x"))


@pytest.mark.parametrize(
    "pair", [("a", 1), (1, "a"), ("a",), ("a", "b", "c"), ("a", "\u20ac"), (b"a", b"b"), None, ("a", None)]
)
def test_what_is_no_pair_of_text_is_a_response_error(pair: object) -> None:
    with pytest.raises(ResponseError):
        f.text_field(pair)  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [(b"a", 1), (1, b"a"), (b"a",), (b"a", b"b", b"c"), ("a", "b"), None, (b"a", None)])
def test_what_is_no_pair_of_bytes_is_a_response_error(pair: object) -> None:
    with pytest.raises(ResponseError):
        f.bytes_field(pair)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        (b"Content-Length", f.LENGTH),
        (b"TRANSFER-ENCODING", f.CODING),
        (b"connection", f.CONNECTION),
        (b"Date", f.DATE),
        (b"Server", f.SERVER),
        (b"Set-Cookie", f.SECRET),
        (b"X-Content-Length", f.PLAIN),
    ],
)
def test_roles(name: bytes, role: int) -> None:
    assert f.bytes_field((name, b"1")) == (role, name + b": 1\r\n", b"1")


def test_secrets_and_long_values_are_not_remembered() -> None:
    for _ in range(3):
        f.text_field(("Set-Cookie", "session=1"))
        f.text_field(("X-Long", "a" * 65))
    assert ("Set-Cookie", "session=1") not in f.TEXT_FIELDS
    assert ("X-Long", "a" * 65) not in f.TEXT_FIELDS


def test_the_memories_are_bounded() -> None:
    for number in range(5000):
        for _ in range(2):
            f.text_field(("X-N", str(number)))
            f.bytes_field((b"X-N", b"%d" % number))
    assert len(f.TEXT_FIELDS) <= 1024
    assert len(f.BYTES_FIELDS) <= 1024


def test_a_field_that_was_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(ResponseError):
            f.text_field(("X-A", "b\r\n"))


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, b"", b"HTTP/1.1 200 OK\r\n"),
        (200, b"OK", b"HTTP/1.1 200 OK\r\n"),
        (200, b"Fine", b"HTTP/1.1 200 Fine\r\n"),
        (299, b"", b"HTTP/1.1 299 \r\n"),
        (404, b"caf\xe9", b"HTTP/1.1 404 caf\xe9\r\n"),
    ],
)
def test_status_line(status: int, reason: bytes, line: bytes) -> None:
    assert f.status_line(status, reason) == line


@pytest.mark.parametrize("status", [-1, 0, 99, 1000, 20000])
def test_a_status_has_three_digits(status: int) -> None:
    with pytest.raises(ResponseError):
        f.status_line(status)


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"1_0", b"0x1", b"1 0", b"1,1", "\u0665".encode(), b"9" * 20, b"\xb2"]
)
def test_a_length_is_a_plain_number(value: bytes) -> None:
    with pytest.raises(ResponseError):
        f.parse_length(value, None)


def test_lengths_must_agree() -> None:
    assert f.parse_length(b"7", None) == 7
    assert f.parse_length(b"07", 7) == 7
    with pytest.raises(ResponseError):
        f.parse_length(b"7", 8)


def test_without_leaves_the_other_field() -> None:
    common = b"date: Thu\r\nserver: eitherway\r\n"
    assert f.without(common, f.DATE) == b"server: eitherway\r\n"
    assert f.without(common, f.SERVER) == b"date: Thu\r\n"


@given(st.integers(0, 4_000_000_000))
def test_dates_are_what_the_standard_library_writes(now: int) -> None:
    assert f.http_date(now) == formatdate(now, usegmt=True).encode()
    assert parsedate_to_datetime(f.http_date(now + 0.9).decode()).timestamp() == now


def test_error_response_says_its_length() -> None:
    answer = f.error_response(503, "caf\xe9", close=True, extra=b"retry-after: 1\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == "503 Service Unavailable\ncaf\xe9\n".encode()
    assert b"content-length: %d" % len(body) in head.splitlines()
    assert b"retry-after: 1" in head.splitlines()
    assert b"connection: close" in head.splitlines()
    assert b"connection" not in f.error_response(404, "", close=False)
