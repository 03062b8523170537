"""The report's tables: who was measured, every figure, theory beside measurement, the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eitherway.lab import findings
from eitherway.lab.report.charts import marker
from eitherway.lab.report.figures import Member
from eitherway.lab.report.markup import Markup, joined, plain, tag
from eitherway.lab.results import Comparison, Configuration, Point, Prediction
from eitherway.lab.stats import USUAL_LOAD
from eitherway.lab.theory import is_less_than_predicted
from eitherway.lab.units import clients, duration, number, percent, size, unbroken

_NONE = "–"
_MOST_ROWS = 240

Column = tuple[str, Callable[[Point], str]]


def contenders(comparison: Comparison, members: Sequence[Member]) -> Markup:
    """A line for each configuration: what its model is, and what it did at the common load, or why it failed."""
    load = findings.common_load(comparison)
    fastest = max((p.throughput.middle for c in comparison.configurations if (p := _at(c, load))), default=0.0)
    by_name = {m.name: m for m in members}
    head = None
    if load is not None:
        titles = ("", f"requests a second at {clients(load)}", "latency p50 · p99", "memory")
        head = tag("li", [tag("span", title) for title in titles], class_="heads", aria_hidden="true")
    engines = [c.engine for c in comparison.configurations]
    rows = [
        _contender(c, by_name.get(c.name), _at(c, load), fastest, new=c.engine not in engines[:index])
        for index, c in enumerate(comparison.configurations)
    ]
    return tag("ul", head, rows, class_="contenders")


def title(member: Member) -> Markup:
    """The name, after its letter; on a wide page only where the wide charts use the letter too."""
    letter = tag("span", member.letter, class_="letter" if member.short == member.letter else "letter on-narrow")
    return joined((letter if member.letter else None, member.name))


def swatch(member: Member | None) -> Markup:
    if member is None:
        return tag("span", class_="swatch")
    return tag("svg", marker(member.slot), viewBox="-7 -7 14 14", class_=f"swatch s{member.slot}", aria_hidden="true")


def _contender(
    configuration: Configuration, member: Member | None, point: Point | None, fastest: float, new: bool
) -> Markup:
    model = findings.model(configuration) if new else ""
    name = tag("b", title(member) if member else configuration.name)
    who = tag("div", swatch(member), tag("div", name, tag("small", model) if model else None), class_="who")
    if configuration.failure:
        why = tag("div", tag("b", "not ranked: "), configuration.failure, class_="why")
        return tag("li", who, why, class_="failed")
    if point is None:
        unmeasured = "not measured at this load" if configuration.points else "not measured"
        return tag("li", who, tag("div", unmeasured, class_="why"), class_="failed")
    share = plain(100 * point.throughput.middle / fastest) if fastest else "0"
    slot = f" s{member.slot}" if member else ""
    fill = tag("i", style=f"width:{share}%", class_="fill")
    times = " · ".join(duration(point.latency[k].middle) for k in ("p50", "p99") if k in point.latency)
    return tag(
        "li",
        who,
        tag("div", tag("span", number(point.throughput.middle), class_="figure"), tag("span", fill, class_="track"),
            class_=f"rate{slot}", data_title="requests a second"),
        tag("div", unbroken(times) or _NONE, data_title="latency p50 · p99"),
        tag("div", unbroken(size(findings.memory(point))) if findings.memory(point) else _NONE, data_title="memory"),
    )  # fmt: skip


def _at(configuration: Configuration, load: int | None) -> Point | None:
    return configuration.at(load) if load is not None and not configuration.failure else None


# ---- every figure ----


def _percentile(name: str) -> Callable[[Point], str]:
    return lambda p: duration(p.latency[name].middle) if name in p.latency else _NONE


def _throughput(point: Point) -> str:
    value = point.throughput
    mark = " (the client's limit)" if point.client_limited else ""
    span = "" if value.low == value.high else f" [{number(value.low)}–{number(value.high)}]"
    return f"{number(value.middle)}{span}{mark}"


def _not_good(point: Point) -> str:
    return (
        ", ".join(f"{count:,} × {status}" for status, count in point.statuses.items() if not 200 <= status < 300) or "0"
    )


def _errors(point: Point) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in point.errors.items() if count) or "0"


def _late(values: Mapping[str, float]) -> str:
    return duration(values["p99"]) if "p99" in values else _NONE


SPEED: tuple[Column, ...] = (
    ("clients", lambda p: f"{p.concurrency:,}"),
    ("requests a second [interval]", _throughput),
    *((name, _percentile(name)) for name in ("p50", "p90", "p99", "p99.9", "max")),
    ("mean", lambda p: duration(p.mean_latency)),
    ("requests", lambda p: f"{p.requests:,}"),
    ("not 2xx", _not_good),
    ("errors", _errors),
)
COST: tuple[Column, ...] = (
    ("clients", lambda p: f"{p.concurrency:,}"),
    ("CPU a request", lambda p: duration(p.cost.cpu)),
    ("user", lambda p: duration(p.cost.cpu_user)),
    ("system", lambda p: duration(p.cost.cpu_system)),
    ("cores used", lambda p: number(p.cost.cores)),
    ("lost to others", lambda p: percent(p.cost.lost)),
    ("resident", lambda p: size(p.cost.resident)),
    ("proportional", lambda p: size(p.cost.proportional)),
    ("processes", lambda p: f"{p.cost.processes:,}"),
    ("threads", lambda p: f"{p.cost.threads:,}"),
    ("switches a request: own", lambda p: number(p.cost.switches_voluntary)),
    ("forced", lambda p: number(p.cost.switches_forced)),
    ("queue p99", lambda p: _late(p.cost.queue_wait)),
    ("loop lag p99", lambda p: _late(p.cost.loop_lag)),
)


def all_figures(comparison: Comparison, columns: Sequence[Column], caption: str) -> Markup:
    head = tag("tr", tag("th", "configuration", scope="col"), [tag("th", title, scope="col") for title, _ in columns])
    bodies = [_body(c, columns) for c in _listed(comparison)]
    return _scrolled(caption, tag("table", tag("thead", head), bodies))


def _scrolled(title: str, table: Markup) -> Markup:
    """A table that may be wider than the page, below its title."""
    box = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=title)
    return joined((tag("h3", title), box))


def _listed(comparison: Comparison) -> Sequence[Configuration]:
    """All; of very many only those that the charts draw, and those that failed."""
    if sum(len(c.points) for c in comparison.configurations) <= _MOST_ROWS:
        return comparison.configurations
    drawn = findings.shown(comparison)
    return [c for c in comparison.configurations if c.failure or c in drawn]


def _body(configuration: Configuration, columns: Sequence[Column]) -> Markup:
    points = sorted(configuration.points, key=lambda p: p.concurrency)
    rows: list[list[Markup]] = [[tag("td", unbroken(show(point))) for _, show in columns] for point in points]
    if configuration.failure or not points:
        why = configuration.failure or "not measured"
        rows.append([tag("td", why, colspan=str(len(columns)), class_="reason")])
    rows[0].insert(0, tag("th", configuration.name, scope="rowgroup", rowspan=str(len(rows))))
    return tag("tbody", [tag("tr", cells) for cells in rows])


def theory(comparison: Comparison) -> Markup | None:
    """What was predicted, from which numbers, and how far off it was."""
    found = [(c, c.prediction) for c in comparison.configurations if c.prediction]
    if not found:
        return None
    titles = (
        "configuration", "predicted, requests a second", "measured at best", "largest deviation",
        f"in line at {percent(USUAL_LOAD)} of the capacity", "how it was predicted",
    )  # fmt: skip
    rows = [
        tag(
            "tr",
            tag("th", c.name, scope="row"),
            tag("td", number(p.capacity)),
            tag("td", number(c.best.throughput.middle) if c.best else _NONE),
            tag("td", percent(p.deviation), class_="off" if p.limit and is_less_than_predicted(c) else None),
            tag("td", unbroken(duration(p.queue))),
            tag("td", unbroken(f"{p.model}. "), _limit(c, p), class_="prose"),
        )
        for c, p in found
    ]
    head = tag(
        "tr", [tag("th", title, scope="col", class_="prose" if title == titles[-1] else None) for title in titles]
    )
    return _scrolled("Theory beside measurement", tag("table", tag("thead", head), tag("tbody", rows)))


def _limit(configuration: Configuration, prediction: Prediction) -> Markup | None:
    """Why it does less, or more, than was predicted."""
    if not prediction.limit:
        return None
    if is_less_than_predicted(configuration):
        return tag("strong", f"What limits instead: {prediction.limit}.")
    return Markup("It does more: a request takes less when there are many.")


def facts(values: Mapping[str, str]) -> Markup:
    return tag(
        "dl", joined(tag("div", tag("dt", key), tag("dd", value)) for key, value in values.items()), class_="facts"
    )
