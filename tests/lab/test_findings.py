"""The sentences below the charts are true of the data, in every shape that a comparison can have."""

from __future__ import annotations

from dataclasses import replace

import comparisons
import pytest
from comparisons import ONLY_ONE, comparison, configuration, interval
from hypothesis import given
from hypothesis import strategies as st

from eitherway.lab import findings
from eitherway.lab.results import Comparison, Configuration, Prediction

SENTENCES = (
    findings.of_throughput,
    findings.of_latency,
    findings.of_cores,
    findings.of_memory_yield,
    findings.of_memory,
    lambda found: findings.of_distribution(found, 100),
    lambda found: findings.of_time(found, 100),
)


@pytest.mark.parametrize("name", comparisons.SAMPLES)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_there_is_a_sentence_in_every_case(name: str, sentence: object) -> None:
    assert callable(sentence)
    said = sentence(comparisons.SAMPLES[name]())
    assert said.endswith(".") and not said.endswith("..") and ("  " not in said or comparisons.NASTY in said)
    assert "nan" not in said and "inf" not in said and "None" not in said


# ---- throughput ----


def test_the_fastest_is_named_with_how_many_times_as_many() -> None:
    found = comparison((configuration("sync", 0.05, 0.0004, 1), configuration("gevent", 0.05, 0.0004, ONLY_ONE)))
    said = findings.of_throughput(found)
    assert said.startswith("At 1,000 clients gevent answers most: 2,500 requests a second, 126 times as many as sync.")
    assert "More clients bring nothing" not in said
    assert said.endswith("From 1 client on, more of them bring nothing to sync.")


def test_leaders_whose_intervals_overlap_are_not_told_apart() -> None:
    said = findings.of_throughput(comparisons.engines())
    assert "gevent and uvloop answer most" in said
    assert "no difference you could see between them" in said


def test_a_tie_of_all_is_called_one() -> None:
    said = findings.of_throughput(comparisons.ties())
    assert "there is no difference you could see: all answer about 200 a second" in said


def test_a_small_difference_is_a_percentage() -> None:
    one, other = (configuration(name, 0.0, cpu, 1) for name, cpu in (("sync", 0.01), ("gevent", 0.0125)))
    assert "25 % more than gevent" in findings.of_throughput(comparison((one, other)))


def test_wide_intervals_are_no_tie() -> None:
    """Of rounds that differ too much the middle is still told, and that it is not sure."""
    one, other = configuration("sync", 0.05, 0.0004, 1), configuration("gevent", 0.05, 0.0004, ONLY_ONE)
    shaken = replace(
        other, points=tuple(replace(p, throughput=interval(p.throughput.middle, 1.0)) for p in other.points)
    )
    said = findings.of_throughput(comparison((one, shaken)))
    assert "gevent answers most: 2,500 requests a second, 126 times as many as sync." in said
    assert "The figures are too unsure to tell sync from it." in said


def test_a_single_round_has_no_interval_so_a_tenth_is_no_difference() -> None:
    one, other = (configuration(name, 0.0, cpu, 1) for name, cpu in (("sync", 0.01), ("gevent", 0.0105)))
    exact = [
        replace(c, points=tuple(replace(p, throughput=interval(p.throughput.middle, 0.0)) for p in c.points))
        for c in (one, other)
    ]
    assert "no difference you could see" in findings.of_throughput(comparison(tuple(exact)))


def test_one_configuration_is_not_compared() -> None:
    said = findings.of_throughput(comparisons.alone())
    assert said.startswith("At 1,000 clients gevent answers 2,500 requests a second.")
    assert "most" not in said


def test_a_server_that_answers_nothing_divides_nothing() -> None:
    one, other = configuration("sync", 0.05, 0.0004, 1), configuration("gevent", 0.05, 0.0004, ONLY_ONE)
    dead = replace(one, points=tuple(replace(p, throughput=interval(0.0)) for p in one.points))
    assert "while sync answers none" in findings.of_throughput(comparison((dead, other)))


# ---- which load, which configurations ----


def test_points_that_the_client_limited_are_not_compared() -> None:
    assert findings.common_load(comparisons.failures()) == 100  # sync's highest point was the client's limit


def test_an_incomplete_run_is_compared_where_most_were_measured() -> None:
    assert findings.common_load(comparisons.incomplete()) == 10
    assert findings.common_load(comparisons.empty()) is None


def test_failed_configurations_are_not_ranked_though_they_have_points() -> None:
    assert [c.name for c in findings.ranked(comparisons.failures())] == ["threads", "sync"]


def test_of_many_the_best_of_each_engine_is_shown_first() -> None:
    shown = findings.shown(comparisons.many())
    assert len(shown) == findings.SHOWN
    names = [c.name for c in shown]
    assert "gevent, 4 workers, pool of 20" in names and "threads, 8 threads, 1 workers" not in names
    order = [c.name for c in comparisons.many().configurations]
    assert names == sorted(names, key=order.index)


@given(st.integers(1, 64), st.floats(0.0, 0.2), st.floats(1e-4, 0.02))
def test_saturation_is_where_theory_has_it(servers: int, wait: float, cpu: float) -> None:
    """The closed queue of the sample: it is full at the first load that keeps every server or the CPU busy."""
    made = configuration("threads", wait, cpu, servers)
    capacity = min(servers / (wait + cpu), 1 / cpu)
    full = [p.concurrency for p in made.points if p.throughput.middle >= 0.95 * capacity]
    reached = findings.saturation(made)
    if full and full[0] != made.points[-1].concurrency:
        assert reached == full[0]
    elif not full:
        assert reached is None


# ---- where time goes ----


def test_what_a_lone_request_waits_for_is_waiting_and_the_rest_is_a_queue() -> None:
    sync = configuration("sync", 0.05, 0.0004, 1)
    alone, crowded = (findings.split(sync, sync.points[index]) for index in (0, 2))
    assert alone.queue == pytest.approx(0.0, abs=2e-4) and alone.waiting == pytest.approx(0.05, abs=2e-4)
    assert crowded.total == pytest.approx(sync.points[2].mean_latency)
    assert crowded.queue == pytest.approx(99 * 0.0504, rel=0.01)
    assert crowded.waiting == pytest.approx(0.05, abs=2e-4)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_parts_are_never_negative_and_make_the_whole(latency: float, cpu: float) -> None:
    made = configuration("gevent", 0.01, 0.001, ONLY_ONE)
    point = made.points[0]
    odd = replace(point, mean_latency=latency, cost=replace(point.cost, cpu_user=cpu, cpu_system=0.0))
    found = findings.split(replace(made, points=(odd,)), odd)
    assert min(found.queue, found.cpu, found.waiting) >= 0
    assert found.total == pytest.approx(latency)


def test_time_names_the_one_in_line() -> None:
    said = findings.of_time(comparisons.engines(), 100)
    assert said.startswith("At 100 clients a request on sync takes 5.04 s: almost all of it in line. On ")
    assert said.endswith(" of it in line.")
    at_ten = findings.of_time(comparisons.engines(), 10)
    assert at_ten.startswith("At 10 clients a request on sync takes 504 ms: 90 % in line and 9.9 % waiting.")


def test_with_one_client_nobody_stands_in_line() -> None:
    assert "nobody stands in line" in findings.of_time(comparisons.engines(), 1)


# ---- latency, memory, yields ----


def test_latency_speaks_of_few_and_of_many_clients() -> None:
    said = findings.of_latency(comparisons.engines())
    assert said.startswith("At 1 client there is no difference you could see: half of the requests are answered within")
    assert "within 494 ms by gevent, and within 56.6 s by sync." in said


def test_latency_of_one_load_is_said_once() -> None:
    assert findings.of_latency(comparisons.one_load()).count("At ") == 1


def test_memory_names_least_and_most_and_the_growth_of_each_client() -> None:
    said = findings.of_memory(comparisons.engines())
    assert "sync takes least, 32.6 MB, and asyncio most, 51 MB" in said
    assert said.endswith("asyncio grows most, by 19 MB, 19 kB for each client more.")


def unmeasured(found: Comparison) -> Comparison:
    """Costs that the system did not tell."""

    def without(point: comparisons.Point) -> comparisons.Point:
        return replace(point, cost=replace(point.cost, cpu_user=0.0, cpu_system=0.0, resident=0, proportional=0))

    cheap = (replace(c, points=tuple(without(p) for p in c.points)) for c in found.configurations)
    return replace(found, configurations=tuple(cheap))


def test_unknown_costs_are_called_unknown() -> None:
    found = unmeasured(comparisons.engines())
    assert findings.of_memory(found) == findings.of_memory_yield(found) == "Memory is not known here."
    assert findings.of_cores(found) == "CPU time is not known here."


def test_evenness_is_the_ratio_of_the_late_to_the_middle() -> None:
    one = configuration("sync", 0.05, 0.0004, 1, spread=0.01)
    other = configuration("threads", 0.05, 0.0004, 8, spread=0.5)
    said = findings.of_distribution(comparison((one, other)), 100)
    assert said.startswith("At 100 clients sync treats requests most alike")
    assert "hardly any takes longer than the middle one. With threads one in a hundred takes 3.2 times" in said


def test_a_latency_that_was_reckoned_says_nothing_of_evenness() -> None:
    made = comparisons.engines()
    sync, *others = made.configurations
    points = (*sync.points[:3], replace(sync.points[3], histogram=(), note="reckoned"))
    said = findings.of_distribution(comparison((replace(sync, points=points), *others)), 1000)
    assert "uvloop treats requests most alike" in said and said.endswith("No distribution was recorded of sync.")


# ---- theory ----


def predicted(name: str, deviation: float, limit: str, rate: float) -> Configuration:
    """It was predicted to do a hundred a second with 1,000 clients."""
    made = configuration(name, 0.05, 0.0004, 1)
    expected = Prediction("one at a time", 100.0, {1000: 100.0}, {}, deviation, limit)
    measured = replace(made.points[-1], throughput=interval(rate))
    return replace(made, points=(*made.points[:-1], measured), prediction=expected)


def test_theory_is_told_with_the_largest_deviation() -> None:
    assert findings.of_theory(comparisons.empty()) == ()
    made = comparison((predicted("sync", 0.1, "", 95), predicted("gevent", 0.2, "", 110)))
    assert findings.of_theory(made) == ("Predicted from one client and measured: at most 20 % apart (gevent).",)


def test_what_limits_is_told_of_those_that_do_less() -> None:
    rows = [predicted("sync", 0.6, "the CPU, of which 1 is in use", 40)]
    rows += [predicted(name, 0.9, "nothing: it costs less", 190) for name in ("gevent", "trio")]
    assert findings.of_theory(comparison(tuple(rows)))[1:] == (
        "sync does less (60 % off), limited by the CPU, of which 1 is in use.",
        "gevent and trio do more: a request takes less when there are many.",
    )
