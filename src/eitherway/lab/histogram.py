"""How long answers took: counts in buckets, 64 to each doubling, so that a value is known within one percent.

Finer than the scoreboard's (metrics.histogram), and grown as needed. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_UNITS = 1e6  # a second; buckets count microseconds
_BITS = 6  # 2 ** _BITS buckets to each doubling
BUCKETS = 2048  # the last one begins after 37 hours


def bucket_of(seconds: float) -> int:
    """The bucket in which a duration counts."""
    units = max(0, int(seconds * _UNITS))
    shift = units.bit_length() - _BITS - 1
    if shift <= 0:
        return units
    bucket = (shift << _BITS) + (units >> shift)
    return bucket if bucket < BUCKETS else BUCKETS - 1


def bounds(bucket: int) -> tuple[float, float]:
    """The durations, in seconds, that count in a bucket: from, and below."""
    shift = max(0, (bucket >> _BITS) - 1)
    units = bucket - (shift << _BITS)
    return (units << shift) / _UNITS, ((units + 1) << shift) / _UNITS


class Histogram:
    """Counted durations, in seconds."""

    __slots__ = ("counts", "highest", "total")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.total = 0.0  # seconds, of all together
        self.highest = 0.0

    @classmethod
    def of(cls, durations: Iterable[float]) -> Histogram:
        histogram = cls()
        for seconds in durations:
            histogram.record(seconds)
        return histogram

    def record(self, seconds: float) -> None:
        """Count a duration. Negative ones count as none."""
        self.counts[bucket_of(seconds)] += 1
        self.total += seconds
        if seconds > self.highest:
            self.highest = seconds

    def merge(self, other: Histogram) -> None:
        """Count what `other` has counted, too."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        self.highest = max(self.highest, other.highest)

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """In seconds; 0 where nothing was counted."""
        count = self.count
        return self.total / count if count else 0.0

    def quantile(self, share: float) -> float:
        """The duration, in seconds, that `share` (0 to 1) of the counted ones do not exceed; 0 where none was."""
        wanted = share * self.count
        if not wanted:
            return 0.0
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                low, high = bounds(bucket)
                return min((low + high) / 2, self.highest)
        return self.highest

    def buckets(self) -> tuple[tuple[float, int], ...]:
        """(upper bound in seconds, count), the empty ones left out."""
        return tuple((bounds(bucket)[1], count) for bucket, count in enumerate(self.counts) if count)

    # -- between processes ----------------------------------------------------------------------------------

    def pack(self) -> list[float]:
        """As numbers for JSON: the sum, the highest, then bucket and count in turns."""
        return [self.total, self.highest, *self._pairs()]

    def _pairs(self) -> Iterator[int]:
        for bucket, count in enumerate(self.counts):
            if count:
                yield bucket
                yield count

    @classmethod
    def unpack(cls, packed: list[float]) -> Histogram:
        histogram = cls()
        histogram.total, histogram.highest = packed[:2]
        for bucket, count in zip(packed[2::2], packed[3::2], strict=True):
            histogram.counts[int(bucket)] = int(count)
        return histogram
