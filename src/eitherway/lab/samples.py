"""What one configuration did under one load in one round, and how the rounds become a point. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median

from eitherway.lab.load import LoadResult
from eitherway.lab.results import PERCENTILES, Cost, Interval, Point
from eitherway.lab.stats import interval

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
SETTLED = 0.8  # of the clients must be accounted for by Little's law
_RATIOS = ("cores", "lost")
_PER_REQUEST = ("cpu_user", "cpu_system", "switches_voluntary", "switches_forced")


@dataclass(frozen=True, slots=True)
class Sample:
    """One round's window."""

    concurrency: int
    result: LoadResult
    cost: Cost
    waited: float = 0.0  # seconds from the first request until the window began

    @property
    def answered(self) -> int:
        return sum(self.result.statuses.values())

    @property
    def settled(self) -> bool:
        return self.result.client_limited or (is_settled(self.concurrency, self.result) and self._had_turns)

    @property
    def _had_turns(self) -> bool:
        """Every client can have been answered, before the window or in it. A line may look settled while it fills."""
        return self.answered * max(1.0, self.waited / self.result.seconds) >= self.concurrency


def is_settled(clients: int, result: LoadResult) -> bool:
    """Whether the window shows the queue as it stays: by Little's law, clients = throughput * latency.

    Where the queue was still filling, those who wait longest have no answer yet, and latencies look short.
    """
    if not result.histogram.count or not result.seconds:
        return False
    return result.histogram.count / result.seconds * result.histogram.mean >= SETTLED * clients


def point_of(samples: Sequence[Sample]) -> Point:
    """The point that the rounds of one load make. Latencies are of the settled rounds alone."""
    settled = [each for each in samples if each.settled]
    throughput = interval([each.result.throughput for each in samples])
    statuses: Counter[int] = Counter()
    errors: Counter[str] = Counter()
    for each in samples:
        statuses.update(each.result.statuses)
        errors.update(each.result.errors)
    clients = samples[0].concurrency
    note = ""
    if settled:
        latency = {name: _percentile(settled, name) for name in PERCENTILES}
        mean = median(each.result.histogram.mean for each in settled)
    else:
        # Who waits in a line of one length waits the same time, all of them.
        mean = clients / throughput.middle if throughput.middle else 0.0
        latency = {name: Interval(mean, mean, mean) for name in PERCENTILES}
        note = "the queue did not settle in the time: the latency is clients / throughput, not measured"
    return Point(
        concurrency=clients,
        throughput=throughput,
        latency=latency,
        mean_latency=mean,
        histogram=_merged(settled),
        requests=sum(each.answered for each in samples),
        statuses=dict(statuses),
        errors=dict(errors),
        client_limited=2 * sum(each.result.client_limited for each in samples) > len(samples),
        cost=_mean_cost(samples),
        note=note,
    )


def _percentile(samples: Sequence[Sample], name: str) -> Interval:
    return interval([each.result.histogram.quantile(SHARES[name]) for each in samples])


def _merged(samples: Sequence[Sample]) -> tuple[tuple[float, int], ...]:
    counts: Counter[float] = Counter()
    for each in samples:
        for bound, count in each.result.histogram.buckets():
            counts[bound] += count
    return tuple(sorted((bound, count) for bound, count in counts.items() if count))


def _mean_cost(samples: Sequence[Sample]) -> Cost:
    """Per request: over all requests. All else: the median of the rounds."""
    total = sum(each.answered for each in samples) or 1
    found: dict[str, float | int | Mapping[str, float]] = {}
    for name in (field.name for field in fields(Cost)):
        values = [getattr(each.cost, name) for each in samples]
        if name in _PER_REQUEST:
            found[name] = sum(v * each.answered for v, each in zip(values, samples, strict=True)) / total
        elif name in ("queue_wait", "loop_lag"):
            found[name] = {key: median(v.get(key, 0.0) for v in values) for key in (values[0] if values else {})}
        else:
            found[name] = median(values) if name in _RATIOS else int(median(values))
    return Cost(**found)  # type: ignore[arg-type]
