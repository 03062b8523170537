"""Charts in rows, one for each configuration: bars, stacked bars, distributions. The name stands above its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

from eitherway.lab.report.charts import Axis, Frame, drawing, marker, shortened, text, x_axis
from eitherway.lab.report.markup import Markup, plain, tag
from eitherway.lab.report.scales import Logarithmic

_HEAD = 20.0  # the line with the name
_BAR = 18.0
_GAP = 16.0
_HILL = 42.0  # the height of a distribution
_VISIBLE = 0.2  # a shorter bar is none
_BINS = 90
_SEEN = 0.004  # a lower part of a hill is flat to the eye
_TEXT = 8.3
_SAID = 7.4  # of a letter, in a longer text
_STEP = 1.13  # a bucket of the load generator is not wider than this, where its neighbours do not say


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration. `said` stands at the right end of the line with the name."""

    number: int
    slot: int
    label: str
    said: str
    values: tuple[float, ...]  # of a bar one, of a stacked bar its parts
    inside: tuple[str, ...] = ()  # what stands in each part, where there is room


def bar_chart(width: float, label: str, rows: Sequence[Row]) -> Markup:
    """Lengths beside one another: the longest fills the width."""
    longest = max((row.values[0] for row in rows), default=0.0) or 1.0
    return _rows(width, label, rows, lambda row, top: [_part("whole", 0, row.values[0] / longest * width, top)])


def stacked_chart(width: float, label: str, rows: Sequence[Row], names: Sequence[str]) -> Markup:
    """Shares of a whole: every bar fills the width. The names are the parts' classes."""

    def parts(row: Row, top: float) -> list[Markup]:
        whole, start, found = sum(row.values) or 1.0, 0.0, []
        for name, value, inside in zip(names, row.values, row.inside, strict=True):
            length = value / whole * width
            found.append(_part(name, start, length, top))
            if length > len(inside) * _TEXT + 12:
                found.append(_inside(name, start + length / 2, top, inside))
            start += length
        return found

    return _rows(width, label, rows, parts)


def _rows(width: float, label: str, rows: Sequence[Row], draw: Callable[[Row, float], list[Markup]]) -> Markup:
    height = _HEAD + _BAR + _GAP
    frame = Frame(width, max(1.0, len(rows) * height - _GAP + 2), 0, 0)
    content = [
        tag("g", _name(row, width, index * height), draw(row, index * height + _HEAD), **_identity(row))
        for index, row in enumerate(rows)
    ]
    at = ",".join(plain(index * height + height / 2) for index in range(len(rows)))
    return drawing(frame, label, content, data_axis="y", data_at=at)


def _part(name: str, start: float, length: float, top: float) -> Markup:
    if length < _VISIBLE:
        return Markup()
    box = tag("rect", x=start, y=top, width=length, height=_BAR, class_=f"part {name}")
    if name != "queue":
        return box
    return tag("g", box, tag("rect", x=start, y=top, width=length, height=_BAR, class_="hatch"))


def _inside(name: str, middle: float, top: float, said: str) -> Markup:
    """A share, written into its part; on stripes it stands on a plate."""
    width = len(said) * _TEXT + 8
    plate = (
        tag("rect", x=middle - width / 2, y=top, width=width, height=_BAR, class_="plate") if name == "queue" else None
    )
    return tag("g", plate, text(middle, top + _BAR - 4.5, said, f"in on-{name}"))


def _name(row: Row, width: float, top: float) -> Markup:
    room = width - 30 - len(row.said) * _SAID
    return tag(
        "g",
        marker(row.slot, 6, top + 9),
        text(18, top + 13, shortened(row.label, room), class_="name"),
        text(width, top + 13, row.said, "said"),
    )


def _identity(row: Row) -> dict[str, object]:
    return {"class_": f"row s{row.slot}", "data_n": row.number}


# ---- distributions ----


@dataclass(frozen=True, slots=True)
class Hill:
    """How one configuration's latencies lie."""

    row: Row
    histogram: tuple[tuple[float, int], ...]  # (upper bound, count), rising
    marks: tuple[float, ...]  # drawn as upright lines: the median first


def distribution_chart(width: float, label: str, hills: Sequence[Hill], scale: Logarithmic, axis: Axis) -> Markup:
    """One hill below the other, over one logarithmic axis; each as high as its row."""
    height = _HEAD + _HILL + _GAP / 2
    frame = Frame(width, len(hills) * height + 48, 4, 4, top=0, bottom=46)
    content = [_hill(frame, hill, scale, index * height) for index, hill in enumerate(hills)]
    return drawing(
        frame,
        label,
        x_axis(frame, axis, grid=True),
        content,
        tag("line", class_="cross", y1=0, y2=frame.y(0)),
        data_axis="x",
        data_at=",".join(plain(frame.x(scale.share(at))) for at in stations(scale)),
    )


def stations(scale: Logarithmic, count: int = 25) -> list[float]:
    """The latencies at which a distribution can be read: evenly along the axis."""
    return [exp(log(scale.low) + log(scale.high / scale.low) * index / (count - 1)) for index in range(count)]


def below(histogram: Sequence[tuple[float, int]], latency: float) -> float:
    """The share of requests that took no longer; inside a bucket, in proportion."""
    total = sum(count for _, count in histogram)
    seen = 0.0
    for low, high, count in _buckets(histogram):
        if high <= latency:
            seen += count
        elif low < latency:
            seen += count * log(latency / low) / log(high / low)
    return seen / total if total else 0.0


def _hill(frame: Frame, hill: Hill, scale: Logarithmic, top: float) -> Markup:
    base = top + _HEAD + _HILL
    heights = _density(hill.histogram, scale)
    seen = [index for index, share in enumerate(heights) if share > _SEEN]
    outline = range(max(0, seen[0] - 1), min(_BINS, seen[-1] + 2)) if seen else range(0)
    points = "L".join(f"{frame.x((i + 0.5) / _BINS):.0f} {plain(base - heights[i] * _HILL)}" for i in outline)
    marks = [(frame.x(min(1.0, max(0.0, scale.share(mark)))), "mark late" if index else "mark")
             for index, mark in enumerate(hill.marks) if mark > 0]  # fmt: skip
    return tag(
        "g",
        tag("path", d=f"M{points}", class_="hill") if points else None,
        [tag("line", x1=at, x2=at, y1=base - _HILL + 4, y2=base, class_=kind) for at, kind in marks],
        tag("line", x1=frame.x(0), x2=frame.x(1), y1=base, y2=base, class_="base"),
        _name(hill.row, frame.width - 2, top),
        **_identity(hill.row),
    )


def _density(histogram: Sequence[tuple[float, int]], scale: Logarithmic) -> list[float]:
    """The counts over equal steps of the axis, smoothed a little; the highest is 1."""
    bins = [0.0] * _BINS
    for low, high, count in _buckets(histogram):
        first, last = scale.share(low) * _BINS, scale.share(high) * _BINS
        for index in range(max(0, int(first)), min(_BINS, int(last) + 1)):
            overlap = min(last, index + 1) - max(first, index)
            bins[index] += count * max(0.0, overlap) / max(last - first, 1e-9)
    padded = [0.0, *bins, 0.0]
    smooth = [(padded[i - 1] + 2 * padded[i] + padded[i + 1]) / 4 for i in range(1, _BINS + 1)]
    highest = max(smooth) or 1.0
    return [value / highest for value in smooth]


def _buckets(histogram: Sequence[tuple[float, int]]) -> list[tuple[float, float, int]]:
    """(lower, upper, count). Empty buckets are not kept, so a lower bound is guessed from how close they stand."""
    uppers = [upper for upper, _ in histogram if upper > 0]
    steps = [b / a for a, b in pairwise(uppers) if b > a]
    step = max(1.01, min(_STEP, min(steps, default=_STEP) ** 2))
    found, previous = [], 0.0
    for upper, count in histogram:
        if upper > 0:
            found.append((max(previous, upper / step), upper, count))
            previous = upper
    return found
