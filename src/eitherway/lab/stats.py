"""The lab's mathematics. Pure: intervals from rounds, queues, and what theory says of a model's throughput."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from math import exp, isfinite, log
from statistics import median

from eitherway.lab.results import Interval, Prediction
from eitherway.lab.units import duration, number

_RESAMPLES = 1000
_SEED = 20
_CONFIDENCE = 0.95
USUAL_LOAD = 0.8  # of the capacity: what a server is asked to bear, so that there is some room left


def interval(values: Sequence[float]) -> Interval:
    """The median of the rounds, and its bootstrap interval (percentile method, 95 %); the same for the same values."""
    middle = median(values)
    if len(values) < 2:
        return Interval(middle, middle, middle)
    chance = random.Random(_SEED)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    cut = int((1 - _CONFIDENCE) / 2 * _RESAMPLES)
    return Interval(medians[cut], middle, medians[-cut - 1])


# ---- queues ----


def waiting_share(rate: float, service: float, servers: int) -> float:
    """The share of requests that have to wait in an M/M/c queue (Erlang's C formula); 1 where it overflows."""
    load = rate * service
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang's B, by its recurrence over the servers
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def queue_wait(rate: float, service: float, servers: int) -> float:
    """The mean wait, in seconds, in an M/M/c queue of `servers` that each take `service` seconds for a request."""
    if rate * service >= servers:
        return float("inf")
    return waiting_share(rate, service, servers) * service / (servers - rate * service)


def closed_throughput(clients: int, think: float, demand: float, servers: int) -> float:
    """Requests per second that so many clients get done, one at a time each: a closed network, solved exactly.

    Every request waits `think` seconds, which costs nobody anything, and needs `demand` seconds of one of `servers`
    CPUs (the machine repairman's problem, M/M/c with a finite population).
    """
    if not demand:
        return clients / think
    if not think:
        return min(clients, servers) / demand
    likely = [0.0]  # logarithms, as the numbers have no bounds: how likely it is that so many are at the CPUs
    for count in range(1, clients + 1):
        likely.append(likely[-1] + log((clients - count + 1) * demand / (think * min(count, servers))))
    top = max(likely)
    weights = [exp(each - top) for each in likely]
    busy = sum(weight * min(count, servers) for count, weight in enumerate(weights)) / sum(weights)
    return busy / demand


# ---- a model's prediction ----


def predict(
    *,
    slots: int | None,
    processes: int,
    cpus: int,
    service: float,
    cpu: float,
    ladder: Iterable[int],
    measured: Mapping[int, float],
) -> Prediction:
    """What one client's figures say of every load.

    `slots`: requests that can run at once, all processes together; None: any number (a loop). `service`: the seconds
    that a request takes for a single client, `cpu` of these on the CPU. `measured`: concurrency -> rate, to compare.
    """
    cpu = min(cpu, service)
    servers = max(1, min(processes, cpus))
    throughput = {}
    for clients in ladder:
        running = clients if slots is None else min(clients, slots)
        throughput[clients] = closed_throughput(running, service - cpu, cpu, servers)
    by_cpu = servers / cpu if cpu else float("inf")
    by_slots = slots / service if slots is not None else float("inf")
    capacity = min(by_cpu, by_slots)
    limited_by = (service, slots) if slots is not None and by_slots <= by_cpu else (cpu, servers)
    return Prediction(
        model=_model(slots, servers, service, cpu, by_slots <= by_cpu),
        capacity=capacity,
        queue=queue_wait(USUAL_LOAD * capacity, *limited_by) if isfinite(capacity) else 0.0,
        throughput=throughput,
        latency={clients: clients / rate for clients, rate in throughput.items() if rate},
        deviation=max((abs(measured[n] / throughput[n] - 1) for n in measured if throughput.get(n)), default=0.0),
    )


def _model(slots: int | None, servers: int, service: float, cpu: float, few_slots: bool) -> str:
    if slots is not None and few_slots:
        which = "one request" if slots == 1 else f"{number(slots)} requests"
        return f"{which} at a time, {duration(service)} each: at most {number(slots / service)} a second"
    which = "one CPU" if servers == 1 else f"{servers} CPUs"
    return f"{which}, {duration(cpu)} of it for each request: at most {number(servers / cpu)} a second"
