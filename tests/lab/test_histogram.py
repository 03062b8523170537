"""The generator's histogram says what the durations themselves say, within one percent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.lab.histogram import BUCKETS, Histogram, bounds, bucket_of

DURATIONS = st.lists(st.floats(1e-6, 600.0), min_size=1, max_size=300)
ERROR = 0.01
MICROSECOND = 1e-6


def exact(durations: list[float], share: float) -> float:
    """The smallest duration that `share` of them do not exceed."""
    return sorted(durations)[max(0, math.ceil(share * len(durations)) - 1)]


@given(DURATIONS, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_percentiles_are_the_exact_ones_within_a_percent(durations: list[float], share: float) -> None:
    said = Histogram.of(durations).quantile(share)
    assert said == pytest.approx(exact(durations, share), rel=ERROR, abs=MICROSECOND)


@given(DURATIONS)
def test_mean_count_and_highest_are_exact(durations: list[float]) -> None:
    histogram = Histogram.of(durations)
    assert histogram.count == sum(count for _, count in histogram.buckets()) == len(durations)
    assert histogram.mean == pytest.approx(sum(durations) / len(durations))
    assert histogram.highest == max(durations)
    assert histogram.quantile(1.0) <= max(durations)


@given(DURATIONS, DURATIONS)
def test_merged_is_counted_together(first: list[float], second: list[float]) -> None:
    merged = Histogram.of(first)
    merged.merge(Histogram.of(second))
    together = Histogram.of([*first, *second])
    assert merged.counts == together.counts
    assert merged.total == pytest.approx(together.total)
    assert Histogram.unpack(merged.pack()).counts == merged.counts


@given(st.integers(0, BUCKETS - 2))
def test_buckets_follow_on_one_another(bucket: int) -> None:
    low, high = bounds(bucket)
    assert low < high == bounds(bucket + 1)[0]
    assert bucket_of((low + high) / 2) == bucket


def test_what_is_out_of_range_counts_at_the_ends() -> None:
    histogram = Histogram.of([-1.0, 0.0, 1e9])
    assert histogram.counts[0] == 2
    assert histogram.counts[-1] == 1
    assert Histogram().quantile(0.5) == Histogram().mean == 0.0
