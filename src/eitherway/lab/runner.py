"""Runs a comparison: meets the applications, visits every variant round after round, gathers what came out.

Ctrl-C ends the visit that runs, and its server; what was measured before stays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic
from typing import Protocol

from eitherway.errors import LabError
from eitherway.lab import answers, plan, theory
from eitherway.lab.answers import NotComparable, Pattern
from eitherway.lab.blocking import find_blocking_line
from eitherway.lab.load import Request
from eitherway.lab.machine import machine, versions
from eitherway.lab.measure import climb
from eitherway.lab.plan import Application, Variant, Visit, Wishes
from eitherway.lab.results import Comparison, Configuration
from eitherway.lab.samples import Sample, point_of
from eitherway.lab.server import START_PATIENCE, Server
from eitherway.lab.units import listing
from eitherway.lab.verdict import judge


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be compared."""

    title: str
    command: str  # that repeats it
    applications: tuple[Application, ...]
    requests: tuple[Request, ...]
    wishes: Wishes
    notes: tuple[str, ...] = ()
    start_patience: float = START_PATIENCE  # seconds for a server to start
    answer_patience: float = answers.PATIENCE  # seconds for an answer while nothing else is asked


class Progress(Protocol):
    """Who is told how it goes."""

    def introducing(self, variant: Variant) -> None:
        """A variant is started once, and asked whether it answers."""

    def planned(self, visits: int, seconds: float) -> None:
        """So many visits will be made, in about so many seconds."""

    def visiting(self, visit: Visit, left: float) -> None:
        """A server is started; about so many seconds are left."""

    def measured(self, variant: Variant, clients: int, rate: float) -> None:
        """A point has been measured in one round: so many good answers a second."""

    def visited(self) -> None:
        """A visit has ended, well or not."""

    def failed(self, name: str, reason: str) -> None:
        """A variant will not be ranked."""


@dataclass(slots=True)
class _Findings:
    """What is known of one variant so far."""

    variant: Variant
    rounds: dict[int, list[Sample]] = field(default_factory=dict)  # clients -> a sample a round
    failure: str = ""
    startups: list[float] = field(default_factory=list)
    blocked_at: str = ""


class Runner:
    """One comparison. `run` does it; it may be interrupted."""

    def __init__(self, task: Task, progress: Progress) -> None:
        self._task = task
        self._progress = progress
        self._patterns: dict[str, list[Pattern]] = {}  # application -> what it answers, a pattern a request
        self._statuses: dict[str, list[int]] = {}  # and with which status
        self._first_by: dict[str, str] = {}  # application -> the engine that answered so
        self._refined: set[str] = set()  # applications that were asked in a second process of that engine
        self._refused: dict[tuple[str, str], str] = {}  # application, engine -> why, as the first meeting found
        self._findings: list[_Findings] = []
        self._notes = list(task.notes)
        self._service_time = 0.0
        self._cpus = len(os.sched_getaffinity(0))

    def run(self) -> Comparison:
        """Measure everything. Raises LabError where the requests themselves cannot be compared."""
        started, began, complete = datetime.now().astimezone().isoformat(timespec="seconds"), monotonic(), False
        try:
            self._introduce_all()
            self._measure_all()
            self._find_blocking_calls()
            complete = True
        except KeyboardInterrupt:
            pass  # what was measured so far is the result
        return self._result(started, monotonic() - began, complete)

    # -- before anything is measured ------------------------------------------------------------------------

    def _meet(self, application: Application) -> Application:
        """Find out what it speaks, from the first engine that serves it. Raises NotComparable."""
        for engine in plan.engines(application, self._task.wishes):
            reason, interface = self._introduce(Variant(engine, application, engine))
            if not reason:
                return replace(application, interface=interface)
            self._refused[application.title, engine] = reason
        return application

    def _introduce(self, variant: Variant) -> tuple[str, str]:
        """Start a variant and have it answer: why that failed, or else what the application speaks."""
        self._progress.introducing(variant)
        try:
            with self._server(variant) as server:
                self._check(variant, server)
                return "", server.interface
        except LabError as error:
            # What no engine has answered yet is the request's fault; later it is the engine's.
            if isinstance(error, NotComparable) and variant.application.title not in self._patterns:
                raise
            return str(error), ""

    def _server(self, variant: Variant, *more: str) -> Server:
        return Server([*variant.options, *more], patience=self._task.start_patience)

    def _check(self, variant: Variant, server: Server) -> None:
        """Ask for everything twice; the answers must be good, and those that the others gave. Raises LabError."""
        patience = self._task.answer_patience
        rounds = []
        for _ in range(2):
            rounds.append([answers.ask(server.host, server.port, each, patience) for each in self._task.requests])
            for request, answer in zip(self._task.requests, rounds[-1], strict=True):
                answers.judge(request, answer, server.raised)
        found = [answers.pattern_of(one.body, two.body) for one, two in zip(*rounds, strict=True)]
        self._service_time = max(self._service_time, *(each.seconds for each in rounds[1]))
        name, statuses = variant.application.title, [each.status for each in rounds[1]]
        known = self._patterns.get(name)
        if known is None:
            self._patterns[name], self._first_by[name] = found, variant.engine
            self._statuses[name] = statuses
            return
        for request, first, mine in zip(self._task.requests, self._statuses[name], statuses, strict=True):
            if first != mine:
                raise LabError(f"{answers.title(request)} answers {mine}, and by {self._first_by[name]} {first}")
        if name not in self._refined and variant.engine == self._first_by[name]:
            # Another process of the same: what differs now has nothing to do with the engine.
            self._refined.add(name)
            self._patterns[name] = [answers.common(first, mine) for first, mine in zip(known, found, strict=True)]
        else:
            self._expect(known, found, f"than by {self._first_by[name]}")

    def _expect(self, expected: Sequence[Pattern], found: Sequence[Pattern], otherwise: str) -> None:
        for request, first, mine in zip(self._task.requests, expected, found, strict=True):
            if not answers.agree(first, mine):
                it, other = answers.difference(mine, first)
                raise LabError(
                    f"{answers.title(request)} is answered otherwise {otherwise}: {it!r} instead of {other!r}"
                )

    def _compare_applications(self) -> None:
        """Two applications may do different work; that is for the reader to know, and no engine's fault."""
        names = list(self._patterns)
        for name in names[1:]:
            try:
                self._expect(self._patterns[names[0]], self._patterns[name], f"by {name} than by {names[0]}")
            except LabError as error:
                self._notes.append(f"{error}; they may not do the same work")

    # -- measuring ------------------------------------------------------------------------------------------

    def _introduce_all(self) -> None:
        """Make the variants, and see which of them serve and answer right."""
        applications = [self._meet(each) for each in self._task.applications]
        self._findings = [_Findings(each) for each in plan.variants(applications, self._task.wishes)]
        for each in self._findings:
            variant = each.variant
            known = self._refused.get((variant.application.title, variant.engine))
            each.failure = self._introduce(variant)[0] if known is None else known
            if each.failure:
                self._progress.failed(variant.name, each.failure)
        self._compare_applications()

    def _measure_all(self) -> None:
        wishes = self._task.wishes
        alive = {each.variant: each for each in self._findings if not each.failure}
        seconds = plan.duration(wishes, len(alive), self._service_time)
        schedule = plan.visits(tuple(alive), wishes.rounds)
        expected, taken = plan.visit_time(wishes, seconds), list[float]()
        self._progress.planned(len(schedule), plan.time_left(len(schedule), expected, taken))
        for number, visit in enumerate(schedule):
            findings = alive[visit.variant]
            if not findings.failure:
                self._progress.visiting(visit, plan.time_left(len(schedule) - number, expected, taken))
                began = monotonic()
                self._visit(visit, findings, seconds)
                taken.append(monotonic() - began)
            self._progress.visited()

    def _visit(self, visit: Visit, findings: _Findings, seconds: float) -> None:
        variant = visit.variant
        try:
            with self._server(variant) as server:
                findings.startups.append(server.startup)
                ladder = self._task.wishes.ladder
                for sample in climb(server, self._task.requests, ladder, seconds, settle=visit.round == 1):
                    findings.rounds.setdefault(sample.concurrency, []).append(sample)
                    self._progress.measured(variant, sample.concurrency, sample.result.throughput)
        except LabError as error:
            findings.failure = str(error)
            self._progress.failed(variant.name, findings.failure)

    # -- what came out --------------------------------------------------------------------------------------

    def _find_blocking_calls(self) -> None:
        """Where a loop is held up, say so, with the line."""
        for findings in self._findings:
            variant, found = findings.variant, self._configuration(findings)
            if found.failure or not theory.is_one_at_a_time(found):
                continue
            first = found.points[0].mean_latency
            findings.blocked_at = find_blocking_line(variant.options, self._task.requests, first)
            where = f": {findings.blocked_at}" if findings.blocked_at else ""
            self._notes.append(f"{variant.name}: something blocks the loop, so that all other requests wait{where}")

    def _result(self, started: str, seconds: float, complete: bool) -> Comparison:
        configurations = tuple(self._configuration(each) for each in self._findings)
        pooled = [each.name for each in configurations if not each.failure and theory.pool_is_queue(each)]
        if pooled:
            self._notes.append(f"the pool is the queue, as all of its connections are in use: {listing(pooled, 100)}")
        comparison = Comparison(
            title=self._task.title,
            command=self._task.command,
            requests=tuple(answers.title(each) for each in self._task.requests),
            started=started,
            seconds=seconds,
            rounds=self._task.wishes.rounds,
            complete=complete,
            machine=machine(),
            versions=versions(),
            configurations=configurations,
            notes=tuple(self._notes),
        )
        return replace(comparison, verdict=judge(comparison))

    def _configuration(self, findings: _Findings) -> Configuration:
        variant = findings.variant
        configuration = Configuration(
            name=variant.name,
            engine=variant.engine,
            application=variant.application.title,
            workers=variant.workers,
            threads=variant.threads,
            command=variant.command,
            points=tuple(point_of(samples) for _, samples in sorted(findings.rounds.items())),
            failure=findings.failure,
            startup=min(findings.startups, default=0.0),
            interface=variant.application.interface,
            pool=variant.application.pool,
        )
        return replace(configuration, prediction=theory.predicted(configuration, self._cpus, findings.blocked_at))
