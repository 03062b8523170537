"""What is commonly said of sync and async, claim by claim: an experiment each, its figures, and whether it holds.

A claim's function gets a Bench and gives a Finding. Verdicts come from intervals: where these leave it open, it is
"cannot be told here".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from eitherway.config import MODELS, natives
from eitherway.errors import LabError
from eitherway.lab import workloads
from eitherway.lab.bench import Bench, Rounds, cpu, memory, middle, of, plain, rate, slowest
from eitherway.lab.load import Request
from eitherway.lab.plan import Variant
from eitherway.lab.results import Interval
from eitherway.lab.switching import KINDS
from eitherway.lab.units import duration, number, size, times

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot be told here"

_LOOPS = tuple(name for name in MODELS if name not in ("sync", "threads"))  # one that is not installed is left out
_COMPUTE = 0.005  # seconds of the function that is computed
_WAIT = 0.05  # seconds that a request waits
_BURST_WAIT = 0.2
_WAITING = Request("GET", f"/wait?ms={_WAIT * 1000:g}")
_BURST = Request("GET", f"/wait?ms={_BURST_WAIT * 1000:g}")


@dataclass(frozen=True, slots=True)
class Finding:
    """`table`: the head, then rows. `turn`: the smallest change of conditions that turns the verdict."""

    table: tuple[tuple[str, ...], ...]
    verdict: str
    said: str  # one sentence of what was seen
    turn: str


@dataclass(frozen=True, slots=True)
class Claim:
    number: int
    title: str
    experiment: str  # one sentence
    test: Callable[[Bench], Finding]


def judge(*tests: bool | None) -> str:
    """All must be true; None: open."""
    if any(test is False for test in tests):
        return FAILS
    return UNKNOWN if None in tests else HOLDS


def ratio(above: Interval, below: Interval) -> Interval:
    """One divided by the other, as far apart as their intervals allow."""
    floor = 1e-12
    return Interval(
        above.low / max(below.high, floor), above.middle / max(below.middle, floor), above.high / max(below.low, floor)
    )


def at_most(value: Interval, bound: float) -> bool | None:
    """Whether a value is at most that; None: its interval leaves it open."""
    return True if value.high <= bound else False if value.low > bound else None


def at_least(value: Interval, bound: float) -> bool | None:
    return True if value.low >= bound else False if value.high < bound else None


def show(value: Interval, unit: Callable[[float], str] = number) -> str:
    """ "1,943 (1,901 to 1,980)"."""
    return f"{unit(value.middle)} ({unit(value.low)} to {unit(value.high)})"


def _table(head: Iterable[str], *rows: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    return (tuple(head), *(tuple(row) for row in rows))


# ---- one function, every model ----


def same_speed(bench: Bench) -> Finding:
    found = _computing(bench)
    spent = {name: of(at[1], cpu) for name, at in found.items() if "workers" not in name}
    low, high = min(spent, key=lambda n: spent[n].middle), max(spent, key=lambda n: spent[n].middle)
    apart = ratio(spent[high], spent[low])
    return Finding(
        _table(("model", "CPU for a request"), *((name, show(each, duration)) for name, each in spent.items())),
        judge(at_most(apart, 1.15)),
        f"The dearest ({high}) takes {times(apart.middle)} the CPU time of the cheapest ({low}).",
        "A function of microseconds instead of milliseconds: then what the server does for a request shows.",
    )


def cpu_bound(bench: Bench) -> Finding:
    found = _computing(bench)
    rates = {name: of(at[20], rate) for name, at in found.items()}
    slow = {name: of(at[20], slowest) for name, at in found.items()}
    several = f"sync, {bench.cpus} workers"
    singles = {name: each for name, each in rates.items() if name != several}
    best = max(singles, key=lambda n: singles[n].middle)
    worst = min(singles, key=lambda n: singles[n].middle)
    gain, apart = ratio(rates[several], rates["sync"]), ratio(singles[best], singles[worst])
    loops = max((name for name in _LOOPS if name in slow), key=lambda n: slow[n].middle)
    longer = ratio(slow[loops], slow[several])
    return Finding(
        _table(
            ("model, 20 clients", "requests per second", "p99"),
            *((name, show(rates[name]), show(slow[name], duration)) for name in rates),
        ),
        judge(at_most(apart, 1.25), at_most(gain, bench.cpus * 1.1), at_least(longer, 1.2)),
        f"In one process the best ({best}) does {times(apart.middle)} what the worst ({worst}) does; "
        f"{bench.cpus} processes do {times(gain.middle)} what one does, and {loops}'s slow requests take "
        f"{times(longer.middle)} as long as theirs.",
        "One loop on each CPU (`-w auto`): then async does the same as that many sync workers.",
    )


def _computing(bench: Bench) -> Rounds:
    variants = [plain("sync"), plain("threads", threads=8), *map(plain, _LOOPS), plain("sync", bench.cpus)]
    return bench.loads(variants, bench.computing(_COMPUTE), (1, 20))


# ---- a pool of workers, and a loop ----


def five_clients(bench: Bench) -> Finding:
    ends = bench.bursts(plain("sync", 4), _BURST, 5)
    fourth, fifth = ratio(ends[3], _exactly(_BURST_WAIT)), ratio(ends[4], _exactly(_BURST_WAIT))
    return Finding(
        _table(("answer", "came after"), *((f"{place}.", show(each, duration)) for place, each in enumerate(ends, 1))),
        judge(at_most(fourth, 1.5), at_least(fifth, 1.9), at_most(fifth, 2.5)),
        f"Four are answered after {duration(ends[3].middle)}, the fifth after {duration(ends[4].middle)}.",
        "A fifth worker.",
    )


def hundred_at_once(bench: Bench) -> Finding:
    pool, loop = plain("sync", 4), plain("uvloop")
    ends = {each.name: bench.bursts(each, _BURST, 100)[-1] for each in (pool, loop)}
    apart = ratio(ends[pool.name], ends[loop.name])
    return Finding(
        _table(("model", "last answer after"), *((name, show(each, duration)) for name, each in ends.items())),
        judge(at_least(apart, 20), at_most(apart, 27)),
        f"Four workers need {times(apart.middle)} the time of the loop; with nothing but waiting it would be 25 times.",
        "Requests that compute: each adds its CPU time to the loop's last answer, so that the ratio falls.",
    )


def high_load_only(bench: Bench) -> Finding:
    found = _waiting(bench)
    rows, low, high = [], {}, {}
    for name in found:
        one, full = of(found[name][1], rate), of(found[name][100], rate)
        low[name], high[name] = ratio(one, _of_pool(found, 1)), ratio(full, _of_pool(found, 100))
        rows.append((name, show(one), show(full)))
    loop = "uvloop" if "uvloop" in found else "asyncio"
    return Finding(
        _table(("model", "1 client, requests per second", "100 clients"), *rows),
        judge(at_most(low[loop], 1.1), at_least(high[loop], 2)),
        f"{loop} does {times(low[loop].middle)} what four sync workers do for one client, "
        f"and {times(high[loop].middle)} for a hundred.",
        "Five clients: one more than there are workers.",
    )


def single_request(bench: Bench) -> Finding:
    variants = [plain("sync"), plain("threads", threads=8), *map(plain, _LOOPS)]
    found = bench.loads(variants, Request("GET", "/compute?rounds=1"), (1,))
    took = {name: of(at[1], middle) for name, at in found.items()}
    coroutines = {name: ratio(took[name], took["sync"]) for name in natives("asgi") if name in took}
    least = min(coroutines.values(), key=lambda each: each.middle)
    return Finding(
        _table(("model, 1 client", "median latency"), *((name, show(each, duration)) for name, each in took.items())),
        judge(at_least(least, 0.95)),
        f"The quickest coroutine takes {times(least.middle)} as long as the plain call.",
        "Work that can be done at the same time inside one request: three queries with `asyncio.gather`.",
    )


def hundred_workers(bench: Bench) -> Finding:
    pools = [plain("sync", workers) for workers in (4, 16, 64, 128)]
    found = bench.loads([*pools, plain("uvloop")], _WAITING, (128,))
    rates = {name: of(at[128], rate) for name, at in found.items()}
    sizes = {name: of(at[128], memory) for name, at in found.items()}
    most = [each.name for each in pools if each.name in found][-1]
    faster, larger = ratio(rates[most], rates["uvloop"]), ratio(sizes[most], sizes["uvloop"])
    return Finding(
        _table(
            ("model, 128 clients", "requests per second", "memory"),
            *((name, show(rates[name]), size(sizes[name].middle)) for name in rates),
        ),
        judge(at_most(faster, 1.1), at_least(larger, 5)),
        f"{most} do {times(faster.middle)} what one loop does, in {times(larger.middle)} its memory.",
        "Requests that compute: then workers use all CPUs and one loop only one.",
    )


def _waiting(bench: Bench) -> Rounds:
    variants = [plain("sync", 4), plain("threads", threads=64), *map(plain, _LOOPS)]
    return bench.loads(variants, _WAITING, (1, 100))


def _of_pool(found: Rounds, clients: int) -> Interval:
    return of(found["sync, 4 workers"][clients], rate)


def _exactly(value: float) -> Interval:
    return Interval(value, value, value)


# ---- what a unit of concurrency costs ----


def switching_costs(bench: Bench) -> Finding:
    counts = (10, 1000, 10_000)
    rows = []
    for kind in KINDS:
        costs = [bench.switch(kind, count) for count in counts]
        rows.append((kind, *(each.error or f"{each.seconds * 1e9:,.0f} ns" for each in costs)))
    request = of(_waiting(bench)["asyncio"][100], cpu).middle
    shares = {
        count: 2 * (bench.switch("threads", count).seconds - bench.switch("asyncio", count).seconds) / request
        for count in counts
        if not bench.switch("threads", count).error
    }
    over = [count for count, share in shares.items() if share > 0.05]
    saved = ", ".join(f"{share:.0%} with {count:,} alive" for count, share in shares.items())
    from_on = f"already with {over[0]:,} alive" if over else "with none of these numbers"
    return Finding(
        _table(("a switch", *(f"{count:,} alive" for count in counts)), *rows),
        judge(bool(over)),
        f"Two switches of threads instead of tasks are, of a request's {duration(request)} of CPU, {saved}: "
        f"more than 5 % {from_on}.",
        f"A request that takes more CPU: from {duration(request * max(shares.values(), default=0) / 0.05)} on "
        "it is below 5 %.",
    )


def unit_memory(bench: Bench) -> Finding:
    pools = [plain("sync", workers) for workers in (4, 16)]
    found = bench.loads(pools, _WAITING, (16,))
    few, many = (of(found[each.name][16], memory).middle for each in pools)
    units = {"process (a sync worker)": (many - few) / 12}
    sorts = {"threads": "a thread", "gevent": "a greenlet", "eventlet": "a greenlet"}
    units.update({
        f"{kind} ({sorts.get(kind, 'a task')})": bench.switch(kind, 1000).bytes
        for kind in KINDS
        if not bench.switch(kind, 1000).error
    })  # fmt: skip
    costs = [each for name, each in units.items() if name.split()[0] in ("process", "threads", "gevent", "asyncio")]
    return Finding(
        _table(("unit", "memory for one more"), *((name, size(each)) for name, each in units.items())),
        judge(all(above > below for above, below in pairwise(costs)), costs[0] > 100 * costs[-1]),
        f"One more process takes as much as {number(round(costs[0] / costs[-1], -2))} tasks.",
        "An application that holds much for each request: then its own objects outweigh the unit.",
    )


# ---- greenlets, blocking, pools ----


def flask_on_greenlets(bench: Bench) -> Finding:
    workloads.need("flask", "fastapi", "gevent")
    with workloads.opened(f"io:{_WAIT * 1000:g}ms") as work:
        flask, fastapi = work.applications
        pair = [Variant("Flask on gevent", flask, "gevent"), Variant("FastAPI on uvloop", fastapi, "uvloop")]
        found = bench.loads(pair, work.requests[0], (50,))
    blocked = bench.loads([plain("gevent"), plain("uvloop")], Request("GET", "/block?ms=50"), (20,))
    rates = {name: of(at[50], rate) for name, at in found.items()}
    ruined = {name: of(at[20], rate) for name, at in blocked.items()}
    even = ratio(rates["Flask on gevent"], rates["FastAPI on uvloop"])
    one_by_one = 1 / _WAIT
    return Finding(
        _table(
            ("model", "requests per second"),
            *((f"{name}, 50 clients", show(each)) for name, each in rates.items()),
            *((f"{name}, 20 clients, a blocking call", show(each)) for name, each in ruined.items()),
        ),
        judge(
            at_least(even, 0.85), at_most(even, 1 / 0.85),
            *(at_most(each, 1.2 * one_by_one) for each in ruined.values()),
        ),
        f"Flask on greenlets does {times(even.middle)} what FastAPI on a loop does; with one call that blocks for "
        f"50 ms both answer no more than {number(one_by_one)} requests a second, as one after the other.",
        "A library written in C that gevent cannot patch, or a call of `time.sleep` in a coroutine.",
    )  # fmt: skip


def hidden_pool(bench: Bench) -> Finding:
    wait = 0.02
    with workloads.opened(f"db:{wait * 1000:g}ms", "", (5, 40)) as work:
        variants = [
            Variant(f"FastAPI on asyncio, pool of {each.pool}", each, "asyncio")
            for each in work.applications
            if each.interface == "asgi"
        ]
        found = bench.loads(variants, work.requests[0], (100,))
    rates = [of(found[each.name][100], rate) for each in variants]
    limit = 5 / wait
    return Finding(
        _table(
            ("model, 100 clients", "requests per second"),
            *((each.name, show(rates[place])) for place, each in enumerate(variants)),
        ),
        judge(at_most(rates[0], 1.1 * limit), at_least(ratio(rates[1], rates[0]), 1.5)),
        f"With five connections the hundred tasks get {number(rates[0].middle)} answers a second, and five connections "
        f"of {duration(wait)} a query can give {number(limit)}; with forty it is {number(rates[1].middle)}.",
        "A larger pool, until the loop's CPU or the database is the limit.",
    )


CLAIMS = (
    Claim(1, "Python code runs at the same speed under every model", "CPU time of one function of 5 ms.", same_speed),
    Claim(
        2,
        "Five clients, four sync workers: four are answered in one service time, one waits",
        "Five requests at once, each waits 200 ms.",
        five_clients,
    ),
    Claim(
        3,
        "A hundred at once: four sync workers queue 96, a loop runs them all; the last answer comes 25 times later",
        "A hundred requests at once, each waits 200 ms.",
        hundred_at_once,
    ),
    Claim(
        4,
        "No model beats another for CPU work beyond the number of CPUs, and async's slowest request waits longest",
        "20 clients ask for a function of 5 ms.",
        cpu_bound,
    ),
    Claim(
        5,
        "Async wins only under high load; at one client it is equal or slower",
        "One client, then a hundred; each request waits 50 ms.",
        high_load_only,
    ),
    Claim(
        6,
        "A single request is not faster under async, and may be slower",
        "One client; the request does nothing.",
        single_request,
    ),
    Claim(
        7,
        "Switches of threads cost more than a request can bear",
        "Units that do nothing but let the next one go; two switches are set against a request's CPU time.",
        switching_costs,
    ),
    Claim(
        8,
        "One more unit of concurrency costs less and less: process, thread, greenlet, task",
        "Memory of a thousand units that wait, divided by a thousand; of processes: sixteen beside four.",
        unit_memory,
    ),
    Claim(
        9,
        "A hundred sync workers are no answer: they do no more than one loop, in many times its memory",
        "128 clients; each request waits 50 ms.",
        hundred_workers,
    ),
    Claim(
        10,
        "Plain Flask on greenlets does what async code does, as long as nothing blocks",
        "The same work (50 ms of waiting) on Flask with gevent and on FastAPI with uvloop; then a call that blocks.",
        flask_on_greenlets,
    ),
    Claim(
        11,
        "The hidden bottleneck: with a pool of five database connections a hundred tasks wait there instead",
        "100 clients; each request holds a connection to PostgreSQL for 20 ms.",
        hidden_pool,
    ),
)


def examine(claim: Claim, bench: Bench) -> Finding:
    """What a claim's experiment finds; where it cannot be made here, why."""
    try:
        return claim.test(bench)
    except LabError as error:
        return Finding((), UNKNOWN, f"{str(error).rstrip('.')}.", "What is missing.")
