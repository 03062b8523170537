"""http/response.py: what is remembered of the heads of responses, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.errors import ResponseError
from eitherway.http import fields as f
from eitherway.http import response
from eitherway.http.response import CLOSES, DATED, NAMED, SECRET, Heads, ResponseHead, compose

Pairs = Sequence[tuple[str, str]]

HELLO = [("Content-Type", "text/plain"), ("Content-Length", "5")]


class Counted:
    """Composes, and counts how often it had to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, status: int, headers: tuple[Any, ...]) -> ResponseHead:
        self.count += 1
        return compose(status, [f.text_field(tuple(pair)) for pair in headers])


def test_a_head_that_comes_again_and_again_is_composed_twice() -> None:
    made = Counted()
    heads = Heads(made)
    found = {heads.get(200, list(HELLO)) for _ in range(10)}
    assert found == {(200, b"HTTP/1.1 200 OK\r\n", b"Content-Type: text/plain\r\nContent-Length: 5\r\n", 5, 0)}
    assert made.count == 2, "what comes once only is not kept"
    assert heads.get(404, list(HELLO))[:2] == (404, b"HTTP/1.1 404 Not Found\r\n")


@pytest.mark.parametrize(
    "headers",
    [
        [("Set-Cookie", "session=1")],  # a secret
        [["Content-Type", "text/plain"]],  # cannot be looked up
        [("X-Long", "x" * 3000)],
    ],
)
def test_what_is_not_kept(headers: Pairs) -> None:
    made = Counted()
    heads = Heads(made)
    for _ in range(5):
        assert heads.get(200, headers)[0] == 200
    assert made.count == 5


@pytest.mark.parametrize(
    ("pair", "special", "lines"),
    [
        (("Connection", "keep-alive, Close"), CLOSES, b""),
        (("Connection", "keep-alive"), 0, b""),
        (("Transfer-Encoding", "gzip"), 0, b""),
        (("Date", "today"), DATED, b"Date: today\r\n"),
        (("Server", "mine"), NAMED, b"Server: mine\r\n"),
        (("Set-Cookie", "a=b"), SECRET, b"Set-Cookie: a=b\r\n"),
    ],
)
def test_what_the_server_must_know(pair: tuple[str, str], special: int, lines: bytes) -> None:
    heads = Heads(Counted())
    for _ in range(3):
        assert heads.get(200, [pair]) == (200, b"HTTP/1.1 200 OK\r\n", lines, None, special)


@pytest.mark.parametrize("pairs", [HELLO, [list(pair) for pair in HELLO]])
def test_headers_may_be_gone_through_once_only(pairs: Pairs) -> None:
    heads = Heads(Counted())
    assert {heads.get(200, iter(pairs))[2] for _ in range(3)} == {b"Content-Type: text/plain\r\nContent-Length: 5\r\n"}


def test_what_cannot_be_sent_is_refused_every_time() -> None:
    heads = Heads(Counted())
    for _ in range(3):
        with pytest.raises(ResponseError, match="CR, LF or NUL"):
            heads.get(200, [("X-Evil", "a\r\nSet-Cookie: b")])


def test_responses_that_never_repeat_are_not_looked_for_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "_IN_VAIN", 8)
    monkeypatch.setattr(response, "_BLIND", 100)
    made = Counted()
    heads = Heads(made)
    for number in range(8):
        heads.get(200, [("X-Id", str(number))])
    for _ in range(101):
        heads.get(200, HELLO)
    assert made.count == 109, "not looked for"
    for _ in range(10):
        heads.get(200, HELLO)
    assert made.count == 111, "and then again"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([200, 204, 404]),
            st.lists(st.sampled_from([*HELLO, ("Date", "today"), ("Set-Cookie", "a=b"), ("X-A", "1")]), max_size=4),
        ),
        max_size=60,
    )
)
def test_what_is_remembered_is_what_would_be_composed(answers: list[tuple[int, list[tuple[str, str]]]]) -> None:
    made = Counted()
    heads = Heads(made)
    for status, headers in answers:
        assert heads.get(status, headers) == Counted()(status, tuple(headers))
