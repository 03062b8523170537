"""Windows of a measurement, made by hand from the latencies that were seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from values import cost

from eitherway.lab.samples import Sample


@dataclass
class Histogram:
    """Exact, where the real one has buckets."""

    values: Sequence[float]

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values) if self.values else 0.0

    def quantile(self, share: float) -> float:
        return sorted(self.values)[max(0, round(share * len(self.values)) - 1)]

    def buckets(self) -> list[tuple[float, int]]:
        return [(each, self.values.count(each)) for each in sorted(set(self.values))]  # type: ignore[attr-defined]


@dataclass
class Window:
    histogram: Histogram
    seconds: float = 1.0
    status: int = 200
    client_limited: bool = False
    errors: Any = None

    def __post_init__(self) -> None:
        self.errors = self.errors or {}
        self.statuses = {self.status: self.histogram.count} if self.histogram.count else {}
        self.good = self.histogram.count if self.status == 200 else 0
        self.throughput = self.good / self.seconds


def sample(clients: int, latencies: Sequence[float], *, spent: Any = None, **more: Any) -> Sample:
    return Sample(clients, Window(Histogram(list(latencies)), **more), spent or cost())  # type: ignore[arg-type]
