"""http/h1.py: what the corpus does not say of request heads."""

from __future__ import annotations

import pytest

from eitherway.errors import RequestRefused
from eitherway.http import h1
from eitherway.http.h1 import RequestFields, RequestLine, check_start, parse_head


def parse(head: bytes, line: int = 8190, fields: int = 100, size: int = 65536) -> tuple[RequestLine, RequestFields]:
    return parse_head(head, line, fields, size)


def refused(head: bytes, **limits: int) -> int:
    with pytest.raises(RequestRefused) as caught:
        parse(head, **limits)
    return caught.value.status


def with_fields(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, b"Host: x", *fields, b""))


def test_a_line_taken_apart() -> None:
    head = b"POST http://Shop.example:80/a%2Fb%C3%A9?c=%20 HTTP/1.1\r\nHost: shop.example:80\r\n\r\n"
    line, fields = parse(head)
    assert line.method == "POST"
    assert line.target == b"http://Shop.example:80/a%2Fb%C3%A9?c=%20"
    assert (line.raw_path, line.query, line.query_string) == (b"/a%2Fb%C3%A9", b"c=%20", "c=%20")
    assert (line.path, line.path_info) == ("/a/b\xe9", "/a/b\xc3\xa9")
    assert line.authority == b"Shop.example:80"
    assert line.http_11
    assert fields.host == b"shop.example:80"


def test_a_path_that_is_not_utf8_is_still_text() -> None:
    line, _ = parse(with_fields(line=b"GET /%ff HTTP/1.1"))
    assert (line.path, line.path_info) == ("/\ufffd", "/\xff")


def test_names_are_lower_case_and_values_stripped_of_white_space() -> None:
    _, fields = parse(with_fields(b"X-A: \t b \t", b"x-A:c"))
    assert fields.raw == [(b"host", b"x"), (b"x-a", b"b"), (b"x-a", b"c")]


@pytest.mark.parametrize(
    ("field", "persistent", "persistent_10"),
    [
        (b"A: b", True, False),
        (b"Connection: keep-alive", True, True),
        (b"Connection: Keep-Alive, foo", True, True),
        (b"Connection: close", False, False),
        (b"Connection: keep-alive,close", False, False),
        (b"Connection: CLOSE", False, False),
        (b"Connection: closed", True, False),
        (b"Upgrade: websocket", False, False),
        (b"Sec-WebSocket-Key1: 1", False, False),
        (b"Connection: keep-alive\r\nUpgrade: h2c", False, False),
    ],
)
def test_persistence(field: bytes, persistent: bool, persistent_10: bool) -> None:
    _, fields = parse(with_fields(field))
    assert (fields.persistent, fields.persistent_10) == (persistent, persistent_10)


@pytest.mark.parametrize(
    ("field", "length", "chunked"),
    [
        (b"A: b", None, False),
        (b"Content-Length: 0", 0, False),
        (b"Content-Length: 9999999999999999999", 9999999999999999999, False),
        (b"Transfer-Encoding: ChunkeD", None, True),
    ],
)
def test_framing(field: bytes, length: int | None, chunked: bool) -> None:
    _, fields = parse(with_fields(field))
    assert (fields.content_length, fields.chunked) == (length, chunked)


def test_flags() -> None:
    _, fields = parse(with_fields(b"Expect: 100-continue", b"TE: trailers, deflate;q=0.5", b"X-Forwarded-For: 1.2.3.4"))
    assert (fields.expects_continue, fields.wants_trailers, fields.forwarded) == (True, True, True)
    _, fields = parse(with_fields(b"TE: deflate", b"X-Forwarded-Foo: 1.2.3.4"))
    assert (fields.expects_continue, fields.wants_trailers, fields.forwarded) == (False, False, False)


def test_limits() -> None:
    head = with_fields(b"A: b", b"C: d", line=b"GET /aaaaa HTTP/1.1")
    assert parse(head, line=19, fields=3, size=len(head))
    assert refused(head, line=18) == 414
    assert refused(head, fields=2) == 431
    assert refused(head, size=len(head) - 1) == 431


def test_limits_hold_for_what_is_remembered() -> None:
    head = with_fields(b"A: b", b"Remembered: yes")
    assert parse(head)
    assert refused(head, fields=2) == 431
    assert refused(head, line=4) == 414


def test_equal_bytes_give_the_same_objects() -> None:
    head = with_fields(b"A: b")
    assert parse(head)[0] is parse(head)[0]
    assert parse(head)[1] is parse(head)[1]


def test_what_is_refused_is_refused_again() -> None:
    head = with_fields(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    assert [refused(head), refused(head)] == [400, 400]


def test_a_remembered_line_does_not_vouch_for_other_fields() -> None:
    assert parse(with_fields(line=b"GET http://x/ HTTP/1.1"))
    assert refused(b"GET http://x/ HTTP/1.1\r\nHost: y\r\n\r\n") == 400
    assert refused(b"GET http://x/ HTTP/1.1\r\n\r\n") == 400
    assert parse(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert refused(b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n") == 400
    assert parse(b"GET / HTTP/1.0\r\nA: no-host\r\n\r\n")
    assert refused(b"GET / HTTP/1.1\r\nA: no-host\r\n\r\n") == 400


def test_the_memories_are_bounded() -> None:
    for number in range(2000):
        for _ in range(2):
            parse(with_fields(b"A: %d" % number, line=b"GET /%d HTTP/1.1" % number))
    for _ in range(2):
        parse(with_fields(b"A: " + b"a" * 50_000, line=b"GET /" + b"a" * 8000 + b" HTTP/1.1"))
    assert len(h1._lines) <= 512
    assert len(h1._blocks) <= 512
    assert max(map(len, h1._lines)) <= 256
    assert max(map(len, h1._blocks)) <= 2048


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET /" + b"a" * 100, 414),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 300, 431),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\n", 400),
    ],
)
def test_a_start_that_cannot_become_good(start: bytes, status: int) -> None:
    with pytest.raises(RequestRefused) as caught:
        check_start(bytearray(start), 64, 256)
    assert caught.value.status == status


@pytest.mark.parametrize("start", [b"", b"\r", b"GET", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r"])
def test_a_start_that_may_become_good(start: bytes) -> None:
    assert check_start(start, 64, 256) is None  # type: ignore[func-returns-value]


def test_messages_say_what_is_wrong() -> None:
    for head, word in [
        (b"GET / HTTP/1.1\r\n\r\n", "Host"),
        (with_fields(b"Content-Length: 5, 5"), "Content-Length"),
        (with_fields(line=b"GET / HTTP/2.0"), "HTTP/1.1"),
        (with_fields(b"Expect: tea"), "100-continue"),
    ]:
        with pytest.raises(RequestRefused, match=word):
            parse(head)
