"""What is to be measured, in which order, and how long it takes. Pure: names and numbers in, names and numbers out.

A *variant* is one way to serve an application; a *visit* is one fresh server of it that climbs the whole ladder.
Visits are interleaved (A B C, A B C), so that a machine that changes its speed changes it for all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from eitherway.config import MODELS

ENGINES = tuple(MODELS)
USUAL = ("sync", "threads", "gevent", "asyncio", "uvloop")  # unless others are asked for: what fits into the budget
THREADS = {"wsgi": (8, 64), "asgi": (8,)}  # the axis, unless asked otherwise
LADDER = (1, 10, 100)
ROUNDS = 3

BUDGET = 60.0  # seconds that a comparison may take, where no duration is given
SHORTEST, LONGEST = 0.3, 5.0  # seconds that a point is measured for, in one round
START = 0.8  # seconds from one server's end to the next one's first answer, before any was seen
WARM_UP = 0.15  # seconds at the beginning of a point that are not counted
AROUND = 0.2  # seconds that starting the load and looking at the server take, at each point
_PATIENCE = 6  # a point lasts at least so many times as long as one request


@dataclass(frozen=True, slots=True)
class Application:
    """An application as `eitherway serve` is told of it."""

    target: str  # "shop:app"
    interface: str = ""  # "wsgi" or "asgi", once it is known
    options: tuple[str, ...] = ()  # that every server of it gets: --chdir, --pythonpath
    label: str = ""  # what tells it from the other ones, where there are several
    pool: int = 0  # database connections that it may open
    engines: tuple[str, ...] = ()  # the only ones it is meant for; empty: all
    shown: str = ""  # how the target is shown, where it holds what is nobody's business

    @property
    def title(self) -> str:
        return self.label or self.target


@dataclass(frozen=True, slots=True)
class Wishes:
    """The axes, as the user gave them; empty: what suits the application."""

    engines: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    workers: tuple[int, ...] = (1,)
    ladder: tuple[int, ...] = LADDER
    rounds: int = ROUNDS
    duration: float = 0.0  # seconds a point; 0: what the budget allows


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to serve one application."""

    name: str
    application: Application
    engine: str
    workers: int = 1
    threads: int = 0  # 0: it has no threads to choose

    @property
    def options(self) -> tuple[str, ...]:
        """What `eitherway serve` is given, the application first."""
        words = [self.application.target, *self.application.options, "--engine", self.engine]
        if self.threads:
            words += ["--threads", str(self.threads)]
        if self.workers != 1:
            words += ["--workers", str(self.workers)]
        return tuple(words)

    @property
    def command(self) -> str:
        """The line that a user types to have it."""
        _, *options = self.options
        return " ".join(
            map(_quoted, ["eitherway", "serve", self.application.shown or self.application.target, *options])
        )

    @property
    def at_once(self) -> int:
        """How many requests it runs at the same time; 0: as many as come."""
        if self.engine == "sync":
            return self.workers
        return self.workers * self.threads


@dataclass(frozen=True, slots=True)
class Visit:
    """One server of a variant, in one round."""

    round: int  # from 1
    variant: Variant


def variants(applications: Sequence[Application], wishes: Wishes) -> tuple[Variant, ...]:
    """Every variant that was asked for, those of one application together, the simplest engine first."""
    several = len({each.label or each.target for each in applications}) > 1
    return tuple(
        Variant(_name(application, engine, workers, threads, several), application, engine, workers, threads)
        for application in applications
        for engine in engines(application, wishes)
        for threads in _threads(application, engine, wishes)
        for workers in wishes.workers
        # One request at a time needs one connection: its pool's size changes nothing.
        if engine != "sync" or application.pool == min(_pools(applications, application))
    )


def engines(application: Application, wishes: Wishes) -> tuple[str, ...]:
    """Those that an application is measured on, the simplest first."""
    asked = wishes.engines or USUAL
    return tuple(each for each in asked if not application.engines or each in application.engines)


def _pools(applications: Sequence[Application], like: Application) -> list[int]:
    return [each.pool for each in applications if each.label == like.label]


def _threads(application: Application, engine: str, wishes: Wishes) -> tuple[int, ...]:
    axis = wishes.threads or THREADS.get(application.interface, THREADS["wsgi"])
    if engine == "threads":
        return axis
    if engine != "sync" and application.interface == "wsgi" and not MODELS[engine].patches:
        return (max(axis),)  # a pool of threads beside the loop: the most that the engine threads gets too
    return (0,)


def _name(application: Application, engine: str, workers: int, threads: int, several: bool) -> str:
    words = [f"{application.label or application.target} {engine}" if several else engine]
    if threads:
        words.append(f"{threads} threads")
    if workers != 1:
        words.append(f"{workers} workers")
    if application.pool and engine != "sync":
        words.append(f"pool {application.pool}")
    return ", ".join(words)


def _quoted(word: str) -> str:
    """A word as a shell takes it, and a person can still read it."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def visits(all_variants: Sequence[Variant], rounds: int) -> tuple[Visit, ...]:
    """The schedule: every variant once, then every variant again."""
    return tuple(Visit(number, variant) for number in range(1, rounds + 1) for variant in all_variants)


def duration(wishes: Wishes, variant_count: int, service_time: float = 0.0, budget: float = BUDGET) -> float:
    """Seconds that a point is measured for in one round: what was asked for, or what the budget leaves.

    A request that itself takes long (`service_time`, seconds) asks for more than the budget.
    """
    if wishes.duration:
        return wishes.duration
    count = max(1, variant_count * wishes.rounds)
    left = budget - count * START
    fair = left / (count * len(wishes.ladder)) - WARM_UP - AROUND
    return round(max(min(max(fair, SHORTEST), LONGEST), _PATIENCE * service_time), 2)


def visit_time(wishes: Wishes, seconds: float, start: float = START) -> float:
    """Seconds that a visit takes, when points are measured for `seconds`."""
    return start + len(wishes.ladder) * (WARM_UP + seconds + AROUND)


def time_left(visits_left: int, expected: float, taken: Sequence[float]) -> float:
    """Seconds that the rest takes: as expected, and more and more by the visits that were made.

    What was expected counts for two: the first visit is often to the slowest way to serve.
    """
    return visits_left * median((expected, expected, *taken))
