"""What is said to limit a configuration that does not do what was predicted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from values import configuration, cost, point

import eitherway
from eitherway.lab.blocking import line_in
from eitherway.lab.results import Configuration, Interval, Prediction
from eitherway.lab.theory import is_one_at_a_time, limit, pool_is_queue, reach, with_limit

LOOP = configuration("asyncio", {1: 20, 100: 20}, interface="asgi")


def predicted(deviation: float = 0.9, rate: float = 2000.0) -> Prediction:
    return Prediction("a loop", rate, {1: 20.0, 10: 200.0, 100: rate}, {}, deviation)


def busy(name: str, cores: float, lost: float = 0.0, **more: object) -> Configuration:
    made = configuration(name, {1: 200}, **more)
    return replace(made, points=(*made.points, point(100, 205, spent=cost(cpu=0.004, cores=cores, lost=lost))))


def test_a_prediction_that_holds_needs_no_explanation() -> None:
    assert with_limit(LOOP, predicted(0.24), 2).limit == ""
    assert with_limit(LOOP, predicted(0.26), 2).limit != ""


def test_a_call_that_blocks_the_loop_is_named_with_its_line() -> None:
    assert is_one_at_a_time(LOOP)
    assert limit(LOOP, predicted(), 2, "shop/views.py:88 get_report").endswith(
        "one after the other: shop/views.py:88 get_report"
    )
    assert "blocking call" in limit(LOOP, predicted(), 2)


@pytest.mark.parametrize(
    "made",
    [
        configuration("asyncio", {1: 20, 100: 1900}, interface="asgi"),
        configuration("sync", {1: 20, 100: 20}),
        configuration("uvloop", {1: 20, 100: 20}, threads=1),  # wsgi: its threads wait, not the loop
        busy("gevent", 0.97),  # it computes
        configuration("gevent", {100: 20}),  # of one client nothing is known
        configuration("gevent", {1: 20, 10: 180, 100: 20}),  # with ten clients they ran beside each other
        busy("gevent", 0.3, lost=0.6),  # other programs had the CPU
        configuration("gevent", {1: 1000, 100: 1200}),  # it hardly waits
    ],
)
def test_not_everything_that_is_slow_blocks_a_loop(made: Configuration) -> None:
    assert not is_one_at_a_time(made)


def test_a_line_of_the_server_is_not_to_blame() -> None:
    own, theirs = Path(eitherway.__file__).with_name("worker.py"), "shop/views.py"
    log = "".join(f" stuck for 0.1 s in {place}:7 run (GET /)\n" for place in (own, own, theirs))
    assert line_in(log, is_greenlet=True) == f"{theirs}:7 run"


def test_the_pool_is_the_queue_where_its_connections_are_all_in_use() -> None:
    pooled = configuration("gevent", {1: 40, 100: 200}, pool=5)
    assert pool_is_queue(pooled)
    assert "pool of 5 database connections, each held 25 ms" in limit(pooled, predicted(), 2)
    assert not pool_is_queue(configuration("gevent", {1: 40, 100: 800}, pool=20, workers=2))
    assert not pool_is_queue(configuration("threads", {1: 40, 100: 200}, pool=5, threads=5)), "the threads are"
    assert not pool_is_queue(configuration("sync", {1: 40, 100: 40}, pool=5))


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (busy("threads", 1.0, threads=8), "the GIL"),
        (busy("sync", 0.98), "the CPU"),
        (busy("sync", 1.9, workers=2), "the CPU"),
        (busy("threads", 0.5, threads=8), "something that few requests can use"),
    ],
)
def test_what_the_cpu_figures_say(made: Configuration, word: str) -> None:
    assert word in limit(made, predicted(), 4)


def test_other_programs_are_named_where_they_had_the_cpu() -> None:
    made = configuration("sync", {1: 200})
    made = replace(made, points=(*made.points, point(100, 110, spent=cost(cpu=0.005, cores=0.55, lost=0.4))))
    assert limit(made, predicted(), 2) == "other programs, which had the CPU for 40 % of the time"


# ---- what a throughput may be where nothing else runs ----


def test_on_a_quiet_machine_a_throughput_is_what_it_is() -> None:
    made = configuration("sync", {1: 200, 100: 200})
    assert reach(made, made.points[1]) == made.points[1].throughput


def test_what_others_took_may_be_missing() -> None:
    crowded = point(100, 110, spread=0.0, spent=cost(lost=0.45))
    assert reach(configuration("sync", {}), crowded) == Interval(110, 110, pytest.approx(200))


def test_who_waits_does_not_wait_less_because_others_stop() -> None:
    """64 at a time, each 50 ms: that is 1,280 a second, however long its threads waited for a CPU beside."""
    made = replace(configuration("threads", {}), threads=64)
    made = replace(made, points=(point(1, 20), point(100, 1270, spread=0.0, spent=cost(lost=0.8))))
    assert reach(made, made.points[1]).high == pytest.approx(1280)


def test_the_load_generator_is_named_first() -> None:
    made = replace(LOOP, points=(point(1, 20), point(100, 20, limited=True)))
    assert "load generator" in limit(made, predicted(), 2)


def test_doing_better_than_predicted_is_no_limit() -> None:
    assert limit(configuration("sync", {1: 20, 100: 40}), predicted(rate=20), 2).startswith("nothing")


STUCK = """2026-01-02 03:04:05,678 ERROR worker 1 (pid 7) stuck for 0.133 s in shop.py:6 query (GET /)
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/srv/shop.py", line 6, in query
    time.sleep(0.05)
2026-01-02 03:04:05,690 ERROR worker 1 (pid 7) stuck for 0.143 s in shop.py:9 waits (GET /)
  File "/srv/shop.py", line 9, in waits
    await asyncio.sleep(1)
2026-01-02 03:04:05,690 ERROR worker 1 (pid 7) stuck for 0.143 s in shop.py:9 waits (GET /)
  File "/srv/shop.py", line 9, in waits
    await asyncio.sleep(1)
"""


def test_a_task_that_waits_is_not_what_blocks() -> None:
    assert line_in(STUCK) == "shop.py:6 query"
    assert line_in(STUCK, is_greenlet=True) == "shop.py:9 waits", "greenlets' stacks all look alike"
    assert line_in("nothing of the kind\n") == ""
