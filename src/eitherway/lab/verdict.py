"""The verdict: which engine, with which numbers, why, what it would change, and how sure that is.

Pure: a comparison in, at most five sentences out. Measured figures only; a point at which the load generator was the
limit is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eitherway.config import natives
from eitherway.lab.results import CHANCE, FIRM, Comparison, Configuration, Interval, Point, Verdict
from eitherway.lab.theory import CROWDED, reach
from eitherway.lab.units import clients, duration, listing, number, percent, size, times

CLEAR, LIKELY, NONE = "clear", "likely", "no difference you could see"

SAME = 0.10  # a gain below a tenth is not worth another engine
REWRITE = 0.25  # and below a quarter not worth another application, or an engine of the other colour
LESS = 0.5  # of the best: who does less is not as good, however far the rounds are apart
FULL = 0.95  # of the best throughput: there a configuration is full
BUSY = 0.85  # of one CPU: there a process computes, and no longer waits
_SIMPLEST = {
    "wsgi": ("threads", "sync", "gevent", "eventlet", "asyncio", "uvloop", "twisted", "trio", "curio"),
    "asgi": ("asyncio", "uvloop", "trio", "twisted", "curio", "threads", "sync", "gevent", "eventlet"),
}


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Who stands where at the highest load at which all can be compared."""

    load: int
    points: dict[str, Point]  # name -> its point there
    rates: dict[str, Interval]  # name -> its throughput, up to what it may be on a quiet machine
    order: tuple[Configuration, ...]  # the highest throughput first
    chosen: Configuration
    equals: tuple[Configuration, ...]  # those that cannot be told from the best, the best among them

    def rate(self, configuration: Configuration) -> float:
        return self.points[configuration.name].throughput.middle

    def lost(self, configuration: Configuration) -> float:
        """The share of its throughput that other programs may have cost."""
        return 1 - self.points[configuration.name].throughput.high / self.rates[configuration.name].high


def judge(comparison: Comparison) -> Verdict:
    """The verdict of a comparison, complete or not."""
    ranked = [each for each in comparison.configurations if not each.failure and _usable(each)]
    if not ranked:
        return Verdict((_nothing(comparison),), "", "", "")
    ranking = _rank(ranked, comparison.rounds if comparison.complete else 1)
    confidence = _confidence(ranking, comparison)
    sentences = (
        _what(ranking, confidence),
        _why(ranking),
        _change(ranking),
        _cost(ranking, comparison),
        _how_sure(ranking, confidence, comparison),
    )
    winner = "" if confidence == NONE and len(ranked) > 1 else ranking.chosen.name
    return Verdict(tuple(each for each in sentences if each), winner, ranking.chosen.command, confidence)


# ---- who stands where ----


def _usable(configuration: Configuration) -> list[Point]:
    return [each for each in configuration.points if not each.client_limited and each.throughput.middle > 0]


def _rank(ranked: Sequence[Configuration], rounds: int) -> _Ranking:
    common = set.intersection(*({p.concurrency for p in _usable(each)} for each in ranked))
    if not common:
        # Then by where most can be compared; the others were limited by their client there.
        counts = [p.concurrency for each in ranked for p in _usable(each)]
        common = {max(counts, key=lambda load: (counts.count(load), load))}
    load = max(common)
    points = {each.name: point for each in ranked for point in _usable(each) if point.concurrency == load}
    order = sorted(
        (each for each in ranked if each.name in points), key=lambda each: -points[each.name].throughput.middle
    )
    rates = {each.name: reach(each, points[each.name]) for each in order}
    top, first = order[0], ranked[0].application
    best = rates[top.name]
    equals = tuple(
        each
        for each in order
        if _is_open(rates[each.name], points[each.name], best)
        or rates[each.name].middle >= best.middle * (1 - _margin(top, each, rounds))
    )
    chosen = min(equals, key=lambda each: _simplicity(each, first))
    return _Ranking(load, points, rates, tuple(order), chosen, equals)


def _is_open(rate: Interval, point: Point, best: Interval) -> bool:
    """Whether rounds, and programs that took the CPU meanwhile, leave it open which one is faster."""
    most = rate.middle * rate.high / point.throughput.high
    return rate.overlaps(best) and most >= LESS * best.middle


def _margin(best: Configuration, other: Configuration, rounds: int) -> float:
    """The share by which the best has to be ahead of another one to be worth anything."""
    alike = best.application == other.application and _fits(best) >= _fits(other)
    return max(SAME if alike else REWRITE, CHANCE if rounds < FIRM else 0.0)


def _fits(configuration: Configuration) -> bool:
    """Whether the engine has the application's colour, and runs it without a detour."""
    return configuration.engine in natives(configuration.interface)


def _simplicity(configuration: Configuration, first: str) -> tuple[object, ...]:
    """What is preferred where figures do not tell: the application as it is, the engine of its colour, few of all."""
    order = _SIMPLEST.get(configuration.interface, _SIMPLEST["wsgi"])
    return (
        configuration.application != first,
        not _fits(configuration),
        configuration.workers,
        order.index(configuration.engine) if configuration.engine in order else len(order),
        configuration.threads,
        configuration.pool,
    )


def _confidence(ranking: _Ranking, comparison: Comparison) -> str:
    if len(ranking.order) > 1 and len(ranking.equals) == len(ranking.order):
        return NONE
    best = ranking.rates[ranking.order[0].name]
    apart = not any(ranking.rates[each.name].overlaps(best) for each in ranking.order[1:])
    return (
        CLEAR
        if len(ranking.equals) == 1
        and apart
        and comparison.complete
        and comparison.rounds >= FIRM
        and len(ranking.order) > 1
        else LIKELY
    )


# ---- the sentences ----


def _what(ranking: _Ranking, confidence: str) -> str:
    chosen, rate = ranking.chosen, number(ranking.rate(ranking.chosen))
    if confidence == NONE:
        return (
            f"It makes no difference you could see: take the simplest, {chosen.name} ({rate} a second with "
            f"{clients(ranking.load)}), and start it with `{chosen.command}`."
        )
    return (
        f"Take {chosen.name}: with {clients(ranking.load)} it answers {rate} requests a second; "
        f"start it with `{chosen.command}`."
    )


def _why(ranking: _Ranking) -> str:
    """Waiting or computing, and where each is full."""
    point = min(_usable(ranking.chosen), key=lambda each: each.concurrency)
    full = _saturation(ranking)
    where = f"; {full}" if full else ""
    if point.concurrency != 1 or point.mean_latency <= 0:
        return f"A request costs {duration(point.cost.cpu)} of CPU{where}."
    share = waiting_share(point)
    word = "waiting" if share >= 0.5 else "computing"
    part = share if share >= 0.5 else 1 - share
    return (
        f"A request takes {duration(point.mean_latency)} for a single client and spends {percent(part)} of it {word} "
        f"({duration(point.cost.cpu)} of CPU){where}."
    )


def _saturation(ranking: _Ranking) -> str:
    """Where the engines are full: "sync is full at 1 client (19 a second)"."""
    full = [(each, at) for each in ranking.order if (at := saturated_at(each)) is not None]
    words = [
        f"{each.name} is full at {clients(at.concurrency)} ({number(at.throughput.middle)} a second)"
        for each, at in full
    ]
    still = [each.name for each in ranking.order if all(each is not other for other, _ in full)]
    if not words:
        rise = len(ranking.order) > 1 and all(map(_rises, ranking.order))
        return "none of them is full yet at the highest load" if rise else ""
    # The slowest tell the most; more than three would be a table.
    shown = words[-3:][::-1]
    rest = f", {listing(still)} not at any of these loads" if 0 < len(still) <= 2 else ""
    return ", ".join(shown) + rest


def _rises(configuration: Configuration) -> bool:
    """Whether the last step to more clients has still brought something."""
    points = _usable(configuration)
    return len(points) > 1 and points[-1].throughput.middle >= (1 + SAME) * points[-2].throughput.middle


def _change(ranking: _Ranking) -> str:
    """What it would change, from the engine that does the least to the one that was chosen."""
    chosen = ranking.chosen
    plain = [each for each in ranking.order if each.engine == "sync" and each.workers == 1 and each is not chosen]
    own = [each for each in plain if each.application == chosen.application]
    base = next(iter([*own, *plain]), ranking.order[-1])
    if base is chosen:
        base = ranking.order[0]
    if base is chosen:
        return ""
    tail = _tail(ranking.points[chosen.name], ranking.points[base.name])
    ratio = ranking.rate(chosen) / ranking.rate(base)
    vague = " (which may be chance)" if base in ranking.equals and abs(ratio - 1) > SAME else ""
    return (
        f"Against {base.name} that is {_factor(ratio)} throughput with "
        f"{clients(ranking.load)}{vague}{tail}{_at_low_load(chosen, base)}."
    )


def _factor(ratio: float) -> str:
    return "about the same" if abs(ratio - 1) <= SAME else f"{times(ratio)} the"


def _tail(mine: Point, its: Point) -> str:
    one, two = mine.latency.get("p99"), its.latency.get("p99")
    if one is None or two is None:
        return ""
    return f" and {duration(one.middle)} instead of {duration(two.middle)} for the slowest in a hundred"


def _at_low_load(chosen: Configuration, base: Configuration) -> str:
    mine, its = _usable(chosen)[0], _usable(base)[0]
    one, two = mine.latency.get("p50"), its.latency.get("p50")
    if mine.concurrency != its.concurrency or one is None or two is None:
        return ""
    who = f"; with {clients(mine.concurrency)}"
    # The mean, not the middle one: of requests to several targets that is any of them.
    here, there = mine.mean_latency, its.mean_latency
    if one.overlaps(two) or abs(here - there) <= SAME * there:
        return f"{who} there is no difference you could see ({duration(here)})"
    return f"{who} a request takes {duration(here)} instead of {duration(there)}"


def _cost(ranking: _Ranking, comparison: Comparison) -> str:
    chosen = ranking.chosen
    cost = ranking.points[chosen.name].cost
    words = f"With {clients(ranking.load)} it holds {size(cost.proportional)} of memory"
    least = min(ranking.order, key=lambda each: ranking.points[each.name].cost.proportional)
    held = ranking.points[least.name].cost.proportional
    if least is not chosen and cost.proportional > 1.2 * held:
        words += f", {least.name} {size(held)}"
    words += f", and uses {used_cpus(cost.cores)}"
    cpus = int(comparison.machine.get("cores", "1").partition(" ")[0] or 1)
    if chosen.workers == 1 and cpus > 1 and cost.cores >= BUSY:
        words += f": one process can use no more, but `--workers {cpus}` may (compare with `--workers 1,{cpus}`)"
    return f"{words}."


def _how_sure(ranking: _Ranking, confidence: str, comparison: Comparison) -> str:
    others = [each.name for each in ranking.equals if each is not ranking.chosen]
    part = "" if comparison.complete else "The run was broken off, so less was measured than planned; "
    few = comparison.rounds < FIRM
    if len(ranking.order) == 1:
        text = "nothing else could be measured to compare it with"
    elif confidence == NONE:
        text = "their intervals overlap, or they differ by less than what is worth a change"
    elif others:
        text = f"level with it, or too little faster to prefer: {listing(others)}; it is the simplest of these"
    elif few or not comparison.complete:
        text = "no other comes near"
    else:
        text = "that is clear: no other comes near, in any round"
    if few and len(ranking.order) > 1:
        rounds = "one round" if comparison.rounds == 1 else "two rounds"
        text += f"; but {rounds} cannot rule out chance, so let it run for three"
    lost = max(ranking.lost(each) for each in ranking.order)
    if lost >= CROWDED and len(ranking.order) > 1:
        text += f"; other programs had the CPU meanwhile, for up to {percent(lost)} of it: a quiet machine tells more"
    sentence = f"{part}{text}."
    return sentence[0].upper() + sentence[1:]


def _nothing(comparison: Comparison) -> str:
    failures = [each for each in comparison.configurations if each.failure]
    if failures:
        reason = failures[0].failure.rstrip(".")
        return f"Nothing could be compared: {failures[0].name}: {reason}{'' if reason.endswith('?') else '.'}"
    if any(each.points for each in comparison.configurations):
        return "Nothing can be said: at every load the load generator was the limit, not the server."
    return "Nothing was measured."


# ---- figures that others need too ----


def used_cpus(cores: float) -> str:
    """ "1 CPU", "0.3 CPUs"."""
    if cores < 0.05:
        return "less than 0.1 CPUs"
    text = number(round(cores, 1))
    return f"{text} CPU" if text == "1" else f"{text} CPUs"


def waiting_share(point: Point) -> float:
    """The share of one client's request that is not spent on a CPU: 1 is all waiting, 0 all computing."""
    return min(1.0, max(0.0, 1 - point.cost.cpu / point.mean_latency)) if point.mean_latency > 0 else 0.0


def saturated_at(configuration: Configuration) -> Point | None:
    """The lowest load with all the throughput there is; None where more load might still bring more."""
    points = _usable(configuration)
    if len(points) < 2:
        return None
    most = max(each.throughput.middle for each in points)
    first = next(each for each in points if each.throughput.middle >= FULL * most)
    return first if first is not points[-1] else None
