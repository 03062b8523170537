"""One point, measured: a server under one load for one window, and what its processes used meanwhile.

`eitherway claims` measures with this too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic, sleep
from typing import Any

from eitherway.errors import LabError
from eitherway.lab import answers
from eitherway.lab.load import Load, LoadResult, Request, run_load
from eitherway.lab.observe import Usage, lost_between, observe, spent_between
from eitherway.lab.plan import WARM_UP
from eitherway.lab.samples import SHARES, Sample, is_settled
from eitherway.lab.server import Server
from eitherway.metrics.histogram import quantile

TIMEOUT = 30.0  # seconds for one answer under load
LONGEST_SETTLING = 8.0  # seconds that a queue is given to fill before the window begins
_TRIES = 2  # windows with no answer in them: one may have been a stall of the whole machine
_FULL = 2.0  # times one client's latency: there requests wait for each other
_LAST_LOOK = 0.05  # seconds before the window's end
_LOOK = 0.01  # seconds between two looks at who works
_REPLACING = 1.0  # seconds until a worker's death is known
_SLACK = 1.1  # more than the queue needs, as it is not filled evenly
_WRONG = 0.01  # of the answers; where more are 500 and above the application breaks under load
_COUNTED = ("p50", "p90", "p99", "max")  # of queue wait and loop lag


def measure(
    server: Server,
    requests: Sequence[Request],
    clients: int,
    seconds: float,
    *,
    settle: bool = True,
    expected: float = 0.0,
    warm_up: float = WARM_UP,
    timeout: float = TIMEOUT,
) -> Sample:
    """Put a closed loop of so many clients on a server for a window of `seconds`.

    With `settle` the queue is given time to fill before the window begins: `expected` answers a second say how long,
    where a smaller load has shown that the server is full; where it was not foreseen, the window is measured again.
    Raises LabError when the server crashed, hung or answered wrong.
    """
    longer = _settling(clients, expected) if settle else 0.0
    sample = _window(server, requests, clients, seconds, max(warm_up, longer), timeout)
    if settle and not longer and not sample.settled:
        longer = _settling(clients, sample.result.throughput)
        if longer:
            sample = _window(server, requests, clients, seconds, longer, timeout)
    return sample


def climb(
    server: Server, requests: Sequence[Request], ladder: Sequence[int], seconds: float, *, settle: bool = True
) -> Iterator[Sample]:
    """Measure one load after the other, rising."""
    lowest: Sample | None = None
    full = 0.0  # answers a second, once more clients only wait longer
    for clients in ladder:
        sample = measure(server, requests, clients, seconds, settle=settle, expected=full)
        lowest = lowest or sample
        is_full = sample.result.histogram.mean >= _FULL * lowest.result.histogram.mean
        full = sample.result.throughput if is_full else 0.0
        yield sample


def _settling(clients: int, rate: float) -> float:
    """Seconds until a queue of all clients is as long as it stays; 0 where that is unknown, or too long to wait for."""
    seconds = _SLACK * clients / rate if rate else 0.0
    return seconds if seconds <= LONGEST_SETTLING else 0.0


def _drain(server: Server, request: Request, timeout: float) -> None:
    """Wait until what former clients left behind is done: a server also answers those who have gone."""
    before = _status(server)
    try:
        answers.ask(server.host, server.port, request, timeout)
    except LabError:
        deadline = monotonic() + _REPLACING
        while monotonic() < deadline:
            if _workers(before) != _workers(_status(server)):
                raise LabError(f"a worker died: {_death(server)}") from None
            sleep(_LOOK)
        raise


def _window(
    server: Server, requests: Sequence[Request], clients: int, seconds: float, warm_up: float, timeout: float
) -> Sample:
    _drain(server, requests[0], timeout)
    before_status = _status(server)
    load = Load(
        server.host, server.port, tuple(requests), clients=clients, duration=seconds, warm_up=warm_up, timeout=timeout
    )
    for _ in range(_TRIES):
        watch = _Watch(server.pid, warm_up, seconds)
        result = run_load(load, watch)
        if result.statuses or result.errors:
            break
    after_status = _status(server)
    _look_for_faults(server, clients, result, before_status, after_status, timeout)
    first, last = watch.looks()
    cost = spent_between(
        first,
        last,
        sum(result.statuses.values()) / result.seconds,
        _between(before_status, after_status, "queue_wait"),
        _between(before_status, after_status, "loop_lag"),
        lost=lost_between(first, last, result.cpu, len(_workers(before_status))),
    )
    return Sample(clients, result, cost, warm_up)


class _Watch:
    """Looks at a server's processes while a load is on: when the window begins, and shortly before it ends."""

    def __init__(self, pid: int, warm_up: float, seconds: float) -> None:
        self._pid = pid
        self._from = warm_up
        self._until = warm_up + seconds - _LAST_LOOK
        self._began = 0.0
        self._first: Usage | None = None
        self._last: Usage | None = None

    def __call__(self) -> None:
        """Called again and again, from the first request on."""
        now = monotonic()
        self._began = self._began or now
        if self._first is None:
            if now - self._began >= self._from:
                self._first = observe(self._pid)
        elif now - self._began >= self._until:
            self._last = observe(self._pid)

    def looks(self) -> tuple[Usage, Usage]:
        """The first and the last."""
        last = self._last or observe(self._pid)
        return self._first or last, last


def _status(server: Server) -> dict[str, Any]:
    if not server.is_alive:
        raise LabError(f"it crashed: {server.last_words()}")
    return server.status()


def _between(before: dict[str, Any], after: dict[str, Any], name: str) -> dict[str, float]:
    """The percentiles, in seconds, of what was counted between two looks at the scoreboard; empty: nothing.

    Where there is a balancer requests wait there, in its one queue.
    """
    at = "balancer" if before["balancer"] and after["balancer"] and name == "queue_wait" else "total"
    first, second = before[at]["histograms"][name], after[at]["histograms"][name]
    counts = [max(0, b - a) for a, b in zip(first, second, strict=True)]
    return {label: quantile(counts, SHARES[label]) for label in _COUNTED} if any(counts) else {}


def _look_for_faults(
    server: Server,
    clients: int,
    result: LoadResult,
    before: dict[str, Any],
    after: dict[str, Any],
    timeout: float,
) -> None:
    """Raise LabError for what makes a figure worthless."""
    if _workers(before) != _workers(after):
        raise LabError(f"a worker died with {clients} clients: {_death(server)}")
    if not result.good and not is_settled(clients, result):
        failed = ", ".join(f"{count} {what}" for what, count in result.errors.items())
        statuses = ", ".join(f"{count} answers of {status}" for status, count in sorted(result.statuses.items()))
        why = statuses or failed or f"none within {result.seconds:.3g} s"
        raise LabError(f"no good answer with {clients} clients: {why}")
    wrong = sum(count for status, count in result.statuses.items() if status >= 500 and status != 503)
    total = sum(result.statuses.values())
    if wrong > _WRONG * total:
        raise LabError(f"{wrong / total:.0%} of the answers with {clients} clients are faults (500 and above)")


def _workers(status: dict[str, Any]) -> set[int]:
    return {each["pid"] for each in status["workers"]}


def _death(server: Server) -> str:
    """The line of the log that says how a worker ended."""
    lines = [line for line in server.log.splitlines() if " died" in line or " ended " in line or "killed" in line]
    return lines[0].partition(" ERROR ")[2] or lines[0] if lines else server.last_words()
