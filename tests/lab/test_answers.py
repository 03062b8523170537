"""What counts as the same answer, and which answers cannot be measured."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.errors import LabError
from eitherway.lab.answers import Answer, NotComparable, agree, difference, judge, pattern_of
from eitherway.lab.load import Request

GET = Request("GET", "/shop")


def same(one: tuple[bytes, bytes], two: tuple[bytes, bytes]) -> bool:
    return agree(pattern_of(*one), pattern_of(*two))


@given(st.binary(max_size=2000))
def test_an_answer_is_the_same_as_itself(body: bytes) -> None:
    assert same((body, body), (body, body))


@given(st.text(max_size=40), st.lists(st.text(max_size=20), min_size=4, max_size=4))
def test_what_varies_between_two_requests_does_not_count(text: str, ids: list[str]) -> None:
    bodies = [json.dumps({"id": each, "name": text}).encode() for each in ids]
    assert same((bodies[0], bodies[1]), (bodies[2], bodies[3])) or bodies[0] == bodies[1] or bodies[2] == bodies[3]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (b'{"sum": 5}', b'{"sum": 6}'),
        (b"hello", b"hello world"),
        (b"", b"x"),
        (b"<p>tea</p>", b"<p>coffee</p>"),
        (b'{"a": 1, "b": 2}', b'{"a": 1}'),
    ],
)
def test_what_does_not_vary_counts(one: bytes, two: bytes) -> None:
    assert not same((one, one), (two, two))


def test_a_counter_does_not_count_and_the_rest_does() -> None:
    assert same((b"visit 1 of tea", b"visit 2 of tea"), (b"visit 901 of tea", b"visit 902 of tea"))
    assert not same((b"visit 1 of tea", b"visit 2 of tea"), (b"visit 901 of coffee", b"visit 902 of coffee"))


def test_a_list_that_grows_is_the_same_list() -> None:
    def rows(count: int) -> bytes:
        return json.dumps([{"row": number} for number in range(count)]).encode()

    assert same((rows(3), rows(4)), (rows(40), rows(41)))


def test_json_may_be_written_in_different_ways() -> None:
    one, two = b'{"a": 1, "b": [1, 2]}\n', b'{"b":[1,2],"a":1}'
    assert same((one, one), (two, two))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (b"at 2026-01-02T03:04:05Z", b"at 2026-01-02T03:04:06Z"),
        (b"at 2026-01-02 03:04:05.678+02:00", b"at 2027-01-02 03:04:05.1+02:00"),
        (b"Fri, 02 Jan 2026 03:04:05 GMT", b"Sat, 03 Jan 2026 03:04:05 GMT"),
        (b"id 6fa459ea-ee8a-3ca4-894e-db77e160355e", b"id 16fd2706-8baf-433b-82eb-8c7fada847da"),
        (b'{"now": 1767322996.25}', b'{"now": 1767322999.5}'),
        (b"csrf " + b"aB3_" * 10, b"csrf " + b"Zz-9" * 10),
    ],
)
def test_times_and_tokens_do_not_count_even_where_they_stood_still(one: bytes, two: bytes) -> None:
    assert same((one, one), (two, two))


def test_large_bodies_are_compared_in_good_time() -> None:
    """Also where two requests have little in common: aligning them word by word would take minutes."""
    one = b" ".join(b"%d" % number for number in range(60_000))
    two = b" ".join(b"%d" % (number * 7) for number in range(60_000))
    assert same((one, two), (two, one))


def test_the_difference_is_shown_where_it_is() -> None:
    one, two = difference(pattern_of(b"total 5 EUR", b"total 5 EUR"), pattern_of(b"total 9 EUR", b"total 9 EUR"))
    assert "5" in one and "9" in two


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_good_answer_passes(status: int) -> None:
    judge(GET, Answer(status, b""))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(302, b"", "/en/"), ["GET /shop redirects to /en/ (302)", "name the target"]),
        (Answer(302, b"", "/accounts/login/?next=/"), ["(302); if that is for a login, give -H 'Cookie"]),
        (Answer(301, b"", "https://shop/"), ["if that is for the https alone, give -H 'X-Forwarded-Proto: https'"]),
        (Answer(308, b""), ["GET /shop redirects (308)"]),
        (Answer(401, b""), ["GET /shop needs a login (401)", "-H 'Authorization"]),
        (Answer(403, b""), ["needs a login (403)"]),
        (Answer(404, b"<h1>Not Found</h1>"), ["GET /shop is refused with 404;"]),
        (Answer(422, b"field required"), ["is refused with 422 (field required)"]),
    ],
)
def test_an_answer_that_no_engine_would_change_is_told_at_once(answer: Answer, words: list[str]) -> None:
    with pytest.raises(NotComparable) as caught:
        judge(GET, answer)
    assert all(word in str(caught.value) for word in words)


def test_a_fault_is_the_engines_own() -> None:
    with pytest.raises(LabError, match="GET /shop answers 500") as caught:
        judge(GET, Answer(500, b"<h1>oops</h1>"))
    assert not isinstance(caught.value, NotComparable)
