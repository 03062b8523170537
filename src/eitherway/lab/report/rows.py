"""The figures with a row for each configuration: how latencies lie, where time goes, what a core and memory yield."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eitherway.lab import findings
from eitherway.lab.report.bars import Hill, Row, bar_chart, below, distribution_chart, stacked_chart, stations
from eitherway.lab.report.charts import Axis
from eitherway.lab.report.figures import HALF, NARROW, WIDE, Figure, Member, Panel, Said, choice_of_loads, first_load
from eitherway.lab.report.markup import Markup
from eitherway.lab.report.scales import Logarithmic
from eitherway.lab.results import Comparison, Point
from eitherway.lab.units import clients, duration, number, percent

_PARTS = (("queue", "in line"), ("cpu", "computing"), ("waiting", "waiting"))
_NEARLY_ALL = 0.999  # of the requests: a distribution's axis ends there


def distribution(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    """None where no histogram was kept."""
    loads = choice_of_loads(p for m in members for p in m.points if p.histogram)
    if not loads:
        return []
    about = (
        "Each hill is all requests to one server: where it is high, many took that long. A narrow hill is fair to all."
    )
    if len(set(comparison.requests)) > 1:
        about += " Targets that take different times make hills of their own."
    return [
        Figure(
            "distribution",
            "Are all requests treated alike?",
            about,
            tuple(_distribution_at(load, comparison, members) for load in loads),
            first_load(comparison, loads),
            (("mark", "p50: half were faster"), ("late", "p99: 99 of 100 were faster")),
        )
    ]


def _distribution_at(load: int, comparison: Comparison, members: Sequence[Member]) -> Panel:
    here = [(m, p) for m in members if (p := m.configuration.at(load)) and p.histogram]
    scale = Logarithmic.over([end for _, p in here for end in _reach(p)])
    axis = Axis(scale, "time until the answer", duration)

    def chart(width: float) -> Markup:
        hills = [Hill(_row(m, width, _percentiles_told(p, width)), p.histogram, _percentiles(p)) for m, p in here]
        return distribution_chart(width, f"Distribution of latencies at {clients(load)}", hills, scale, axis)

    places = stations(scale)
    rows: list[Said] = [[(m.number, percent(below(p.histogram, at)), "") for m, p in here] for at in places]
    heads = [f"answered within {duration(at)}" for at in places]
    return Panel(clients(load), chart(WIDE), chart(NARROW), findings.of_distribution(comparison, load), heads, rows)


def time(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    loads = choice_of_loads(p for m in members for p in m.points if p.mean_latency > 0)
    if not loads:
        return []
    about = (
        "In line: for a free worker, a thread, the CPU or a connection. Computing: the CPU at work. Waiting: for a "
        "database, another service, a timer, as a request also does when it is alone."
    )
    return [
        Figure(
            "time",
            "Where does a request's time go?",
            about,
            tuple(_time_at(load, comparison, members) for load in loads),
            first_load(comparison, loads),
            _PARTS,
        )
    ]


def _time_at(load: int, comparison: Comparison, members: Sequence[Member]) -> Panel:
    at = [(m, p) for m in members if (p := m.configuration.at(load)) and p.mean_latency > 0]
    here = [(m, findings.split(m.configuration, p)) for m, p in at]
    told: list[Said] = [
        [
            (m.number, duration(found.total), ""),
            *((-1, duration(value), name) for value, (_, name) in zip(found.parts, _PARTS, strict=True)),
        ]
        for m, found in here
    ]

    def chart(width: float) -> Markup:
        rows = [
            _row(m, width, duration(found.total), found.parts, tuple(percent(v / found.total) for v in found.parts))
            for m, found in here
        ]
        return stacked_chart(
            width, f"Where a request's time goes at {clients(load)}", rows, [name for name, _ in _PARTS]
        )

    heads = [clients(load)] * len(here)
    return Panel(clients(load), chart(WIDE), chart(NARROW), findings.of_time(comparison, load), heads, told)


def yields(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    """Of a core and of 100 MB, each configuration at the load where it answers most."""
    cores = _yield(members, "cores", "What does one core yield?", findings.per_core, findings.of_cores(comparison),
                   "Requests a second for each core's worth of CPU time, where each answers most.")  # fmt: skip
    room = _yield(members, "room", "What do 100 MB yield?", findings.per_memory, findings.of_memory_yield(comparison),
                  "Requests a second for every 100 MB of memory, where each answers most.")  # fmt: skip
    return [*cores, *room]


def _yield(
    members: Sequence[Member], name: str, title: str, value: Callable[[Point], float], finding: str, about: str
) -> list[Figure]:
    best = [(m, p) for m in members if (p := m.configuration.best or m.points[-1]) and value(p) > 0]
    if not best:
        return []

    def chart(width: float) -> Markup:
        return bar_chart(width, title, [_row(m, width, number(value(p)), (value(p),)) for m, p in best])

    told: list[Said] = [[(m.number, number(value(p)), f"at {clients(p.concurrency)}")] for m, p in best]
    heads = ["requests a second"] * len(best)
    panel = Panel("", chart(HALF), chart(NARROW), finding, heads, told)
    return [Figure(name, title, about, (panel,), half=True)]


def _row(member: Member, width: float, said: str, values: tuple[float, ...] = (), inside: tuple[str, ...] = ()) -> Row:
    return Row(member.number, member.slot, member.title(wide=width != NARROW), said, values, inside)


def _percentiles(point: Point) -> tuple[float, ...]:
    return tuple(point.latency[name].middle for name in ("p50", "p99") if name in point.latency)


def _percentiles_told(point: Point, width: float) -> str:
    """Where there is little room, without their names: the marks have them."""
    found = [(f"{n} " if width != NARROW else "", n) for n in ("p50", "p99") if n in point.latency]
    return " · ".join(head + duration(point.latency[n].middle) for head, n in found)


def _reach(point: Point) -> tuple[float, float]:
    """From the fastest request to the slowest, but for the last thousandth."""
    bounds = [bound for bound, _ in point.histogram if bound > 0]
    total, seen = sum(count for _, count in point.histogram), 0
    for bound, count in point.histogram:
        seen += count
        if seen >= total * _NEARLY_ALL:
            return bounds[0] / 1.15, bound
    return bounds[0] / 1.15, bounds[-1]
