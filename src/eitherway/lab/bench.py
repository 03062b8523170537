"""What claims are tested with: loads on fresh servers in interleaved rounds, bursts, and the figures of each."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic, sleep

from eitherway.config import natives
from eitherway.errors import LabError
from eitherway.lab import switching
from eitherway.lab.load import Request
from eitherway.lab.measure import measure
from eitherway.lab.plan import Application, Variant
from eitherway.lab.results import CHANCE, FIRM, Interval
from eitherway.lab.samples import Sample
from eitherway.lab.server import Server
from eitherway.lab.stats import interval
from eitherway.lab.workloads import rounds_for

_BURST_PATIENCE = 60.0  # seconds until the last answer of a burst
_BETWEEN = 0.2  # seconds between two bursts
_WSGI = Application("eitherway.lab.apps.plain:wsgi", "wsgi")
_ASGI = Application("eitherway.lab.apps.plain:asgi", "asgi")

Rounds = dict[str, dict[int, list[Sample]]]  # name -> clients -> a sample a round


def plain(engine: str, workers: int = 1, threads: int = 0) -> Variant:
    """The least application there can be, on an engine."""
    application = _ASGI if engine in natives("asgi") else _WSGI
    name = engine
    if threads:
        name += f", {threads} threads"
    if workers > 1:
        name += f", {workers} workers"
    return Variant(name, application, engine, workers, threads)


@dataclass(slots=True)
class Bench:
    """`seconds` and `rounds` of every figure; `tell` hears what is done. The same load is measured only once."""

    seconds: float
    rounds: int
    cpus: int
    tell: Callable[[str], None]
    lost: float = 0.0  # the largest share of a server's time that other programs had
    _known: dict[tuple[object, ...], Rounds] = field(default_factory=dict)
    _computing: dict[float, Request] = field(default_factory=dict)
    _switches: dict[tuple[str, int], switching.Cost] = field(default_factory=dict)

    def loads(self, variants: Sequence[Variant], request: Request, ladder: Sequence[int]) -> Rounds:
        """Put rising loads on each variant. One that fails is left out. Raises LabError where all do."""
        key = (tuple(variants), request, tuple(ladder))
        if key not in self._known:
            self._known[key] = self._measure(variants, request, ladder)
        return self._known[key]

    def _measure(self, variants: Sequence[Variant], request: Request, ladder: Sequence[int]) -> Rounds:
        found: Rounds = {each.name: {clients: [] for clients in ladder} for each in variants}
        failure = ""
        for number in range(self.rounds):
            for variant in [each for each in variants if each.name in found]:
                self.tell(f"{variant.name}, {request.target}, round {number + 1} of {self.rounds}")
                try:
                    with Server(variant.options) as server:
                        for clients in ladder:
                            sample = measure(server, [request], clients, self.seconds)
                            found[variant.name][clients].append(sample)
                            self.lost = max(self.lost, sample.cost.lost)
                except LabError as error:
                    failure = f"{variant.name}: {error}"
                    del found[variant.name]
        if not found:
            raise LabError(failure)
        return found

    def computing(self, seconds: float) -> Request:
        """A request for so much work of the CPU; the same one each time."""
        if seconds not in self._computing:
            self._computing[seconds] = Request("GET", f"/compute?rounds={rounds_for(seconds)}")
        return self._computing[seconds]

    def bursts(self, variant: Variant, request: Request, count: int) -> list[Interval]:
        """So many requests at the same moment: when the first answer came, the second, ... (seconds)."""
        self.tell(f"{variant.name}, {count} requests at once")
        with Server(variant.options) as server:
            _burst(server, request, 1)
            rounds = []
            for _ in range(max(3, self.rounds)):
                rounds.append(_burst(server, request, count))
                sleep(_BETWEEN)
        return [interval([each[place] for each in rounds]) for place in range(count)]

    def switch(self, kind: str, count: int) -> switching.Cost:
        """The cost of a switch with so many units alive."""
        if (kind, count) not in self._switches:
            self.tell(f"switches of {kind}, {count} alive")
            costs = [switching.measure(kind, count) for _ in range(self.rounds)]
            self._switches[kind, count] = min(costs, key=lambda cost: (cost.error, cost.seconds))
        return self._switches[kind, count]


def of(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> Interval:
    """One figure of all rounds, and what it may be where no other program takes the CPU."""
    said = interval([figure(each) for each in samples])
    if len(samples) < FIRM:
        said = Interval(said.low * (1 - CHANCE / 2), said.middle, said.high * (1 + CHANCE / 2))
    kept = 1 - median(each.cost.lost for each in samples)
    if figure is rate:
        return Interval(said.low, said.middle, said.high / kept)
    if figure in (middle, slowest):
        return Interval(said.low * kept, said.middle, said.high)
    return said


def rate(sample: Sample) -> float:
    return sample.result.throughput


def middle(sample: Sample) -> float:
    """The median latency."""
    return sample.result.histogram.quantile(0.5)


def slowest(sample: Sample) -> float:
    """The latency of the slowest request but one in a hundred."""
    return sample.result.histogram.quantile(0.99)


def cpu(sample: Sample) -> float:
    return sample.cost.cpu


def memory(sample: Sample) -> float:
    return float(sample.cost.proportional)


def _burst(server: Server, request: Request, count: int) -> list[float]:
    clients = [socket.create_connection((server.host, server.port)) for _ in range(count)]
    try:
        data = request.encode(server.host)
        began = monotonic()
        for client in clients:
            client.sendall(data)
        answered: list[float] = []
        waiting = {client.fileno() for client in clients}
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLIN)
        while waiting:
            for fd, _ in poll.poll(1000):
                answered.append(monotonic() - began)
                poll.unregister(fd)
                waiting.discard(fd)
            if monotonic() > began + _BURST_PATIENCE:
                raise LabError(f"{len(waiting)} of {count} requests were not answered in {_BURST_PATIENCE:g} s")
        return answered
    finally:
        for client in clients:
            client.close()
