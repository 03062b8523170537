"""The figures with lines over the number of clients: throughput, latency, memory; theory beside measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from eitherway.lab import findings
from eitherway.lab.report.bars import Row, bar_chart
from eitherway.lab.report.charts import Axis, Curve, Dot, Frame, Line, fitted, line_chart
from eitherway.lab.report.figures import NARROW, WIDE, Figure, Member, Panel, Said
from eitherway.lab.report.markup import Markup
from eitherway.lab.report.scales import Linear, Logarithmic
from eitherway.lab.results import Comparison, Interval, Point
from eitherway.lab.units import clients, duration, number, size

_WIDE_FRAME = Frame(WIDE, 430, 66, 252, inset=18)
_NARROW_FRAME = Frame(NARROW, 330, 62, 86, inset=10)
_LOG_FROM = 20.0  # where the highest throughput is so many times the lowest, a logarithmic axis comes first
_ABOVE = 1.3  # what theory says may lift an axis to so many times what was measured
_PERCENTILES = {
    "p50": "half of the requests were faster (p50)",
    "p90": "9 of 10 requests were faster (p90)",
    "p99": "99 of 100 requests were faster (p99)",
    "p99.9": "999 of 1,000 requests were faster (p99.9)",
}
_BY_LOAD = "clients at the same time"
_BAND = ("band", "95 % interval: where the median lies, as the rounds differ")
_THEORY = ("dashed", "what theory predicts")

Told = Callable[[Point], tuple[str, str]]  # what hovering says of a point: its value, and more


def throughput(comparison: Comparison, members: Sequence[Member]) -> Figure:
    measured = [p.throughput for m in members for p in m.points]
    predicted = [rate for m in members for _, rate in _predicted(m, "throughput")]
    top = _ABOVE * max((each.high for each in measured), default=0.0)
    values = [*(end for each in measured for end in (each.low, each.high)), *(v for v in predicted if v <= top)]
    title = "requests a second"
    scales = (
        ("ordinary axis", Axis(Linear.over(values), title, number)),
        ("logarithmic axis", Axis(Logarithmic.over(values), f"{title}; equal steps multiply", number)),
    )
    finding = findings.of_throughput(comparison)
    panels = [_panel(members, name, "Throughput", y, _rates, _rate_told, finding) for name, y in scales]
    name, question = "throughput", "How many requests are answered?"
    if not _over_loads(members):
        return Figure(name, question, "Requests a second, and the interval: longer is better.", tuple(panels[:1]))
    keys = [_BAND, *([_THEORY] if predicted else []), ("ring", "full: more clients bring nothing")]
    if any(p.client_limited for m in members for p in m.points):
        keys.append(("hollow", "the measuring client was the limit: not used in the verdict"))
    middles = [each.middle for each in measured if each.middle > 0]
    first = 1 if middles and max(middles) > _LOG_FROM * min(middles) else 0
    about = "To the right there are more clients at the same time. A line that rises has room left; a flat one is full."
    return Figure(name, question, about, tuple(panels), first, tuple(keys))


def latency(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    """None where no percentile was kept."""
    there = {name: each for m in members for p in m.points for name, each in p.latency.items()}
    names = [name for name in _PERCENTILES if name in there]
    spans = [p.latency[name] for m in members for p in m.points for name in names if name in p.latency]
    scale = Logarithmic.over([end for span in spans for end in (span.low, span.high)])
    finding = findings.of_latency(comparison)

    def panel(name: str, second: str = "") -> Panel:
        choice = f"{name} and {second}" if second else name
        y = Axis(scale, f"{name}; {second} dotted" if second else _PERCENTILES[name], duration)
        curve, told = partial(_percentiles, name, second), partial(_latency_told, name, second)
        return _panel(members, choice, "Latency", y, curve, told, finding)

    panels = [panel("p50", "p99")] if {"p50", "p99"} <= set(names) else []
    panels += [panel(name) for name in names]
    if any(_predicted(m, "latency") for m in members):
        means = Logarithmic.over([p.mean_latency for m in members for p in m.points])
        y = Axis(means, "mean of all requests", duration)
        panels.append(_panel(members, "mean, with theory", "Mean latency", y, _means, _mean_told, finding))
    about = (
        "Less is better. The median (p50) is the usual request; p99 is the slow one in a hundred that somebody gets."
    )
    keys = [("line", "p50, or what is chosen"), ("dotted", "p99"), _BAND] if _over_loads(members) else []
    if any(p.note for m in members for p in m.points):
        keys.append(("hollow", "reckoned, not measured: see the notes"))
    return (
        [Figure("latency", "How long does a request take?", about, tuple(panels), keys=tuple(keys))] if panels else []
    )


def memory(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    """None where memory is not known."""
    taken = [findings.memory(p) for m in members for p in m.points]
    if not any(taken):
        return []
    y = Axis(Linear.over(taken), "memory of all the server's processes", size)
    panel = _panel(members, "", "Memory", y, _sizes, _size_told, findings.of_memory(comparison))
    about = "Each request needs a process, a thread, a greenlet or a task; all of them cost memory, but not the same."
    return [Figure("memory", "How much memory does it take?", about, (panel,))]


def _panel(
    members: Sequence[Member],
    choice: str,
    what: str,
    y: Axis,
    curve: Callable[[Member], Curve],
    told: Told,
    finding: str,
) -> Panel:
    curves = [(member, curve(member)) for member in members]
    loads = sorted({int(dot.x) for _, drawn in curves for dot in drawn.dots})
    said = {load: _said(load, curves, told) for load in loads}
    if len(loads) == 1:
        return _bars(choice, f"{what} at {clients(loads[0])}", loads[0], curves, said[loads[0]], finding)
    x = Axis(Logarithmic.at(loads), _BY_LOAD, number)

    def chart(frame: Frame, labels: Sequence[str]) -> Markup:
        lines = [Line(m.number, m.slot, label, drawn) for (m, drawn), label in zip(curves, labels, strict=True)]
        return line_chart(fitted(frame, labels), f"{what} over {_BY_LOAD}", lines, x, y)

    wide, narrow = chart(_WIDE_FRAME, [m.short for m in members]), chart(_NARROW_FRAME, [m.shortest for m in members])
    return Panel(choice, wide, narrow, finding, [clients(load) for load in loads], list(said.values()))


def _said(load: int, curves: Sequence[tuple[Member, Curve]], told: Told) -> Said:
    """What hovering tells at a load, in the order of the lines, the upmost first."""
    here = [(-dot.y, m) for m, drawn in curves for dot in drawn.dots if dot.x == load]
    here.sort(key=lambda each: each[0])
    return [(m.number, *told(p)) for _, m in here if (p := m.configuration.at(load))]


def _bars(
    choice: str, label: str, load: int, curves: Sequence[tuple[Member, Curve]], said: Said, finding: str
) -> Panel:
    """Of a single load there is no line to draw."""
    values = {number: (value, more) for number, value, more in said}
    here = [(m, drawn.dots[0].y) for m, drawn in curves if m.number in values]

    def chart(width: float) -> Markup:
        wide = width == WIDE
        rows = [Row(m.number, m.slot, m.title(wide), " · ".join(filter(None, values[m.number])), (y,)) for m, y in here]
        return bar_chart(width, label, rows)

    told: list[Said] = [[(m.number, *values[m.number])] for m, _ in here]
    return Panel(choice, chart(WIDE), chart(NARROW), finding, [clients(load)] * len(here), told)


def _over_loads(members: Sequence[Member]) -> bool:
    return len({p.concurrency for m in members for p in m.points}) > 1


# ---- curves of one configuration, and what hovering tells of one point ----


def _rates(member: Member) -> Curve:
    dots = tuple(_dot(p, p.throughput) for p in member.points)
    return Curve(dots, dashed=_predicted(member, "throughput"), ring=findings.saturation(member.configuration))


def _rate_told(point: Point) -> tuple[str, str]:
    return number(point.throughput.middle), f"{number(point.throughput.low)} to {number(point.throughput.high)}"


def _percentiles(name: str, second: str, member: Member) -> Curve:
    dots = tuple(_reckoned(p, p.latency[name]) for p in member.points if name in p.latency)
    late = tuple((p.concurrency, p.latency[second].middle) for p in member.points if second in p.latency)
    return Curve(dots, dotted=late)


def _latency_told(name: str, second: str, point: Point) -> tuple[str, str]:
    span = point.latency[name]
    if second in point.latency:
        return duration(span.middle), f"{second} {duration(point.latency[second].middle)}"
    return duration(span.middle), f"{duration(span.low)} to {duration(span.high)}"


def _means(member: Member) -> Curve:
    dots = tuple(_reckoned(p, Interval(*[p.mean_latency] * 3)) for p in member.points)
    return Curve(dots, dashed=_predicted(member, "latency"))


def _mean_told(point: Point) -> tuple[str, str]:
    return duration(point.mean_latency), ""


def _sizes(member: Member) -> Curve:
    return Curve(tuple(_exactly(p, findings.memory(p)) for p in member.points if findings.memory(p)))


def _size_told(point: Point) -> tuple[str, str]:
    return size(findings.memory(point)), f"processes {point.cost.processes:,}, threads {point.cost.threads:,}"


def _dot(point: Point, value: Interval) -> Dot:
    return Dot(point.concurrency, value.middle, value.low, value.high, point.client_limited)


def _reckoned(point: Point, value: Interval) -> Dot:
    """A latency: with a note, it was not measured."""
    return replace(_dot(point, value), hollow=point.client_limited or bool(point.note))


def _exactly(point: Point, value: float) -> Dot:
    return Dot(point.concurrency, value, value, value, point.client_limited)


def _predicted(member: Member, what: str) -> tuple[tuple[float, float], ...]:
    """What theory says of the loads that were measured."""
    theory = member.configuration.prediction
    values: Mapping[int, float] = getattr(theory, what) if theory else {}
    measured = {p.concurrency for p in member.points}
    return tuple(sorted((load, value) for load, value in values.items() if load in measured))
