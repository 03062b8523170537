"""What a comparison has found, as frozen values: the runner builds them, verdict and report read them, JSON keeps them.

Times are in seconds, sizes in bytes, rates in requests per second, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")
FIRM = 3  # rounds: fewer have no interval to speak of
CHANCE = 0.25  # the share by which single windows may differ though nothing else does


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value: the median of the rounds, and its bootstrap interval (95 %)."""

    low: float
    middle: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class Cost:
    """What the server's process tree took while one point was measured."""

    cpu_user: float  # seconds of CPU, per request
    cpu_system: float
    resident: int
    proportional: int
    switches_voluntary: float  # context switches, per request
    switches_forced: float
    threads: int
    processes: int
    cores: float  # CPUs' worth of time that it used, of those that it could
    lost: float = 0.0  # share of the time in which it was ready to go on, and other programs had the CPU
    queue_wait: Mapping[str, float] = field(default_factory=dict)  # percentile -> seconds, from the scoreboard
    loop_lag: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """Seconds of CPU per request."""
        return self.cpu_user + self.cpu_system


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration under one load: what came out of all rounds."""

    concurrency: int  # clients, each with one request at a time
    throughput: Interval  # of good answers
    latency: Mapping[str, Interval]  # percentile -> seconds
    mean_latency: float
    histogram: tuple[tuple[float, int], ...]  # (upper bound of the bucket, count), the empty ones left out
    requests: int
    statuses: Mapping[int, int]
    errors: Mapping[str, int]  # what happened to connections ("refused", "reset", "timeout", ...)
    client_limited: bool  # the load generator was the limit: not used in the verdict
    cost: Cost
    note: str = ""  # what to know of this point: how its latency was found where the queue could not settle


@dataclass(frozen=True, slots=True)
class Prediction:
    """What theory says of one configuration, from one client's service time and CPU time."""

    model: str  # one sentence: which formula, with which numbers
    capacity: float
    throughput: Mapping[int, float]  # concurrency -> rate
    latency: Mapping[int, float]  # concurrency -> mean
    deviation: float  # the largest, of the measured throughput; 0.2 is 20 %
    limit: str = ""  # where it is above a quarter: what limits instead
    queue: float = 0.0  # mean time in line at 80 % of the capacity, where requests come when they like (M/M/c)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to serve, and what it did."""

    name: str  # "gevent", "threads, 8 threads", "sync, 4 workers"
    engine: str
    application: str
    workers: int
    threads: int
    command: str  # the whole `eitherway serve` line
    points: tuple[Point, ...] = ()
    prediction: Prediction | None = None
    failure: str = ""  # why it is not ranked: it could not start, answered wrong, crashed
    startup: float = 0.0
    interface: str = ""  # "wsgi" or "asgi", as the server found it
    pool: int = 0  # database connections that the application may open; 0: it has no pool

    def at(self, concurrency: int) -> Point | None:
        return next((p for p in self.points if p.concurrency == concurrency), None)

    @property
    def best(self) -> Point | None:
        """The point of the highest throughput, of those that the client did not limit."""
        good = [p for p in self.points if not p.client_limited]
        return max(good, key=lambda p: p.throughput.middle, default=None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """At most five sentences, and the line to start the server with."""

    sentences: tuple[str, ...]
    winner: str  # a configuration's name; empty: none can be told from the others
    command: str
    confidence: str  # "clear", "likely" or "no difference you could see"; empty where nothing could be compared


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it."""

    title: str
    command: str  # that repeats it
    requests: tuple[str, ...]  # "GET /products"
    started: str  # ISO 8601
    seconds: float
    rounds: int
    complete: bool
    machine: Mapping[str, str]  # cpu, cores, memory, system, python
    versions: Mapping[str, str]  # library -> version
    configurations: tuple[Configuration, ...]
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()

    @property
    def ladder(self) -> tuple[int, ...]:
        """Every concurrency that was measured, rising."""
        return tuple(sorted({p.concurrency for c in self.configurations for p in c.points}))


def as_json(value: Any) -> Any:
    """A value of this module as dictionaries, lists and numbers."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: as_json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(each) for each in value]
    return value


def comparison_from_json(value: Mapping[str, Any]) -> Comparison:
    """The comparison that `as_json` was given. KeyError or TypeError where it is not one."""
    found = _restored(Comparison, value)
    assert isinstance(found, Comparison)
    return found


def _restored(kind: Any, value: Any) -> Any:
    """A value of the annotated kind: what JSON turned into lists, and keys into text, is turned back."""
    if hasattr(kind, "__dataclass_fields__"):
        hints = get_type_hints(kind)
        return kind(**{name: _restored(hints[name], each) for name, each in value.items() if name in hints})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _restored(next(each for each in inner if each is not type(None)), value)
    if origin is Mapping:
        return {inner[0](key): _restored(inner[1], each) for key, each in value.items()}
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_restored(each, part) for each, part in zip(kinds, value, strict=True))
    return float(value) if kind is float else value
