"""Frozen views of the scoreboard: what `eitherway status` prints, and what reads the numbers later."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import monotonic, time
from typing import Any

from eitherway.metrics import counters as c
from eitherway.metrics.histogram import BUCKETS, quantile

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Counts:
    """What only grows."""

    requests: int
    errors: int  # answers of 500 and above
    refused: int
    bytes: int  # of response bodies
    request_time: tuple[int, ...]
    queue_wait: tuple[int, ...]
    loop_lag: tuple[int, ...]

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.refused + other.refused,
            self.bytes + other.bytes,
            *(
                tuple(a + b for a, b in zip(mine, its, strict=True))
                for mine, its in (
                    (self.request_time, other.request_time),
                    (self.queue_wait, other.queue_wait),
                    (self.loop_lag, other.loop_lag),
                )
            ),
        )

    def summary(self) -> dict[str, Any]:
        """The counts, with the histograms as percentiles in seconds."""
        said: dict[str, Any] = {
            "requests": self.requests, "errors": self.errors, "refused": self.refused, "bytes": self.bytes
        }  # fmt: skip
        for name in ("request_time", "queue_wait", "loop_lag"):
            histogram = getattr(self, name)
            said[name] = {label: round(quantile(histogram, share), 6) for label, share in _PERCENTILES.items()}
        return said

    def histograms(self) -> dict[str, list[int]]:
        """The counts in every bucket (histogram.py): from two of them follows what happened in between."""
        return {name: list(getattr(self, name)) for name in ("request_time", "queue_wait", "loop_lag")}


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker. Times in seconds."""

    worker: int
    pid: int
    slot: int
    state: str
    running: int
    connections: int
    uptime: float
    heartbeat_age: float
    longest: str  # the request that has been running longest, and for how long
    longest_age: float
    counts: Counts

    def summary(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "counts"}
        return {**plain, **self.counts.summary()}


@dataclass(frozen=True, slots=True)
class BalancerView:
    """The balancer. Its requests are the clients', its queue wait is that of the one queue."""

    pid: int
    state: str
    running: int  # queued, or in a worker
    queued: int
    connections: int
    uptime: float
    heartbeat_age: float
    counts: Counts
    extra: dict[str, int]  # see counters.EXTRA_NAMES

    def summary(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("counts", "extra")}
        return {**plain, **self.counts.summary(), **self.extra}


@dataclass(frozen=True, slots=True)
class BoardView:
    workers: tuple[WorkerView, ...]
    past: Counts  # of workers that have ended
    balancer: BalancerView | None

    @property
    def total(self) -> Counts:
        """What all workers have counted, the dead ones too."""
        total = self.past
        for view in self.workers:
            total += view.counts
        return total

    def asdict(self) -> dict[str, Any]:
        """All of it, the histograms as they are."""
        return asdict(self)


def snapshot(board: c.Scoreboard) -> BoardView:
    """What the scoreboard says now."""
    workers = tuple(_worker(board, slot) for slot in board.taken())
    return BoardView(workers, _counts(list(board.words(c.PAST))), _balancer(list(board.words(c.BALANCER))))


def _balancer(words: list[int]) -> BalancerView | None:
    if words[c.STATE] == c.FREE:
        return None
    return BalancerView(
        pid=words[c.PID],
        state=c.STATES[words[c.STATE]],
        running=words[c.RUNNING],
        queued=words[c.QUEUED],
        connections=words[c.CONNECTIONS],
        uptime=_uptime(words),
        heartbeat_age=_heartbeat_age(words),
        counts=_counts(words),
        extra=dict(zip(c.EXTRA_NAMES, words[c.EXTRA :], strict=True)),
    )


def _uptime(words: list[int]) -> float:
    return round(time() - words[c.STARTED] / c.MICROSECONDS, 3)


def _heartbeat_age(words: list[int]) -> float:
    return round(monotonic() - words[c.HEARTBEAT] / c.MICROSECONDS, 3)


def _worker(board: c.Scoreboard, slot: int) -> WorkerView:
    words = list(board.words(slot))
    now = monotonic()
    running = words[c.RUNNING]
    return WorkerView(
        worker=words[c.WORKER],
        pid=words[c.PID],
        slot=slot,
        state=c.STATES[words[c.STATE]],
        running=running,
        connections=words[c.CONNECTIONS],
        uptime=_uptime(words),
        heartbeat_age=_heartbeat_age(words),
        longest=board.text(slot) if running else "",
        longest_age=round(now - words[c.NOTED_AT] / c.MICROSECONDS, 3) if running and words[c.NOTED_AT] else 0.0,
        counts=_counts(words),
    )


def _counts(words: list[int]) -> Counts:
    def histogram(at: int) -> tuple[int, ...]:
        return tuple(words[at : at + BUCKETS])

    return Counts(
        requests=words[c.REQUESTS],
        errors=words[c.ERRORS],
        refused=words[c.REFUSED],
        bytes=words[c.BYTES],
        request_time=histogram(c.REQUEST_TIME),
        queue_wait=histogram(c.QUEUE_WAIT),
        loop_lag=histogram(c.LOOP_LAG),
    )
