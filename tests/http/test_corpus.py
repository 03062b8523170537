"""The corpus against the server's own parts: whole, byte by byte, and cut at random, the same must come of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_format import Case, check_request, load
from in_process import InProcess

CASES = load()
LARGE = 2000  # bytes; longer messages are cut in larger pieces than one byte
MODES = {"sync": {"collects": True, "queues": True}, "async": {"collects": False, "queues": False}}


@dataclass
class Outcome:
    statuses: list[int]
    requests: list[dict[str, Any]]
    closed: bool  # by the server, before the client closed its side
    state: int


def replay(pieces: list[bytes], mode: str) -> Outcome:
    with InProcess(**MODES[mode]) as server:
        server.send(*pieces)
        closed = server.closed
        answers = read_answers(server.received, [r["method"] for r in server.requests])
        outcome = Outcome([status for status, _ in answers], server.requests, closed, server.connection.state)
        if not closed:
            server.finish()
        assert server.closed, "the connection outlived its client"
        return outcome


def read_answers(data: bytes, methods: list[str]) -> list[tuple[int, bytes]]:
    """All answers in `data`, each judged by h11; `methods` are the requests' that were run."""
    answers = []
    while data:
        method = methods[len(answers)] if len(answers) < len(methods) else "GET"
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(data)
        status, body = 0, b""
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.InformationalResponse), event
        answers.append((status, body))
        data = reader.trailing_data[0]
    return answers


def check(case: Case, outcome: Outcome) -> None:
    if case.then == "waiting":
        assert len(outcome.statuses) == len(case.expected)
        assert not outcome.closed
    else:
        assert outcome.closed == (case.then == "closed")
    assert len(outcome.statuses) == len(case.expected), outcome.statuses
    for status, expected in zip(outcome.statuses, case.expected, strict=True):
        assert status in expected.statuses
    run = [expected for expected in case.expected if expected.method]
    assert len(outcome.requests) == len(run)
    for request, expected in zip(outcome.requests, run, strict=True):
        check_request(request, expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_whole(case: Case, mode: str) -> None:
    check(case, replay([case.data], mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_byte_by_byte(case: Case, mode: str) -> None:
    step = 1 if len(case.data) < LARGE else 997
    outcome = replay([case.data[at : at + step] for at in range(0, len(case.data), step)], mode)
    check(case, outcome)
    assert outcome == replay([case.data], mode)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_cut_at_random(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES))
    mode = data.draw(st.sampled_from(sorted(MODES)))
    cuts = data.draw(st.lists(st.integers(0, len(case.data)), max_size=8).map(sorted))
    pieces = [case.data[start:end] for start, end in zip([0, *cuts], [*cuts, len(case.data)], strict=True)]
    outcome = replay([piece for piece in pieces if piece], mode)
    check(case, outcome)
    assert outcome == replay([case.data], mode)


def test_the_corpus_is_large_and_tells_what_each_case_is_for() -> None:
    assert len(CASES) > 200
    assert {case.then for case in CASES} == {"open", "closed", "waiting"}
    messages = [(case.data, case.then) for case in CASES]
    assert len(set(messages)) == len(messages)


def test_answers_hold_what_the_application_received() -> None:
    with InProcess() as server:
        server.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        ((status, body),) = read_answers(server.received, ["POST"])
        assert status == 200
        assert json.loads(body) == server.requests[0]
        assert server.requests[0]["body"] == "hi"
