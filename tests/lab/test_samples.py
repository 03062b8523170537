"""How rounds become a point, with windows made by hand."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from values import cost
from windows import Histogram, Window, sample

from eitherway.lab.samples import is_settled, point_of


@given(clients=st.integers(1, 500), latency=st.floats(0.001, 1.0), seconds=st.floats(1.0, 5.0))
def test_a_closed_loop_that_has_settled_obeys_littles_law(clients: int, latency: float, seconds: float) -> None:
    """Each client has been waiting all the time; a queue still short shows as clients that are missing."""
    answers = int(clients * seconds / latency)
    assume(10 <= answers <= 20_000)
    window = Window(Histogram([latency] * answers), seconds)
    assert is_settled(clients, window)  # type: ignore[arg-type]
    assert not is_settled(clients * 2, window)  # type: ignore[arg-type]


def test_nothing_answered_is_not_settled() -> None:
    assert not is_settled(1, Window(Histogram([])))  # type: ignore[arg-type]


def test_a_point_has_the_medians_of_its_rounds() -> None:
    rounds = [sample(1, [seconds] * round(1 / seconds)) for seconds in (0.1, 0.2, 0.25)]
    point = point_of(rounds)
    assert (point.concurrency, point.throughput.middle) == (1, 5.0)
    assert point.throughput.low <= 5.0 <= point.throughput.high
    assert point.latency["p50"].middle == 0.2
    assert point.mean_latency == pytest.approx(0.2)
    assert point.histogram == ((0.1, 10), (0.2, 5), (0.25, 4))
    assert (point.requests, point.statuses, point.note) == (19, {200: 19}, "")


def test_latencies_come_from_settled_rounds_only() -> None:
    settled, hurried = sample(10, [0.5] * 20), sample(10, [0.1, 0.2] * 10)
    point = point_of([settled, hurried, hurried])
    assert point.latency["p99"].middle == 0.5 and point.histogram == ((0.5, 20),)
    assert point.throughput.middle == 20.0


def test_where_no_round_has_settled_the_law_gives_the_latency() -> None:
    point = point_of([sample(1000, [0.1, 0.2] * 10)])
    assert point.mean_latency == 50.0 and point.latency["p50"].middle == 50.0
    assert "clients / throughput" in point.note and point.histogram == ()


def test_what_the_client_limits_counts_as_settled_and_is_marked() -> None:
    """Such a client leaves gaps between its requests, so the law must not be asked."""
    limited = sample(100, [0.01] * 100, client_limited=True)
    point = point_of([limited, limited, sample(100, [0.5] * 200)])
    assert point.client_limited and point.note == ""
    assert not point_of([limited, sample(100, [0.5] * 200)]).client_limited


def test_errors_and_bad_answers_are_kept_apart() -> None:
    point = point_of([sample(1, [0.5] * 2), sample(1, [0.5] * 2, status=503, errors={"reset": 3})])
    assert (point.statuses, point.errors) == ({200: 2, 503: 2}, {"reset": 3})


def test_cost_by_request_counts_all_requests_the_same() -> None:
    short, long = sample(1, [1.0], spent=cost(cpu=0.01)), sample(1, [1.0] * 9, spent=cost(cpu=0.001))
    assert point_of([short, long]).cost.cpu == pytest.approx((0.01 + 0.009) / 10)


def test_waits_of_the_rounds_become_their_median() -> None:
    rounds = [sample(1, [1.0], spent=cost(queue_wait={"p50": wait})) for wait in (0.1, 0.2, 0.9)]
    assert point_of(rounds).cost.queue_wait == {"p50": 0.2}
    assert point_of([*rounds, sample(1, [1.0])]).cost.queue_wait["p50"] == pytest.approx(0.15)
