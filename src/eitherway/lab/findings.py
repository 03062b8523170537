"""What is to be seen in a comparison, as plain sentences. Pure: values in, text out; nothing here is measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eitherway.config import MODELS
from eitherway.lab.results import CHANCE, Comparison, Configuration, Interval, Point, Verdict
from eitherway.lab.theory import is_less_than_predicted, reach
from eitherway.lab.units import clients, duration, listing, number, percent, several, size, times

SENTENCES = {
    "sync": "One request at a time in each worker; all others stand in line.",
    "threads": "As many requests at a time as there are threads; the operating system switches between them.",
    "gevent": "Every request is a greenlet: plain blocking code that lets others run whenever it waits.",
    "eventlet": "Every request is a greenlet: plain blocking code that lets others run whenever it waits.",
    "asyncio": "Every request is a task on Python's own event loop; code with await lets others run.",
    "uvloop": "Every request is a task on an event loop written in C; otherwise like asyncio.",
    "trio": "Every request is a task on Trio's event loop; code with await lets others run.",
    "curio": "Every request is a task on Curio's event loop; code with await lets others run.",
    "twisted": "Every request is a task on Twisted's reactor; code with await lets others run.",
}
_BESIDE = "Each request of plain code gets a thread of a pool beside the event loop."
SHOWN = 10  # configurations that a chart can hold and still be read

_SAME = 0.05  # values without an interval count as equal within this share
_FULL = 0.95  # of its best throughput: from there on more clients bring nothing
_QUEUES = 0.05  # a smaller share of a request's time in a queue is nobody's trouble
_NEAR = 0.8  # of the best: with overlapping intervals it is level; below these it cannot be told
_NAMED = 3  # so many names may stand in a row
_LITTLE = 0.01  # a smaller share is not worth a word
_NOTHING = "Nothing was measured, so there is nothing to see here."


def ranked(comparison: Comparison) -> tuple[Configuration, ...]:
    """Those that were measured and did not fail, the fastest at the common load first."""
    good = [c for c in comparison.configurations if c.points and not c.failure]
    load = _common(good)
    return tuple(sorted(good, key=lambda c: -_throughput_at(c, load)))


def shown(comparison: Comparison) -> tuple[Configuration, ...]:
    """Those that the charts draw, in their own order: the best of each engine and application first, nine at most."""
    order = ranked(comparison)
    heads: dict[tuple[str, str], Configuration] = {}
    for each in order:
        heads.setdefault((each.engine, each.application), each)
    firsts = list(heads.values())
    chosen = [*firsts, *(each for each in order if each not in firsts)][:SHOWN]
    return tuple(each for each in comparison.configurations if each in chosen)


def common_load(comparison: Comparison) -> int | None:
    """The highest number of clients at which most were measured, the client itself not being the limit."""
    return _common([c for c in comparison.configurations if c.points and not c.failure])


def saturation(configuration: Configuration) -> int | None:
    """From how many clients on more of them bring nothing; None where it still grew at the last load."""
    points = sorted(configuration.points, key=lambda p: p.concurrency)
    best = max((p.throughput.middle for p in points), default=0.0)
    if not best:
        return None
    first = next(p for p in points if p.throughput.middle >= _FULL * best)
    return None if first is points[-1] or first.client_limited else first.concurrency


def model(configuration: Configuration) -> str:
    """In a sentence, how the engine runs an application of this kind."""
    if configuration.interface == "wsgi" and "asgi" in MODELS[configuration.engine].native:
        return _BESIDE
    return SENTENCES.get(configuration.engine, "")


def memory(point: Point) -> int:
    """Bytes: shared pages counted once where the system says so."""
    return point.cost.proportional or point.cost.resident


@dataclass(frozen=True, slots=True)
class Split:
    """Where the mean request's time goes. Seconds."""

    queue: float  # in line: for a worker, a thread, the CPU, a connection
    cpu: float
    waiting: float  # for what the application waits for, also when it is alone

    @property
    def parts(self) -> tuple[float, float, float]:
        return self.queue, self.cpu, self.waiting

    @property
    def total(self) -> float:
        return sum(self.parts)


def split(configuration: Configuration, point: Point) -> Split:
    """What a request waits for when nobody is in its way, it waits for under load too; the rest is queueing."""
    alone = min(
        (max(0.0, p.mean_latency - p.cost.cpu - p.cost.queue_wait.get("p50", 0.0)) for p in configuration.points),
        default=0.0,
    )
    cpu = min(point.cost.cpu, point.mean_latency)
    waiting = min(alone, point.mean_latency - cpu)
    return Split(point.mean_latency - cpu - waiting, cpu, waiting)


def alike(one: Interval, other: Interval) -> bool:
    """No difference that one could see. Of a single round there is no interval: then a quarter counts as none."""
    if one.low == one.high and other.low == other.high:
        return abs(one.middle - other.middle) <= CHANCE * max(one.middle, other.middle)
    return one.overlaps(other)


def as_fast(one: tuple[Configuration, Point], other: tuple[Configuration, Point]) -> bool:
    """No difference in throughput that one could see, considering what other programs took from either."""
    return alike(one[1].throughput, other[1].throughput) or reach(*one).overlaps(reach(*other))


def verdict_sentences(verdict: Verdict) -> tuple[str, ...]:
    """The sentences, without the clause that quotes the command, for where the command stands apart."""
    if not verdict.command:
        return verdict.sentences
    quoted = re.compile(rf"[,;][^,;`]*`{re.escape(verdict.command)}`")
    return tuple(quoted.sub("", sentence) for sentence in verdict.sentences)


def per_core(point: Point) -> float:
    """Requests that one fully used core answers in a second; 0 where CPU time is not known."""
    return 1 / point.cost.cpu if point.cost.cpu > 0 else 0.0


def per_memory(point: Point) -> float:
    """Requests a second for every 100 MB; 0 where memory is not known."""
    return point.throughput.middle / (memory(point) / 1e8) if memory(point) else 0.0


# ---- sentences ----


def of_throughput(comparison: Comparison) -> str:
    load, found = _at_load(comparison)
    if load is None or not found:
        return _NOTHING
    at, best = f"At {clients(load)}", found[0][1].throughput
    leaders = [each[0].name for each in found if as_fast(each, found[0])]
    near = [c.name for c, p in found if c.name in leaders and p.throughput.middle >= _NEAR * best.middle]
    vague = [name for name in leaders if name not in near]
    if len(found) == 1:
        said = f"{at} {found[0][0].name} answers {number(best.middle)} requests a second."
    elif len(near) == len(found):
        who = "both" if len(found) == 2 else "all"
        said = f"{at} there is no difference you could see: {who} answer about {number(best.middle)} a second."
    else:
        who = f"{near[0]} answers most" if len(near) == 1 else f"{listing(near)} answer most"
        same = "" if len(near) == 1 else ", with no difference you could see between them"
        more = _more(best.middle, found[-1][1].throughput.middle, found[-1][0].name)
        said = f"{at} {who}: {number(best.middle)} requests a second{same}{more}."
    if vague:
        said += f" The figures are too unsure to tell {listing(vague)} from {'it' if len(near) == 1 else 'them'}."
    return f"{said} {_of_saturation([c for c, _ in found])}".rstrip()


def _of_saturation(configurations: Sequence[Configuration]) -> str:
    full = [(c.name, at) for c in configurations if len(c.points) > 1 and (at := saturation(c)) is not None]
    if not full:
        return ""
    if len({at for _, at in full}) == 1:
        who = listing([name for name, _ in full])
        if len(full) == len(configurations):
            who = "it" if len(full) == 1 else "any"
        return f"From {clients(full[0][1])} on, more of them bring nothing to {who}."
    full.sort(key=lambda each: each[1])
    if len(full) > _NAMED:
        who = (
            "All" if len(full) == len(configurations) else f"{several(len(full)).capitalize()} of {len(configurations)}"
        )
        return f"{who} are full before that, {full[0][0]} already at {clients(full[0][1])}."
    return f"More clients bring nothing to {listing([f'{name} from {at:,} on' for name, at in full])}."


def of_latency(comparison: Comparison) -> str:
    """Of the lowest and of the highest load that all have."""
    load, found = _at_load(comparison)
    if load is None or not found:
        return _NOTHING
    low = min(p.concurrency for c, _ in found for p in c.points)
    early = [(c, p) for c, _ in found if (p := c.at(low)) and "p50" in p.latency]
    late = [(c, p) for c, p in found if "p99" in p.latency]
    said = _quickest(early, low)
    if load != low and late:
        late.sort(key=lambda each: each[1].latency["p99"].middle)
        (first, quick), (last, slow) = late[0], late[-1]
        said += f" At {clients(load)} 99 of 100 requests are answered within {_p99(quick)}"
        if len(late) == 1:
            said += "."
        elif all(alike(p.latency["p99"], quick.latency["p99"]) for _, p in late):
            said += " or so, whoever answers."
        else:
            said += f" by {first.name}, and within {_p99(slow)} by {last.name}."
    return said.strip()


def _quickest(found: list[tuple[Configuration, Point]], load: int) -> str:
    if not found:
        return ""
    found.sort(key=lambda each: each[1].latency["p50"].middle)
    (first, quick), (last, slow) = found[0], found[-1]
    within = f"half of the requests are answered within {duration(quick.latency['p50'].middle)}"
    if len(found) == 1:
        return f"At {clients(load)} {within}."
    if all(alike(p.latency["p50"], quick.latency["p50"]) for _, p in found):
        return f"At {clients(load)} there is no difference you could see: {within}."
    return f"At {clients(load)} {within} by {first.name}, and within {_p50(slow)} by {last.name}."


def of_distribution(comparison: Comparison, load: int) -> str:
    """Of those of whom every request was counted at this load."""
    here = [(c, p) for c in ranked(comparison) if (p := c.at(load))]
    found = [
        (p.latency["p99"].middle / p.latency["p50"].middle, c, p)
        for c, p in here
        if p.histogram and "p99" in p.latency and "p50" in p.latency and p.latency["p50"].middle > 0
    ]
    if not found:
        return f"At {clients(load)} no distribution was recorded."
    unknown = [c.name for c, p in here if not p.histogram]
    return _evenness(load, found) + (f" No distribution was recorded of {listing(unknown)}." if unknown else "")


def _evenness(load: int, found: list[tuple[float, Configuration, Point]]) -> str:
    found.sort(key=lambda each: each[0])
    (even, first, point), (uneven, last, slow) = found[0], found[-1]
    at = f"At {clients(load)}"
    if len(found) == 1:
        return f"{at} the request in the middle takes {_p50(point)}; one in a hundred takes {_p99(point)} or more."
    if uneven <= even * 1.1:
        return f"{at} all are about as even: {_latest(uneven)}."
    alike = f"{at} {first.name} treats requests most alike: {_latest(even)}."
    return f"{alike} With {last.name} {_latest(uneven)}: {_p50(slow)} and {_p99(slow)}."


def _latest(ratio: float) -> str:
    """How late the late ones are."""
    if ratio < 1 + _SAME:
        return "hardly any takes longer than the middle one"
    return f"one in a hundred takes {times(ratio)} the middle one's time or more"


def of_time(comparison: Comparison, load: int) -> str:
    found = [(split(c, p), c) for c in ranked(comparison) if (p := c.at(load)) and p.mean_latency > 0]
    if not found:
        return f"At {clients(load)} nothing was measured."
    found.sort(key=lambda each: each[0].queue / each[0].total)
    (least, first), (most, last) = found[0], found[-1]
    at = f"At {clients(load)}"
    if len(found) == 1:
        return f"{at} a request takes {duration(most.total)}: {_parts(most)}."
    if most.queue < _QUEUES * most.total:
        widest = max(found, key=lambda each: each[0].waiting / each[0].total)[0]
        own = f"up to {_share(widest.waiting, widest)} of it waiting"
        return f"{at} nobody stands in line: a request's time is its own, {own}."
    said = f"{at} a request on {last.name} takes {duration(most.total)}: {_parts(most)}."
    if most.queue / most.total - least.queue / least.total < _SAME:
        return f"{said} It is much the same with the others."
    return f"{said} On {first.name} it takes {duration(least.total)}, {_share(least.queue, least)} of it in line."


def of_cores(comparison: Comparison) -> str:
    return _of_yield(comparison, per_core, "One fully used core answers", "CPU time is not known here.")


def of_memory_yield(comparison: Comparison) -> str:
    return _of_yield(comparison, per_memory, "For every 100 MB of memory", "Memory is not known here.")


def _of_yield(comparison: Comparison, value: Callable[[Point], float], what: str, unknown: str) -> str:
    found = [(v, c.name) for c in ranked(comparison) if (p := c.best or c.points[-1]) and (v := value(p)) > 0]
    if not found:
        return unknown
    found.sort(key=lambda each: -each[0])
    (most, first), (least, last) = found[0], found[-1]
    rate = f"{number(most)} requests a second"
    if what.endswith("answers"):
        head, by = f"{what} {rate}", "with"
    else:
        head, by = f"{what} there are {rate}", "from"
    if len(found) == 1:
        return f"{head} {by} {first}."
    if least >= most * (1 - _SAME):
        return f"{head}, and it makes no difference {by} which model."
    return f"{head} {by} {first}, {number(least)} {by} {last}."


def of_memory(comparison: Comparison) -> str:
    load, found = _at_load(comparison)
    sized = sorted(((memory(p), c) for c, p in found if memory(p)), key=lambda each: each[0])
    if load is None or not sized:
        return "Memory is not known here."
    (least, first), (most, last) = sized[0], sized[-1]
    if len(sized) == 1:
        said = f"At {clients(load)} {first.name} takes {size(least)}"
    elif most <= least * (1 + _SAME):
        said = f"At {clients(load)} all take about as much: {size(least)}"
    else:
        said = f"At {clients(load)} {first.name} takes least, {size(least)}, and {last.name} most, {size(most)}"
    grown, low, who = max(((_growth(c, load)), _lowest(c), c.name) for _, c in sized)
    if grown <= 0 or low == load:
        return f"{said}."
    each = grown / (load - low)
    whose = "it grows" if len(sized) == 1 else f"{who} grows most,"
    return f"{said}; from {clients(low)} to {load:,} {whose} by {size(grown)}, {size(each)} for each client more."


def of_theory(comparison: Comparison) -> tuple[str, ...]:
    """How far measurement and theory are apart, and what limits those that do much less than was predicted."""
    found = [(c, p) for c in comparison.configurations if not c.failure and (p := c.prediction)]
    if not found:
        return ()
    worst, most = max(found, key=lambda each: each[1].deviation)
    said = f"Predicted from one client and measured: at most {percent(most.deviation)} apart ({worst.name})."
    less = [(c, p) for c, p in found if p.limit and is_less_than_predicted(c)]
    more = [c.name for c, p in found if p.limit and not is_less_than_predicted(c)]
    limits = [f"{c.name} does less ({percent(p.deviation)} off), limited by {p.limit}." for c, p in less]
    if more:
        do = "does" if len(more) == 1 else "do"
        limits.append(f"{listing(more, _NAMED)} {do} more: a request takes less when there are many.")
    return said, *limits


# ---- parts of sentences ----


def _common(configurations: Sequence[Configuration]) -> int | None:
    loads = [p.concurrency for c in configurations for p in c.points if not p.client_limited]
    return max(set(loads), key=lambda load: (loads.count(load), load), default=None)


def _at_load(comparison: Comparison) -> tuple[int | None, list[tuple[Configuration, Point]]]:
    load = common_load(comparison)
    if load is None:
        return None, []
    return load, [(c, p) for c in ranked(comparison) if (p := c.at(load)) and not p.client_limited]


def _throughput_at(configuration: Configuration, load: int | None) -> float:
    point = configuration.at(load) if load is not None else None
    return point.throughput.middle if point else -1.0


def _more(best: float, worst: float, name: str) -> str:
    if worst <= 0:
        return f", while {name} answers none"
    ratio = best / worst
    if ratio < 1.5:
        return f", {percent(ratio - 1)} more than {name}"
    return f", {times(ratio)} as many as {name}"


def _p50(point: Point) -> str:
    return duration(point.latency["p50"].middle)


def _p99(point: Point) -> str:
    return duration(point.latency["p99"].middle)


def _share(part: float, whole: Split) -> str:
    return percent(part / whole.total)


def _parts(found: Split) -> str:
    """The parts that are worth a word, the largest first."""
    parts = ((found.queue, "in line"), (found.cpu, "computing"), (found.waiting, "waiting"))
    told = sorted((part for part in parts if part[0] >= _LITTLE * found.total), reverse=True)
    if told[0][0] >= (1 - _LITTLE) * found.total:
        return f"almost all of it {told[0][1]}"
    return listing([f"{_share(value, found)} {what}" for value, what in told])


def _growth(configuration: Configuration, load: int) -> float:
    first, last = configuration.at(_lowest(configuration)), configuration.at(load)
    return float(memory(last) - memory(first)) if first and last and memory(first) else 0.0


def _lowest(configuration: Configuration) -> int:
    return min(p.concurrency for p in configuration.points)
