"""Intervals and queues, against what is known of them and against queues that are simulated."""

from __future__ import annotations

import heapq
import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.lab.stats import closed_throughput, interval, predict, queue_wait, waiting_share


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=15))
def test_an_interval_lies_within_the_values_and_around_their_median(values: list[float]) -> None:
    said = interval(values)
    assert min(values) <= said.low <= said.middle <= said.high <= max(values)
    assert interval(values) == said


def test_more_rounds_make_an_interval_narrower() -> None:
    chance = random.Random(1)
    few, many = ([chance.gauss(100, 10) for _ in range(count)] for count in (5, 200))
    assert interval(many).high - interval(many).low < interval(few).high - interval(few).low


def simulated_wait(rate: float, service: float, servers: int, requests: int = 250_000) -> float:
    """The mean wait in an M/M/c queue, first come, first served."""
    chance = random.Random(7)
    free_at = [0.0] * servers
    now = 0.0
    waits = []
    for _ in range(requests):
        now += chance.expovariate(rate)
        start = max(now, heapq.heappop(free_at))
        waits.append(start - now)
        heapq.heappush(free_at, start + chance.expovariate(1 / service))
    return mean(waits[requests // 10 :])


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (4, 0.6), (4, 0.85), (16, 0.8)])
def test_the_wait_in_a_pool_is_the_simulated_one(servers: int, load: float) -> None:
    service = 0.05
    rate = load * servers / service
    assert queue_wait(rate, service, servers) == pytest.approx(simulated_wait(rate, service, servers), rel=0.12)


def test_a_queue_that_overflows_has_no_end() -> None:
    assert queue_wait(100, 0.05, 5) == float("inf")
    assert waiting_share(100, 0.05, 5) == 1.0
    assert waiting_share(0.001, 0.05, 5) == pytest.approx(0, abs=1e-9)
    assert waiting_share(10, 0.05, 1) == pytest.approx(0.5)  # M/M/1: as much as it is busy


def simulated_loop(clients: int, think: float, demand: float, servers: int, until: float = 4000.0) -> float:
    """Requests per second in a closed network: a wait of `think`, then `demand` on one of the CPUs, both random."""
    chance = random.Random(3)
    arrivals = [(chance.expovariate(1 / think), number) for number in range(clients)]
    heapq.heapify(arrivals)
    free_at = [0.0] * servers
    done = 0
    while arrivals[0][0] < until:
        now, number = heapq.heappop(arrivals)
        start = max(now, heapq.heappop(free_at))
        end = start + chance.expovariate(1 / demand)
        heapq.heappush(free_at, end)
        heapq.heappush(arrivals, (end + chance.expovariate(1 / think), number))
        done += 1
    return done / until


@pytest.mark.parametrize("clients", [1, 5, 12, 40])
@pytest.mark.parametrize("servers", [1, 2])
def test_the_throughput_of_a_loop_is_the_simulated_one(clients: int, servers: int) -> None:
    said = closed_throughput(clients, 0.5, 0.05, servers)
    assert said == pytest.approx(simulated_loop(clients, 0.5, 0.05, servers), rel=0.02)


def test_requests_that_only_compute_share_the_cpus_without_loss() -> None:
    assert [round(closed_throughput(clients, 0.0, 0.01, 2)) for clients in (1, 2, 3, 100)] == [100, 200, 200, 200]
    assert closed_throughput(5000, 1e-9, 0.01, 4) == pytest.approx(400)
    assert closed_throughput(8, 0.02, 0.0, 2) == pytest.approx(400)


@given(st.integers(1, 200), st.floats(0.001, 1), st.floats(0.0001, 1), st.integers(1, 8))
def test_no_loop_does_more_than_its_cpus_and_its_clients_allow(
    clients: int, think: float, demand: float, servers: int
) -> None:
    said = closed_throughput(clients, think, demand, servers)
    assert said <= min(servers / demand, clients / (think + demand)) * (1 + 1e-9)
    assert said <= closed_throughput(clients + 1, think, demand, servers) * (1 + 1e-9)


def test_four_sync_workers_do_four_requests_at_a_time() -> None:
    said = predict(
        slots=4, processes=4, cpus=2, service=0.05, cpu=0.0, ladder=(1, 4, 100), measured={1: 20, 4: 60, 100: 80}
    )
    assert said.capacity == pytest.approx(80)
    assert said.throughput == pytest.approx({1: 20, 4: 80, 100: 80})
    assert said.latency[100] == pytest.approx(1.25)
    assert said.deviation == pytest.approx(0.25)
    assert said.model == "4 requests at a time, 50 ms each: at most 80 a second"
    assert said.queue == queue_wait(64, 0.05, 4) > 0, "at 80 % of that"


def test_a_loop_is_limited_by_its_cpu() -> None:
    said = predict(slots=None, processes=1, cpus=2, service=0.051, cpu=0.001, ladder=(1, 10, 1000), measured={})
    assert said.capacity == pytest.approx(1000)
    assert said.throughput[10] == pytest.approx(10 / 0.051, rel=0.02)
    assert said.throughput[1000] == pytest.approx(1000, rel=0.01)
    assert said.deviation == 0
    assert "one CPU" in said.model
    assert said.queue == pytest.approx(0.004), "M/M/1: four times what a request takes"
