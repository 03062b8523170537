"""Comparisons as a run would give them, made from a small model of queues."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log
from random import Random

from eitherway.lab.results import Comparison, Configuration, Cost, Interval, Point, Prediction, Verdict

LADDER = (1, 10, 100, 1000)
EACH = {"sync": 600, "threads": 2_000, "gevent": 11_000, "asyncio": 19_000, "uvloop": 15_000}  # bytes a client
ONLY_ONE = 10**9  # servers: more than any load here


def interval(middle: float, width: float = 0.03) -> Interval:
    return Interval(middle * (1 - width), middle, middle * (1 + width))


def cost(cpu: float, load: int, rate: float, base: int = 32_000_000, each: int = 9_000, threads: int = 1) -> Cost:
    return Cost(
        cpu_user=cpu * 0.7,
        cpu_system=cpu * 0.3,
        resident=base + each * load + 9_000_000,
        proportional=base + each * load,
        switches_voluntary=1.2,
        switches_forced=0.03,
        threads=threads,
        processes=2,
        cores=min(1.0, rate * cpu),
        queue_wait={"p50": 0.0001, "p99": 0.002},
        loop_lag={"p50": 0.00005, "p99": 0.0011},
    )


def histogram(middle: float, spread: float, count: int, seed: int) -> tuple[tuple[float, int], ...]:
    """Log-normal latencies in buckets an eighth of an octave wide."""
    random, buckets = Random(seed), dict[float, int]()
    for _ in range(min(count, 2000)):
        value = middle * exp(random.gauss(0, spread))
        bound = 2 ** ((int(log(value, 2) * 8 + 1000) - 999) / 8)
        buckets[bound] = buckets.get(bound, 0) + 1
    return tuple(sorted(buckets.items()))


def point(
    load: int, wait: float, cpu: float, servers: int, each: int = 9_000, spread: float = 0.05, **more: object
) -> Point:
    """A closed queue: `servers` requests at a time, one CPU."""
    capacity = min(servers / (wait + cpu), 1 / cpu)
    rate = min(load / (wait + cpu), capacity)
    mean = load / rate
    tail = exp(2.33 * spread)
    percentiles = {"p50": 1.0, "p90": tail**0.55, "p99": tail, "p99.9": tail**1.4, "max": tail**1.7}
    made = Point(
        concurrency=load,
        throughput=interval(rate),
        latency={name: interval(mean * factor) for name, factor in percentiles.items()},
        mean_latency=mean,
        histogram=histogram(mean, spread, 2000, load),
        requests=int(rate * 15),
        statuses={200: int(rate * 15)},
        errors={},
        client_limited=False,
        cost=cost(cpu, load, rate, each=each, threads=min(servers, 16)),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def prediction(wait: float, cpu: float, servers: int) -> Prediction:
    capacity = min(servers / (wait + cpu), 1 / cpu)
    rates = {load: min(load / (wait + cpu), capacity) * 1.06 for load in LADDER}
    return Prediction(
        model="capacity = 1 / CPU time of a request = 1 / 0.41 ms",
        capacity=capacity,
        throughput=rates,
        latency={load: load / rate for load, rate in rates.items()},
        deviation=0.06,
    )


def configuration(
    engine: str,
    wait: float,
    cpu: float,
    servers: int,
    name: str = "",
    ladder: tuple[int, ...] = LADDER,
    spread: float = 0.05,
) -> Configuration:
    return Configuration(
        name=name or engine,
        engine=engine,
        application="shop:app",
        workers=1,
        threads=servers if engine == "threads" else 1,
        command=f"eitherway serve shop:app --engine {engine}",
        points=tuple(point(load, wait, cpu, servers, EACH.get(engine, 9_000), spread) for load in ladder),
        prediction=prediction(wait, cpu, servers),
        startup=0.4,
    )


VERDICT = Verdict(
    sentences=(
        "Start with gevent: it answers 121 times as many requests a second as sync.",
        "A request spends 99 % of its time waiting, so what counts is how many can wait at once.",
        "At 1,000 clients gevent answers 2,420 requests a second and uvloop 2,300; with one client all are alike.",
        "It takes 41 MB of memory, 9 kB for each client more.",
    ),
    winner="gevent",
    command="eitherway serve shop:app --engine gevent --workers 2",
    confidence="clear",
)


def comparison(configurations: tuple[Configuration, ...], **more: object) -> Comparison:
    made = Comparison(
        title="shop:app",
        command="eitherway compare shop:app /products '/search?q=tea' --concurrency 1,10,100,1000 --rounds 3",
        requests=("GET /products", "GET /search?q=tea"),
        started="2026-03-04T10:20:30",
        seconds=312.0,
        rounds=3,
        complete=True,
        machine={
            "cpu": "AMD EPYC 7763",
            "cores": "2",
            "memory": "8.3 GB",
            "system": "Linux 6.1",
            "python": "CPython 3.11.9",
        },
        versions={"eitherway": "0.1.0", "gevent": "24.11.1", "uvloop": "0.21.0", "flask": "3.1.0"},
        configurations=configurations,
        verdict=VERDICT,
        notes=("CPU governor: performance.",),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def engines() -> Comparison:
    """Five engines, a request that waits 50 ms."""
    return comparison(
        (
            configuration("sync", 0.05, 0.0004, 1),
            configuration("threads", 0.05, 0.00045, 8, spread=0.12),
            configuration("gevent", 0.05, 0.00041, ONLY_ONE, spread=0.08),
            configuration("asyncio", 0.05, 0.00052, ONLY_ONE, spread=0.1),
            configuration("uvloop", 0.05, 0.00043, ONLY_ONE, spread=0.07),
        )
    )


def every_engine() -> Comparison:
    """All there are, most of them close to one another."""
    cpu = {
        "gevent": 0.00041, "eventlet": 0.00039, "asyncio": 0.00052, "uvloop": 0.00043, "trio": 0.0009,
        "curio": 0.0008, "twisted": 0.00061,
    }  # fmt: skip
    loops = (configuration(name, 0.05, each, ONLY_ONE, spread=0.07) for name, each in cpu.items())
    sync, threads, *_ = engines().configurations
    return comparison((sync, threads, *loops))


def alone() -> Comparison:
    verdict = Verdict(("Only gevent was measured.",), "gevent", "eitherway serve shop:app --engine gevent", "clear")
    return comparison((configuration("gevent", 0.05, 0.0004, ONLY_ONE),), verdict=verdict)


def ties() -> Comparison:
    """CPU-bound: nobody is better, but each one's way of queueing differs."""
    verdict = Verdict(
        ("No model is faster than another: a request computes for 5 ms and waits for nothing.",),
        "",
        "eitherway serve shop:app --engine sync --workers 2",
        "no difference you could see",
    )
    names = ("sync", "threads", "gevent", "asyncio", "uvloop")
    return comparison(tuple(configuration(n, 0.0, 0.005 + i * 5e-6, 1) for i, n in enumerate(names)), verdict=verdict)


def failures() -> Comparison:
    sick = configuration("asyncio", 0.05, 0.0005, ONLY_ONE)
    good = configuration("sync", 0.05, 0.0004, 1)
    last = good.points[-1]
    refused = replace(last, statuses={200: 290, 503: 12}, errors={"reset": 4, "timeout": 1}, client_limited=True)
    return comparison(
        (
            replace(good, points=(*good.points[:-1], refused)),
            configuration("threads", 0.05, 0.00045, 8),
            replace(sick, points=(), prediction=None, failure="answers differ: GET /products gave 200, here 500"),
            replace(
                sick,
                name="gevent",
                engine="gevent",
                points=sick.points[:2],
                failure="crashed at 100 clients: exit code -11",
            ),
        )
    )


def incomplete() -> Comparison:
    """Stopped with Ctrl-C: some loads were not reached, one configuration not at all, and there is no verdict."""
    sync, threads, gevent, *rest = engines().configurations
    cut = (replace(gevent, points=gevent.points[:2]), *(replace(each, points=()) for each in rest))
    return comparison((sync, replace(threads, points=threads.points[:3]), *cut), complete=False, verdict=None)


def empty() -> Comparison:
    """Stopped before anything was measured."""
    none = tuple(replace(each, points=(), prediction=None) for each in engines().configurations)
    return comparison(none, complete=False, verdict=None, notes=())


def one_load() -> Comparison:
    names = ("sync", "threads", "uvloop")
    return comparison(tuple(configuration(n, 0.02, 0.001, ONLY_ONE, ladder=(16,)) for n in names))


def many() -> Comparison:
    """More than a chart can hold, with long names, and loads that double."""
    ladder = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    found = [
        configuration(
            "threads", 0.03, 0.0006, workers * threads, f"threads, {threads} threads, {workers} workers", ladder
        )
        for workers in (1, 2, 4)
        for threads in (8, 16, 64)
    ]
    found += [
        configuration("gevent", 0.03, 0.0006 / w, ONLY_ONE, f"gevent, {w} workers, pool of 20", ladder)
        for w in (1, 2, 4)
    ]
    return comparison(tuple(found), title="shop:create_application_with_a_name_that_is_rather_long('production')")


NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'single' \u2028 <!-- "


def nasty() -> Comparison:
    """Text that would break a page which does not escape it."""
    first, second, *_ = engines().configurations
    return comparison(
        (
            replace(first, name=f"one {NASTY}", command=NASTY),
            replace(second, points=(), failure=f"why: {NASTY}", name=NASTY),
        ),
        title=NASTY,
        command=NASTY,
        requests=(NASTY,),
        machine={NASTY: NASTY},
        versions={NASTY: NASTY},
        notes=(NASTY,),
        verdict=Verdict((NASTY, NASTY), NASTY, NASTY, NASTY),
    )


SAMPLES = {
    made.__name__: made
    for made in (engines, every_engine, alone, ties, failures, incomplete, empty, one_load, many, nasty)
}
