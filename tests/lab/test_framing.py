"""Where an answer ends, in however small pieces it comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.lab import framing
from eitherway.lab.framing import Answer, EndlessError, MalformedError

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = {
    "length": OK + b"Content-Length: 5\r\n\r\nhello",
    "empty": OK + b"Content-Length: 0\r\n\r\n",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    "trailers": OK + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    "coded, in chunks": OK + b"Transfer-Encoding: gzip, Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
}


def read(data: bytes, cuts: list[int], *, to_head: bool = False) -> Answer:
    answer = Answer(to_head)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        assert not answer.complete or start == end
        if start != end:
            answer.feed(data[start:end])
    return answer


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
def test_an_answer_ends_where_it_ends(name: str, data: st.DataObject) -> None:
    whole = WHOLE[name]
    cuts = data.draw(st.lists(st.integers(1, len(whole) - 1), max_size=6))
    answer = read(whole, cuts)
    assert answer.complete
    assert answer.bytes == len(whole)
    assert answer.head is not None
    assert answer.head.status >= 200
    assert not read(whole[:-1], []).complete


def test_the_answer_to_head_has_no_body() -> None:
    assert read(OK + b"Content-Length: 5000\r\n\r\n", [20], to_head=True).complete


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    answer = read(OK + b"\r\nabc", [])
    assert not answer.complete
    assert answer.closed()
    assert answer.head is not None
    assert not answer.head.keep_alive
    assert not read(OK + b"Content-Length: 9\r\n\r\nabc", []).closed()


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nconnection: keep-alive\r\n\r\n", True),
    ],
)
def test_whether_the_connection_goes_on(head: bytes, keeps: bool) -> None:
    assert framing.parse_head(head).keep_alive is keeps


@pytest.mark.parametrize(
    "data",
    [
        b"SMTP ready\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        OK + b"Content-Length: 2\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        OK + b"X: " + b"y" * 70000,
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Answer(False).feed(data)


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MOST_BYTES", 1000)
    answer = read(OK + b"\r\n", [])
    with pytest.raises(EndlessError):
        for _ in range(20):
            answer.feed(b"x" * 100)
