"""Which charts the page has, and what each shows: a comparison's values, put on axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eitherway.lab import findings
from eitherway.lab.bars import Hill, Row, bar_chart, below, distribution_chart, stacked_chart, stations
from eitherway.lab.charts import Axis, Dot, Frame, Line, fitted, line_chart
from eitherway.lab.markup import Markup
from eitherway.lab.results import Comparison, Configuration, Interval, Point
from eitherway.lab.scales import Linear, Logarithmic
from eitherway.lab.units import clients, duration, number, percent, size

WIDE, HALF, NARROW = 1040.0, 500.0, 358.0

_WIDE_FRAME = Frame(WIDE, 430, 66, 170, inset=18)
_NARROW_FRAME = Frame(NARROW, 330, 52, 74, inset=10)
_WIDE_LABEL, _NARROW_LABEL = 20, 8  # letters that have room at a line's end
_MOST_LOADS = 6
_LOG_FROM = 20.0  # where the highest throughput is so many times the lowest, a logarithmic axis comes first
_ABOVE = 1.3  # what theory says may lift an axis to so many times what was measured
_SLOTS = {"sync": 0, "threads": 1, "gevent": 2, "asyncio": 3, "uvloop": 4}
_PERCENTILES = {
    "p50": "half of the requests were faster (p50)",
    "p90": "9 of 10 requests were faster (p90)",
    "p99": "99 of 100 requests were faster (p99)",
    "p99.9": "999 of 1,000 requests were faster (p99.9)",
}
_BY_LOAD = "clients at the same time"

Said = list[tuple[int, str, str]]  # a configuration's number, its value, more about it


@dataclass(frozen=True, slots=True)
class Member:
    """A configuration as the charts show it."""

    number: int
    slot: int  # of colour and marker
    configuration: Configuration
    letter: str  # where names are too long for a line's end
    short: str
    shortest: str

    @property
    def name(self) -> str:
        return self.configuration.name


@dataclass(frozen=True, slots=True)
class Panel:
    """One view of a figure, drawn for a wide and for a narrow page. `heads` and `rows` are what hovering tells."""

    choice: str
    wide: Markup
    narrow: Markup
    finding: str
    heads: list[str]
    rows: list[Said]


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    title: str
    about: str
    panels: tuple[Panel, ...]
    first: int = 0  # the panel that is shown first
    keys: tuple[tuple[str, str], ...] = ()  # (kind of line, what it means)
    half: bool = False


def cast(comparison: Comparison) -> tuple[Member, ...]:
    """Those shown, with colours: an engine keeps its own wherever it can."""
    chosen = findings.shown(comparison)
    names = [c.name for c in chosen]
    engines = [c.engine for c in chosen]
    unique = len(set(engines)) == len(engines)

    def label(index: int, room: int) -> str:
        if all(len(name) <= room for name in names):
            return names[index]
        return engines[index] if unique and all(len(e) <= room for e in engines) else chr(ord("A") + index)

    free = [slot for slot in range(findings.SHOWN) if slot not in {_SLOTS.get(engine) for engine in engines}]
    slots: list[int] = []
    for engine in engines:
        own = _SLOTS.get(engine)
        slots.append(own if own is not None and own not in slots else free.pop(0))
    labels = [(label(index, _WIDE_LABEL), label(index, _NARROW_LABEL)) for index in range(len(chosen))]
    return tuple(
        Member(i, slots[i], c, labels[i][1] if len(labels[i][1]) == 1 else "", *labels[i]) for i, c in enumerate(chosen)
    )


def figures(comparison: Comparison) -> list[Figure]:
    members = cast(comparison)
    if not members:
        return []
    return [
        _throughput(comparison, members),
        _latency(comparison, members),
        *_distribution(comparison, members),
        *_time(comparison, members),
        *_yields(comparison, members),
        *_memory(comparison, members),
    ]


# ---- lines over the number of clients ----


def _throughput(comparison: Comparison, members: Sequence[Member]) -> Figure:
    def line(member: Member) -> tuple[tuple[Dot, ...], tuple[tuple[float, float], ...], float | None]:
        theory = member.configuration.prediction
        dots = tuple(_dot(p, p.throughput) for p in _points(member))
        return dots, _predicted(member, theory.throughput if theory else {}), findings.saturation(member.configuration)

    measured = [p.throughput for m in members for p in m.configuration.points]
    top = max((i.high for i in measured), default=0.0) * _ABOVE
    theory = [v for m in members if m.configuration.prediction for v in m.configuration.prediction.throughput.values()]
    values = [*(v for i in measured for v in (i.low, i.high)), *(v for v in theory if v <= top)]
    middles = [i.middle for i in measured if i.middle > 0]
    title = "requests a second"
    scales = (
        ("ordinary axis", Axis(Linear.over(values), title, number)),
        ("logarithmic axis", Axis(Logarithmic.over(values), f"{title}, each line ten times the one below", number)),
    )
    finding = findings.of_throughput(comparison)
    panels = tuple(
        _line_panel(members, choice, "Throughput", axis, line, finding, _rate_said) for choice, axis in scales
    )
    keys = [("band", "what 95 of 100 repetitions would give"), ("ring", "saturated: more clients bring nothing")]
    if theory:
        keys.insert(1, ("dashed", "what theory predicts"))
    if any(p.client_limited for m in members for p in m.configuration.points):
        keys.append(("hollow", "the measuring client was the limit: not used in the verdict"))
    return Figure(
        "throughput",
        "How many requests are answered?",
        "More clients at the same time, further to the right. A line that rises still has room; one that is flat is full.",
        panels,
        1 if middles and max(middles) > _LOG_FROM * min(middles) else 0,
        tuple(keys),
    )


def _latency(comparison: Comparison, members: Sequence[Member]) -> Figure:
    everything = [i for m in members for p in m.configuration.points for k, i in p.latency.items() if k in _PERCENTILES]
    scale = Logarithmic.over([v for i in everything for v in (i.low, i.high)])
    finding = findings.of_latency(comparison)

    def of(percentile: str, second: str = "") -> Panel:
        def line(member: Member) -> tuple[tuple[Dot, ...], tuple[tuple[float, float], ...], float | None]:
            dots = tuple(_dot(p, p.latency[percentile]) for p in _points(member) if percentile in p.latency)
            more = tuple((p.concurrency, p.latency[second].middle) for p in _points(member) if second in p.latency)
            return dots, more, None

        def said(point: Point) -> tuple[str, str]:
            values = [f"{name} {duration(point.latency[name].middle)}" for name in (second,) if name in point.latency]
            return duration(point.latency[percentile].middle), ", ".join(values) or _span(point.latency[percentile])

        title = f"p50, and p99 dotted: {_PERCENTILES['p50'].removesuffix(' (p50)')}" if second else _PERCENTILES[percentile]
        axis = Axis(scale, title, duration)
        choice = f"{percentile} and {second}" if second else percentile
        return _line_panel(members, choice, "Latency", axis, line, finding, said, dotted=bool(second))

    names = [name for name in _PERCENTILES if any(name in p.latency for m in members for p in m.configuration.points)]
    pairs = [("p50", "p99")] if {"p50", "p99"} <= set(names) else []
    panels = [of(*pair) for pair in pairs] + [of(name) for name in names] + _mean(members, finding)
    return Figure(
        "latency",
        "How long does a request take?",
        "Lower is better. The median (p50) is the usual request; p99 is the slow one in a hundred that somebody waits for.",
        tuple(panels),
        keys=(("line", "p50"), ("dotted", "p99, where both are shown"), ("band", "what 95 of 100 repetitions would give")),
    )


def _mean(members: Sequence[Member], finding: str) -> list[Panel]:
    """The mean beside its prediction, where there is one."""
    if not any(m.configuration.prediction and m.configuration.prediction.latency for m in members):
        return []

    def line(member: Member) -> tuple[tuple[Dot, ...], tuple[tuple[float, float], ...], float | None]:
        theory = member.configuration.prediction
        dots = tuple(Dot(p.concurrency, *[p.mean_latency] * 3, p.client_limited) for p in _points(member))
        return dots, _predicted(member, theory.latency if theory else {}), None

    scale = Logarithmic.over([p.mean_latency for m in members for p in m.configuration.points])
    axis = Axis(scale, "mean of all requests; dashed: what theory predicts", duration)
    return [_line_panel(members, "mean and theory", "Mean latency", axis, line, finding, lambda p: (duration(p.mean_latency), ""))]


def _memory(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    values = [findings.memory(p) for m in members for p in m.configuration.points]
    if not any(values):
        return []

    def line(member: Member) -> tuple[tuple[Dot, ...], tuple[tuple[float, float], ...], float | None]:
        points = [(p, float(findings.memory(p))) for p in _points(member)]
        return tuple(Dot(p.concurrency, taken, taken, taken) for p, taken in points if taken), (), None

    def said(point: Point) -> tuple[str, str]:
        return size(findings.memory(point)), f"{point.cost.processes} processes, {point.cost.threads} threads"

    axis = Axis(Linear.over(values), "memory of all the server's processes", size)
    panel = _line_panel(members, "", "Memory", axis, line, findings.of_memory(comparison), said)
    about = "A process, a thread, a greenlet or a task for each request: all cost memory, but not the same."
    return [Figure("memory", "How much memory does it take?", about, (panel,))]


Drawn = tuple[tuple[Dot, ...], tuple[tuple[float, float], ...], float | None]


def _line_panel(
    members: Sequence[Member],
    choice: str,
    what: str,
    y: Axis,
    line: Callable[[Member], Drawn],
    finding: str,
    said: Callable[[Point], tuple[str, str]],
    dotted: bool = False,
) -> Panel:
    drawn = [(member, *line(member)) for member in members]
    loads = sorted({int(dot.x) for _, dots, _, _ in drawn for dot in dots})
    x = Axis(Logarithmic.at(loads), _BY_LOAD, number)

    def chart(frame: Frame, wide: bool) -> Markup:
        lines = [
            Line(m.number, m.slot, m.short if wide else m.shortest, dots, () if dotted else more, more if dotted else (), ring)
            for m, dots, more, ring in drawn
        ]
        return line_chart(fitted(frame, [each.label for each in lines]), f"{what} over {_BY_LOAD}", lines, x, y)

    present = {m.number: {dot.x: dot.y for dot in dots} for m, dots, _, _ in drawn}
    rows: list[Said] = []
    for load in loads:
        there = sorted((m for m in members if load in present[m.number]), key=lambda m: -present[m.number][load])
        rows.append([(m.number, *said(p)) for m in there if (p := m.configuration.at(load))])
    return Panel(choice, chart(_WIDE_FRAME, True), chart(_NARROW_FRAME, False), finding, [clients(n) for n in loads], rows)


# ---- rows ----


def _distribution(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    loads = _loads(p for m in members for p in m.configuration.points if p.histogram)
    panels = [_distribution_panel(comparison, members, load) for load in loads]
    if not panels:
        return []
    return [
        Figure(
            "distribution",
            "Are all requests treated alike?",
            "Each hill is all requests to one server: where it is high, many took that long. A narrow hill is fair to all.",
            tuple(panels),
            _first(comparison, loads),
            (("mark", "p50: half were faster"), ("late", "p99: 99 of 100 were faster")),
        )
    ]


def _distribution_panel(comparison: Comparison, members: Sequence[Member], load: int) -> Panel:
    there = [(m, p) for m in members if (p := m.configuration.at(load)) and p.histogram]
    bounds = [bound for _, p in there for bound in _reach(p)]
    axis = Axis(Logarithmic.over(bounds), "time until the answer", duration)
    assert isinstance(axis.scale, Logarithmic)

    def chart(width: float, wide: bool) -> Markup:
        hills = [
            Hill(m.number, m.slot, m.name if wide else _lettered(m), _middle_and_late(p), p.histogram, tuple(
                p.latency[name].middle for name in ("p50", "p99") if name in p.latency))
            for m, p in there
        ]  # fmt: skip
        return distribution_chart(width, f"Distribution of latencies at {clients(load)}", hills, axis)

    finding = findings.of_distribution(comparison, load)
    places = stations(axis.scale)
    rows: list[Said] = [[(m.number, percent(below(p.histogram, at)), "") for m, p in there] for at in places]
    heads = [f"answered within {duration(at)}" for at in places]
    return Panel(clients(load), chart(WIDE, True), chart(NARROW, False), finding, heads, rows)


def _time(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    loads = _loads(p for m in members for p in m.configuration.points if p.mean_latency > 0)
    if not loads:
        return []
    panels = []
    for load in loads:
        there = [(m, findings.split(m.configuration, p)) for m in members if (p := m.configuration.at(load)) and p.mean_latency]
        rows = [
            Row(m.number, m.slot, _lettered(m), duration(part.total), values, tuple(percent(v / part.total) for v in values))
            for m, part in there
            for values in ((part.queue, part.cpu, part.waiting),)
        ]
        finding = findings.of_time(comparison, load)
        label = f"Where a request's time goes at {clients(load)}"
        said: list[Said] = [
            [(m.number, duration(part.total), ""), (-1, duration(part.queue), "in line"),
             (-1, duration(part.cpu), "computing"), (-1, duration(part.waiting), "waiting")]
            for m, part in there
        ]  # fmt: skip
        charts = (stacked_chart(WIDE, label, rows), stacked_chart(NARROW, label, rows))
        panels.append(Panel(clients(load), *charts, finding, [clients(load) for _ in there], said))
    return [
        Figure(
            "time",
            "Where does a request's time go?",
            "In line: for a free worker, a thread, the CPU or a connection. Computing: the CPU at work. Waiting: for a "
            "database, another service, a timer, as it also does when it is alone.",
            tuple(panels),
            _first(comparison, loads),
            (("queue", "in line"), ("cpu", "computing"), ("waiting", "waiting")),
        )
    ]


def _yields(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    """At the load where each answers most."""
    kinds = (
        ("cores", "What does one core yield?", "Requests a second for each core's worth of CPU time that they cost.",
         findings.per_core, findings.of_cores(comparison)),
        ("yield", "What do 100 MB yield?", "Requests a second for every 100 MB of memory, where each answers most.",
         findings.per_memory, findings.of_memory_yield(comparison)),
    )  # fmt: skip
    found = []
    for name, title, about, value, finding in kinds:
        best = [(m, p) for m in members if (p := m.configuration.best or _points(m)[-1]) and value(p) > 0]
        if not best:
            continue
        rows = [Row(m.number, m.slot, _lettered(m), number(value(p)), (value(p),)) for m, p in best]
        said: list[Said] = [[(m.number, number(value(p)), f"at {clients(p.concurrency)}")] for m, p in best]
        charts = bar_chart(HALF, title, rows), bar_chart(NARROW, title, rows)
        panel = Panel("", *charts, finding, ["requests a second" for _ in best], said)
        found.append(Figure(name, title, about, (panel,), half=True))
    return found


# ---- small things ----


def _points(member: Member) -> list[Point]:
    return sorted(member.configuration.points, key=lambda p: p.concurrency)


def _dot(point: Point, value: Interval) -> Dot:
    return Dot(point.concurrency, value.middle, value.low, value.high, point.client_limited)


def _predicted(member: Member, values: object) -> tuple[tuple[float, float], ...]:
    assert hasattr(values, "items")
    loads = {p.concurrency for p in member.configuration.points}
    return tuple(sorted((load, value) for load, value in values.items() if load in loads))


def _loads(points: Iterable[Point]) -> list[int]:
    """Those to choose from: the lowest, the highest, and others evenly between."""
    found = sorted({p.concurrency for p in points})
    if len(found) <= _MOST_LOADS:
        return found
    return [found[round(index * (len(found) - 1) / (_MOST_LOADS - 1))] for index in range(_MOST_LOADS)]


def _first(comparison: Comparison, loads: Sequence[int]) -> int:
    """The highest that is not above the common load."""
    common = findings.common_load(comparison) or 0
    return max((index for index, load in enumerate(loads) if load <= common), default=len(loads) - 1)


def _reach(point: Point) -> tuple[float, float]:
    """From the fastest to the slowest request, but for the last thousandth."""
    bounds = [bound for bound, _ in point.histogram if bound > 0]
    total, seen = sum(count for _, count in point.histogram), 0
    for bound, count in point.histogram:
        seen += count
        if seen >= total * 0.999:
            return bounds[0] / 1.15, bound
    return bounds[0], bounds[-1]


def _middle_and_late(point: Point) -> str:
    return " · ".join(f"{name} {duration(point.latency[name].middle)}" for name in ("p50", "p99") if name in point.latency)


def _lettered(member: Member) -> str:
    return f"{member.letter}  {member.name}" if member.letter else member.name


def _span(interval: Interval) -> str:
    return f"{duration(interval.low)} to {duration(interval.high)}"


def _rate_said(point: Point) -> tuple[str, str]:
    return number(point.throughput.middle), f"{number(point.throughput.low)} to {number(point.throughput.high)}"
