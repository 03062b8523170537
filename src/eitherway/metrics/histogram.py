"""How long things took: counts in log-linear buckets, four to each doubling, so that a value is known within a fifth.

Pure arithmetic. Who counts keeps a list of `BUCKETS` numbers and adds one at `bucket_of`.
"""

from __future__ import annotations

from collections.abc import Sequence

BUCKETS = 96  # from 16 microseconds to about two minutes; what is longer counts in the last
_UNIT = 62500.0  # buckets begin at 1/62500 s = 16 microseconds
_TOP = BUCKETS - 1


def bucket_of(seconds: float) -> int:
    """The bucket in which a duration counts."""
    units = int(seconds * _UNIT)
    if units < 4:
        return units if units > 0 else 0
    octave = units.bit_length() - 3
    bucket = (octave << 2) + (units >> octave)
    return bucket if bucket < _TOP else _TOP


def lower_bound(bucket: int) -> float:
    """The shortest duration, in seconds, that counts in a bucket."""
    if bucket < 8:
        return bucket / _UNIT
    octave, part = (bucket >> 2) - 1, (bucket & 3) + 4
    return float((part << octave) / _UNIT)


def quantile(counts: Sequence[int], share: float) -> float:
    """The duration, in seconds, that `share` (0 to 1) of the counted ones do not exceed; 0 where none was counted."""
    wanted = share * sum(counts)
    if not wanted:
        return 0.0
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return (lower_bound(bucket) + lower_bound(bucket + 1)) / 2
    return lower_bound(_TOP)
