"""The verdict of comparisons made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import MIB, around, comparison, configuration, cost, point

from eitherway.lab.results import Configuration, Interval
from eitherway.lab.verdict import CLEAR, LIKELY, NONE, judge, saturated_at, used_cpus, waiting_share

SYNC = configuration("sync", {1: 20, 10: 20, 100: 20})
THREADS = configuration("threads", {1: 20, 10: 160, 100: 160}, threads=8)
GEVENT = configuration("gevent", {1: 20, 10: 200, 100: 1900})


def text(*configurations: Configuration, **more: object) -> str:
    return " ".join(judge(comparison(*configurations, **more)).sentences)


def test_one_that_is_far_ahead_is_taken() -> None:
    verdict = judge(comparison(SYNC, THREADS, GEVENT))
    assert (verdict.winner, verdict.confidence) == ("gevent", CLEAR)
    assert verdict.command == GEVENT.command
    assert len(verdict.sentences) <= 5
    whole = " ".join(verdict.sentences)
    assert f"`{GEVENT.command}`" in whole
    assert "99 % of it waiting" in whole
    assert "sync is full at 1 client (20 a second)" in whole
    assert "95 times the throughput with 100 clients" in whole
    assert "no difference you could see (50 ms)" in whole, "at one client"
    assert "clear" in verdict.sentences[-1]


def test_it_is_set_against_sync_of_the_same_application() -> None:
    other = replace(configuration("other sync", {1: 21, 100: 22}, engine="sync"), application="other:app")
    assert "Against sync that is 95 times" in text(SYNC, other, THREADS, GEVENT)


def test_a_difference_that_cannot_be_told_is_said_to_be_perhaps_chance() -> None:
    one, two = configuration("sync", {1: 20, 100: 100}), configuration("threads", {1: 20, 100: 80})
    assert "0.8 times the throughput with 100 clients (which may be chance)" in text(one, two, rounds=1)


def test_order_of_configurations_changes_nothing() -> None:
    assert judge(comparison(GEVENT, SYNC, THREADS)) == judge(comparison(SYNC, THREADS, GEVENT))


def test_where_all_are_level_none_wins_and_the_simplest_is_named() -> None:
    level = [configuration(name, {1: 200, 100: 200}) for name in ("sync", "gevent", "threads", "uvloop")]
    verdict = judge(comparison(*level))
    assert (verdict.winner, verdict.confidence) == ("", NONE)
    assert verdict.command == "eitherway serve shop:app --engine threads"
    assert NONE in verdict.sentences[0]


@pytest.mark.parametrize(
    ("interface", "engines", "expected"),
    [
        ("wsgi", ("uvloop", "gevent", "sync", "threads"), "threads"),
        ("wsgi", ("uvloop", "gevent", "sync"), "sync"),
        ("wsgi", ("uvloop", "gevent"), "gevent"),
        ("asgi", ("sync", "threads", "uvloop", "asyncio"), "asyncio"),
        ("asgi", ("sync", "threads", "uvloop"), "uvloop"),
        ("wsgi", ("eventlet", "gevent", "trio"), "gevent"),
        ("asgi", ("eventlet", "curio", "twisted", "trio", "threads"), "trio"),
    ],
)
def test_the_simplest_has_the_applications_colour(interface: str, engines: tuple[str, ...], expected: str) -> None:
    level = [configuration(name, {100: 200}, interface=interface) for name in engines]
    worst = configuration("worst", {100: 20}, engine="sync", interface=interface)
    assert judge(comparison(*level, worst)).winner == expected


def test_among_equals_fewer_processes_and_threads_are_simpler() -> None:
    many = configuration("threads, 64 threads", {100: 1000}, engine="threads", threads=64)
    few = configuration("threads, 8 threads", {100: 990}, engine="threads", threads=8)
    twice = configuration("threads, 2 workers", {100: 995}, engine="threads", threads=4, workers=2)
    assert judge(comparison(many, twice, few, SYNC)).winner == few.name


def test_overlapping_intervals_are_no_difference_though_their_middles_differ() -> None:
    wide = Configuration(**{**as_fields(GEVENT), "points": (point(100, 400, spread=0.9),)})
    narrow = configuration("threads", {100: 300})
    verdict = judge(comparison(narrow, wide))
    assert (verdict.winner, verdict.confidence) == ("", NONE)
    assert verdict.command == narrow.command


def test_rounds_that_are_far_apart_do_not_make_half_as_good() -> None:
    wild = Configuration(**{**as_fields(THREADS), "points": (point(100, 160, spread=0.95),)})
    best = Configuration(**{**as_fields(GEVENT), "points": (point(100, 2000, spread=0.95),)})
    verdict = judge(comparison(wild, best))
    assert (verdict.winner, verdict.confidence) == (best.name, LIKELY)


def as_fields(configuration: Configuration) -> dict[str, object]:
    return {name: getattr(configuration, name) for name in configuration.__dataclass_fields__}


def test_a_gain_below_a_tenth_is_not_worth_another_engine() -> None:
    assert judge(comparison(configuration("threads", {100: 91}), configuration("gevent", {100: 100}))).winner == ""
    assert (
        judge(comparison(configuration("threads", {100: 85}), configuration("gevent", {100: 100}))).winner == "gevent"
    )


def test_nor_a_gain_below_a_quarter_another_application() -> None:
    def other(rate: float) -> Configuration:
        return configuration("async", {100: rate}, engine="asyncio", application="shop_async:app", interface="asgi")

    mine = configuration("threads", {100: 100})
    assert judge(comparison(mine, other(120), SYNC)).winner == "threads"
    assert judge(comparison(mine, other(150), SYNC)).winner == "async"


def test_nor_an_engine_of_the_other_colour() -> None:
    detour = configuration("uvloop", {100: 120}, threads=64)
    assert judge(comparison(configuration("threads", {100: 100}), detour, SYNC)).winner == "threads"


@pytest.mark.parametrize("rounds", [1, 2])
def test_one_or_two_windows_may_differ_by_a_quarter_and_mean_nothing(rounds: int) -> None:
    pair = configuration("sync", {16: 150}), configuration("gevent", {16: 190})
    assert judge(comparison(*pair)).winner == "gevent"
    verdict = judge(comparison(*pair, rounds=rounds))
    assert (verdict.winner, verdict.confidence, verdict.command) == ("", NONE, pair[0].command)
    assert judge(comparison(configuration("sync", {16: 20}), pair[1], rounds=rounds)).winner == "gevent"


def test_a_run_that_was_broken_off_may_have_had_one_round_only() -> None:
    pair = configuration("sync", {16: 150}), configuration("gevent", {16: 190})
    assert judge(comparison(*pair, complete=False)).command == pair[0].command


def test_hardly_any_cpu_is_not_called_none() -> None:
    assert [used_cpus(each) for each in (0.04, 0.3, 1.0)] == ["less than 0.1 CPUs", "0.3 CPUs", "1 CPU"]


# ---- a machine that does other things ----


def crowded(name: str, rate: float, lost: float) -> Configuration:
    """What a server did that was ready for the CPU for such a share of the time, and did not get it."""
    points = (point(16, rate, spent=cost(lost=lost)),)
    return Configuration(**{**as_fields(configuration(name, {})), "points": points})  # type: ignore[arg-type]


def test_an_engine_is_not_slower_because_other_programs_had_the_cpu() -> None:
    sync, gevent = crowded("sync", 110, 0.4), crowded("gevent", 160, 0.1)
    verdict = judge(comparison(sync, gevent))
    assert (verdict.winner, verdict.confidence, verdict.command) == ("", NONE, sync.command)
    assert "other programs had the CPU meanwhile, for up to 40 % of it" in verdict.sentences[-1]
    quiet = judge(comparison(crowded("sync", 110, 0.02), crowded("gevent", 160, 0.02)))
    assert (quiet.winner, quiet.confidence) == ("gevent", CLEAR) and "other programs" not in quiet.sentences[-1]


def test_what_they_took_does_not_explain_many_times_as_much() -> None:
    verdict = judge(comparison(crowded("sync", 20, 0.1), crowded("gevent", 300, 0.5)))
    assert (verdict.winner, verdict.confidence) == ("gevent", CLEAR)
    assert judge(comparison(crowded("sync", 20, 0.6), crowded("gevent", 300, 0.6))).winner == "gevent"


@given(st.floats(1, 1e5), st.floats(0, 0.9), st.floats(0, 0.9), st.integers(1, 3))
def test_who_computes_alike_is_level_whatever_else_runs(rate: float, one: float, other: float, rounds: int) -> None:
    """Engines that would do the same on a quiet machine, each on what was left to it."""
    pair = crowded("gevent", rate * (1 - one), one), crowded("sync", rate * (1 - other), other)
    assert judge(comparison(*pair, rounds=rounds)).command == pair[1].command


# ---- what is not ranked ----


def test_points_that_the_client_limited_are_never_used() -> None:
    limited = Configuration(
        **{**as_fields(GEVENT), "points": (point(10, 200), point(100, 9999, limited=True))}  # type: ignore[arg-type]
    )
    verdict = judge(comparison(THREADS, limited))
    assert "9,999" not in " ".join(verdict.sentences)
    assert "with 10 clients" in verdict.sentences[0], "the highest load at which both can be compared"
    only = Configuration(**{**as_fields(GEVENT), "points": (point(100, 9999, limited=True),)})  # type: ignore[arg-type]
    assert "load generator was the limit" in text(only)


def test_a_configuration_that_failed_is_not_ranked() -> None:
    failed = configuration("gevent", {1: 20, 100: 9000}, failure="a worker died with 100 clients")
    assert judge(comparison(SYNC, THREADS, failed)).winner == "threads"


def test_when_all_failed_the_reason_is_said() -> None:
    verdict = judge(comparison(configuration("sync", {}, failure="GET / answers 500")))
    assert verdict.sentences == ("Nothing could be compared: sync: GET / answers 500.",)
    assert (verdict.winner, verdict.command, verdict.confidence) == ("", "", "")


def test_nothing_at_all() -> None:
    assert judge(comparison()).sentences == ("Nothing was measured.",)
    assert judge(comparison(configuration("sync", {}), complete=False)).winner == ""


def test_one_alone_is_likely_at_most() -> None:
    verdict = judge(comparison(GEVENT))
    assert (verdict.winner, verdict.confidence) == ("gevent", LIKELY)
    assert "nothing else could be measured" in verdict.sentences[-1].lower()


@pytest.mark.parametrize("more", [{"rounds": 1}, {"rounds": 2}, {"complete": False}])
def test_less_than_three_whole_rounds_are_never_clear(more: dict[str, object]) -> None:
    verdict = judge(comparison(SYNC, THREADS, GEVENT, **more))
    assert (verdict.winner, verdict.confidence) == ("gevent", LIKELY)
    assert "clear" not in verdict.sentences[-1]
    assert ("chance" if "rounds" in more else "broken off") in verdict.sentences[-1]


def test_computing_is_told_from_waiting() -> None:
    busy = point(1, 200, spent=cost(cpu=0.0048, cores=0.96))
    assert waiting_share(busy) == pytest.approx(0.04)
    found = text(
        Configuration(**{**as_fields(THREADS), "points": (busy, point(10, 205, spent=cost(cpu=0.0048, cores=0.96)))}),
        configuration("gevent", {1: 150, 10: 150}),
    )
    assert "96 % of it computing" in found
    assert "`--workers 2`" in found, "one process uses one CPU, and there are two"


def test_memory_is_told_where_another_holds_much_less() -> None:
    heavy = Configuration(
        **{**as_fields(GEVENT), "points": (point(100, 1900, spent=cost(memory=400 * MIB)),)}  # type: ignore[arg-type]
    )
    assert "419 MB" in text(SYNC, heavy) and "sync 41.9 MB" in text(SYNC, heavy)
    assert "sync 41.9 MB" not in text(SYNC, GEVENT)


def test_where_a_configuration_is_full() -> None:
    assert saturated_at(SYNC) is SYNC.points[0]
    assert saturated_at(THREADS) is THREADS.points[1]
    assert saturated_at(GEVENT) is None
    assert saturated_at(configuration("one", {100: 5})) is None


def test_no_room_is_promised_that_may_not_be_there() -> None:
    promise = "none of them is full yet"
    assert promise in text(configuration("threads", {1: 20, 10: 200}), configuration("gevent", {1: 20, 10: 190}))
    assert promise not in text(configuration("sync", {1: 18, 10: 19.5}), configuration("gevent", {1: 20, 10: 190}))


def test_at_low_load_the_mean_is_told_as_it_is_before() -> None:
    """Of requests to a quick and a slow target the middle one may be either."""
    one = replace(point(1, 20), latency={"p50": around(0.006), "p99": around(0.1)})
    made = [Configuration(**{**as_fields(each), "points": (one, each.points[-1])}) for each in (SYNC, GEVENT)]  # type: ignore[arg-type]
    said = text(*made)
    assert "A request takes 50 ms for a single client" in said
    assert "with 1 client there is no difference you could see (50 ms)" in said


RATES = st.floats(0.01, 1e6)


@given(
    st.lists(
        st.tuples(st.sampled_from(["sync", "threads", "gevent", "asyncio", "uvloop"]), RATES, RATES, st.booleans()),
        max_size=6,
    )
)
def test_every_comparison_has_a_verdict(rows: list[tuple[str, float, float, bool]]) -> None:
    """At most five sentences, and a winner only among those that were ranked."""
    made = [
        Configuration(
            **{
                **as_fields(configuration(f"{engine} {number}", {}, engine=engine)),
                "points": (point(1, low), point(100, high, limited=limited)),
            }  # type: ignore[arg-type]
        )
        for number, (engine, low, high, limited) in enumerate(rows)
    ]
    verdict = judge(comparison(*made))
    assert 1 <= len(verdict.sentences) <= 5
    assert verdict.winner in {"", *(each.name for each in made)}
    assert all(isinstance(each, str) and each.endswith(".") for each in verdict.sentences)
    assert not made or verdict.command


def test_intervals_touching_is_overlapping() -> None:
    assert Interval(1, 2, 3).overlaps(Interval(3, 4, 5)) and not Interval(1, 2, 3).overlaps(Interval(3.1, 4, 5))
