"""http/body.py: where a body ends, and what lies behind it."""

from __future__ import annotations

import pytest

from eitherway.errors import RequestRefused
from eitherway.http.body import NO_BODY, ChunkedBody, LengthBody


def feed(body: ChunkedBody | LengthBody, *pieces: bytes) -> tuple[bytes, bytes]:
    """All decoded bytes, and what lies behind the body in the last piece."""
    decoded, rest = b"", b""
    for piece in pieces:
        assert not body.complete
        data, rest = body.feed(piece)
        decoded += data
    return decoded, rest


def test_no_body_passes_everything_on() -> None:
    assert NO_BODY.complete
    assert NO_BODY.feed(b"GET") == (b"", b"GET")


def test_length() -> None:
    body = LengthBody(5)
    assert feed(body, b"he") == (b"he", b"")
    assert (body.expected, body.complete) == (3, False)
    assert feed(body, b"lloGET /") == (b"llo", b"GET /")
    assert (body.expected, body.complete) == (0, True)


def test_length_exactly_and_zero() -> None:
    body = LengthBody(2)
    assert feed(body, b"ab") == (b"ab", b"")
    assert body.complete
    assert LengthBody(0).complete


@pytest.mark.parametrize(
    ("data", "decoded", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"0\r\n\r\nGET", b"", b"GET"),
        (b"5\r\nhello\r\n0\r\n\r\n\r\n", b"hello", b"\r\n"),
        (b"5;a=b\r\nhello\r\n00;c\r\n\r\n", b"hello", b""),
        (b'2;a="\xff;\t"\r\n\r\n\r\n0\r\nA: b\r\nC:\r\n\r\nX', b"\r\n", b"X"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n", b"0123456789" * 2, b""),
    ],
)
def test_chunks(data: bytes, decoded: bytes, rest: bytes) -> None:
    body = ChunkedBody(0)
    assert feed(body, data) == (decoded, rest)
    assert body.complete
    body = ChunkedBody(0)
    got = b""
    for at in range(len(data) - len(rest)):
        assert not body.complete
        piece, behind = body.feed(data[at : at + 1])
        assert behind == b""
        got += piece
    assert body.complete
    assert got == decoded


def test_data_is_passed_on_before_its_chunk_is_whole() -> None:
    body = ChunkedBody(0)
    assert feed(body, b"a\r\n012") == (b"012", b"")
    assert feed(body, b"345") == (b"345", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"0x5\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"\r\n",
        b";\r\n",
        b"5;\r\n",
        b"5; \t\r\n",
        b'5;a="b\r\n',
        b"5;a\0\r\n",
        b"5;a\rb\r\n",
        b"5\nhello\r\n",
        b"00000000000000001\r\n",
        b"g\r\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"0\r\nA\r\n",
        b"0\r\nA : b\r\n",
        b"0\r\n: b\r\n",
        b"0\r\n A: b\r\n",
        b"0\r\nA: b\0\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\n\n",
        b"5;" + b"a" * 4096,
        b"0\r\nA: " + b"a" * 4096,
    ],
)
def test_broken_chunks(data: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        ChunkedBody(0).feed(data)
    assert caught.value.status == 400
    body = ChunkedBody(0)
    with pytest.raises(RequestRefused) as caught:
        for at in range(len(data)):
            body.feed(data[at : at + 1])
    assert caught.value.status == 400


@pytest.mark.parametrize("start", [b"x", b"-", b"0x", b" ", b"\r", b"\n", b"12345678901234567", b"5 "])
def test_a_broken_size_is_refused_without_its_end(start: bytes) -> None:
    with pytest.raises(RequestRefused):
        ChunkedBody(0).feed(start)


def test_the_limit_counts_decoded_bytes() -> None:
    assert feed(ChunkedBody(5), b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n") == (b"abcde", b"")
    body = ChunkedBody(5)
    with pytest.raises(RequestRefused) as caught:
        feed(body, b"2\r\nab\r\n", b"4\r\n")
    assert caught.value.status == 413


def test_a_size_beyond_the_limit_is_refused_before_its_data() -> None:
    with pytest.raises(RequestRefused) as caught:
        ChunkedBody(1000).feed(b"ffffffffffffffff\r\n")
    assert caught.value.status == 413


def test_extensions_are_bounded_over_the_whole_body() -> None:
    assert feed(ChunkedBody(0), *[b"1\r\nx\r\n"] * 1000)[0] == b"x" * 1000
    with pytest.raises(RequestRefused) as caught:
        feed(ChunkedBody(0), *[b"1;" + b"e" * 1000 + b"\r\nx\r\n"] * 1000)
    assert caught.value.status == 400


def test_trailers_are_bounded() -> None:
    body = ChunkedBody(0)
    with pytest.raises(RequestRefused) as caught:
        feed(body, b"0\r\n", *[b"A: " + b"b" * 1000 + b"\r\n"] * 1000)
    assert caught.value.status == 400
