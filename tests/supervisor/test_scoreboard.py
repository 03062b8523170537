"""The scoreboard: histograms, slots, and what is kept of the dead."""

from __future__ import annotations

import os
from time import monotonic
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from eitherway.metrics import counters as c
from eitherway.metrics.histogram import BUCKETS, bucket_of, lower_bound, quantile
from eitherway.metrics.snapshot import snapshot


class Exchange(SimpleNamespace):
    __hash__ = object.__hash__


def exchange(uri: str = "/", status: int = 200, sent: int = 10) -> Exchange:
    line = SimpleNamespace(method="GET", uri=uri, derived={})
    return Exchange(line=line, status=status, bytes_sent=sent, started_at=monotonic())


# ---- histograms ----


@given(st.floats(0, 1000))
def test_a_duration_is_known_within_a_fifth(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert 0 <= bucket < BUCKETS
    if 0.0001 < seconds < 400:
        assert lower_bound(bucket) <= seconds < lower_bound(bucket + 1) <= lower_bound(bucket) * 1.26


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_buckets_are_in_order(one: float, other: float) -> None:
    assert (bucket_of(min(one, other))) <= bucket_of(max(one, other))


def test_quantiles() -> None:
    counts = [0] * BUCKETS
    assert quantile(counts, 0.5) == 0
    for millisecond in range(1, 101):
        counts[bucket_of(millisecond / 1000)] += 1
    assert 0.04 < quantile(counts, 0.5) < 0.06
    assert 0.08 < quantile(counts, 0.99) < 0.12


# ---- slots ----


def test_a_slot_shows_what_its_worker_counted() -> None:
    board = c.Scoreboard(8)
    counters = c.Counters(board, board.take(3))
    first, second = exchange("/first", 500), exchange("/second")
    running = {first}
    counters.began(first, running)
    running.add(second)
    counters.began(second, running)
    [view] = snapshot(board).workers
    assert (view.worker, view.state, view.running, view.longest) == (3, "starting", 2, "GET /first")
    running.discard(first)
    counters.ended(first, running)
    [view] = snapshot(board).workers
    assert (view.running, view.longest) == (1, "GET /second")
    assert view.counts.requests == 0  # not yet written down
    counters.flush()
    [view] = snapshot(board).workers
    assert (view.counts.requests, view.counts.errors, view.counts.bytes) == (1, 1, 10)


def test_a_connection_that_has_left_http_is_no_request_that_runs_long() -> None:
    board = c.Scoreboard(8)
    counters = c.Counters(board, board.take(3))
    switched, request = exchange("/socket", 101), exchange("/request", 0)
    switched.started_at -= 1000
    request.started_at -= 10
    counters.note_longest([switched, request])
    [view] = snapshot(board).workers
    assert (view.running, view.longest) == (2, "GET /request")
    assert 9 < view.longest_age < 100
    counters.note_longest([switched])
    [view] = snapshot(board).workers
    assert (view.longest, view.longest_age) == ("GET /socket", 0.0)
    counters.ended(switched, set())
    assert (counters.requests, sum(counters.request_time)) == (1, 0), "how long it lasted is no answer's time"


def test_a_long_target_is_cut() -> None:
    board = c.Scoreboard(c.FIRST + 1)
    counters = c.Counters(board, board.take(1))
    each = exchange("/" + "x" * 5000)
    counters.began(each, {each})
    assert len(board.text(c.FIRST)) == c.TEXT - 1
    assert board.used == c.FIRST + 1


def test_the_counts_of_the_dead_go_into_the_past() -> None:
    board = c.Scoreboard(c.FIRST + 3)
    for _ in range(3):
        slot = board.take(1)
        assert slot == c.FIRST
        counters = c.Counters(board, slot)
        each = exchange()
        counters.began(each, {each})
        counters.ended(each, set())
        counters.flush()
        board.give_back(slot)
    view = snapshot(board)
    assert view.workers == ()
    assert view.past == view.total
    assert view.total.requests == sum(view.total.request_time) == 3
    assert board.used == c.FIRST


def test_slots_are_taken_until_there_is_none() -> None:
    board = c.Scoreboard(c.FIRST + 3)
    assert [board.take(number) for number in range(4)] == [c.FIRST, c.FIRST + 1, c.FIRST + 2, 0]
    board.give_back(c.FIRST + 1)
    assert list(board.taken()) == [c.FIRST, c.FIRST + 2]
    assert board.take(9) == c.FIRST + 1


def test_a_child_writes_and_its_parent_reads() -> None:
    board = c.Scoreboard(c.FIRST + 3)
    slot = board.take(1)
    pid = os.fork()
    if not pid:
        board.words(slot)[c.CONNECTIONS] = 77
        os._exit(0)
    os.waitpid(pid, 0)
    assert snapshot(board).workers[0].connections == 77


# ---- siblings ----


def serving(board: c.Scoreboard, connections: int) -> memoryview:
    words = board.words(board.take(1))
    words[c.STATE], words[c.CAPACITY], words[c.CONNECTIONS] = c.SERVING, 4, connections
    return words


def test_a_connection_is_left_to_a_sibling_with_fewer_but_not_for_long() -> None:
    board = c.Scoreboard(c.FIRST + 3)
    own, other = serving(board, 2), serving(board, 1)
    siblings = c.Siblings(board, c.FIRST, fresh=1.0)
    now = 1000.0
    assert siblings.leaves_to_others(now)
    assert siblings.leaves_to_others(now + c.PATIENCE / 2)
    assert not siblings.leaves_to_others(now + c.PATIENCE * 1.5)
    assert siblings.leaves_to_others(now + c.PATIENCE * 1.6)  # the next one
    own[c.CONNECTIONS] = 1
    assert not siblings.leaves_to_others(now + 5)
    own[c.CONNECTIONS], other[c.RUNNING] = 9, 4  # it has no room
    assert not siblings.leaves_to_others(now + 6)
    other[c.RUNNING], other[c.HEARTBEAT] = 0, 0  # it is held up
    assert not siblings.leaves_to_others(now + 7)


def test_workers_of_one_start_wait_for_each_other_but_not_where_others_serve() -> None:
    board = c.Scoreboard(c.FIRST + 3)
    serving(board, 0)
    late = board.words(board.take(2))
    siblings = c.Siblings(board, c.FIRST, fresh=1.0)
    assert siblings.waits_for_others()
    late[c.STATE] = c.SERVING
    assert not siblings.waits_for_others()
    late[c.STATE] = c.STARTING
    serving(board, 0)[c.STARTED] -= 5 * c.MICROSECONDS  # from before: this one is a replacement
    assert not siblings.waits_for_others()
