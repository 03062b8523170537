"""Figures as people read them, and places on an axis."""

from __future__ import annotations

import json
from itertools import pairwise

import comparisons
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.lab import units
from eitherway.lab.report.bars import below
from eitherway.lab.report.markup import Markup, plain, tag
from eitherway.lab.report.scales import Linear, Logarithmic, spread
from eitherway.lab.results import as_json, comparison_from_json

POSITIVE = st.floats(1e-6, 1e9)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.0521, "0.0521"), (1, "1"), (19.84, "19.8"), (99.96, "100"), (1943.2, "1,943"), (float("nan"), "–")],
)
def test_numbers(value: float, said: str) -> None:
    assert units.number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (2e-8, "20 ns"), (0.00083, "830 µs"), (0.05, "50 ms"), (0.9999, "1 s"), (56.56, "56.6 s")],
)
def test_durations(seconds: float, said: str) -> None:
    assert units.duration(seconds) == said


def test_sizes_shares_and_times() -> None:
    assert (units.size(0), units.size(512), units.size(43_000_000), units.size(2.5e9)) == (
        "0 B",
        "512 B",
        "43 MB",
        "2.5 GB",
    )
    assert [units.percent(share) for share in (0, 0.0004, 0.042, 0.42, 1.5)] == ["0 %", "0 %", "4.2 %", "42 %", "150 %"]
    assert [units.times(ratio) for ratio in (1.4, 2.0, 3.0, 121.3)] == ["1.4 times", "twice", "3 times", "121 times"]
    assert [units.clients(count) for count in (1, 1000)] == ["1 client", "1,000 clients"]


def test_lists_of_names() -> None:
    assert units.listing([]) == "" and units.listing(["a"]) == "a" and units.listing(["a", "b", "c"]) == "a, b and c"
    assert units.listing([*"abcdefg"]) == "a, b, c, d and three others"
    assert units.listing(["threads, 8", "gevent", "sync"]) == "threads, 8; gevent and sync"


# ---- scales ----


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_scales_hold_their_values_and_have_round_ticks(values: list[float]) -> None:
    for scale in (Linear.over(values), Logarithmic.over(values)):
        assert all(-1e-6 <= scale.share(value) <= 1 + 1e-6 for value in values)
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 18 and list(ticks) == sorted(ticks)
        assert all(f"{tick:e}"[0] in "1234567890" and -1e-6 <= scale.share(tick) <= 1 + 1e-6 for tick in ticks)
    for tick in Logarithmic.over(values).ticks():
        assert f"{tick:.3e}".split("e")[0] in ("1.000", "2.000", "5.000")


def test_scales_of_nothing_and_of_one_value() -> None:
    assert Linear.over([]).ticks() == Linear.over([0.0]).ticks() == (0.0, 0.5, 1.0)
    assert Logarithmic.over([]).ticks() and Logarithmic.over([0.0]).ticks()
    assert Logarithmic.at([16]).share(16) == 0.5
    assert Logarithmic.over([10.0]).share(10.0) == pytest.approx(0.5)


@given(st.lists(st.floats(0, 300), max_size=8))
def test_labels_are_moved_apart_inside_the_bounds(wanted: list[float]) -> None:
    places = spread(wanted, 15, 0, 300)
    assert all(0 <= place <= 300 for place in places)
    ordered = sorted(places)
    assert all(b - a >= 15 - 1e-6 for a, b in pairwise(ordered))
    assert [p for _, p in sorted(zip(wanted, places, strict=True), key=lambda each: each[0])] == ordered


def test_labels_with_room_stay_where_they_want() -> None:
    assert spread([200, 10, 100], 15, 0, 300) == [200, 10, 100]


def test_the_share_below_a_latency() -> None:
    histogram = ((0.1, 10), (0.2, 30), (0.4, 60))
    assert [below(histogram, at) for at in (0.05, 0.1, 0.2, 1.0)] == [0.0, 0.1, 0.4, 1.0]
    assert 0.4 < below(histogram, 0.39) < 1.0
    assert below((), 1.0) == 0.0


# ---- markup ----


def test_markup_escapes_text_and_attributes() -> None:
    assert tag("p", "<b> & co", title='"<x>"') == '<p title="&quot;&lt;x&gt;&quot;">&lt;b&gt; &amp; co</p>'
    assert tag("p", Markup("<b>bold</b>"), None, ["x", ["y"]]) == "<p><b>bold</b>xy</p>"
    assert tag("input", type="radio", checked=True, id=None) == '<input type="radio" checked>'
    assert tag("rect", x=1.0, y=-0.04, class_="a", data_n=3) == '<rect x="1" y="0" class="a" data-n="3"/>'
    assert [plain(value) for value in (10.0, 10.04, -3.25, -0.01)] == ["10", "10", "-3.2", "0"]


# ---- the way through JSON ----


@pytest.mark.parametrize("name", comparisons.SAMPLES)
def test_a_comparison_comes_back_from_json(name: str) -> None:
    made = comparisons.SAMPLES[name]()
    assert comparison_from_json(json.loads(json.dumps(as_json(made)))) == made
