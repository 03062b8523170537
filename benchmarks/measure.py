"""Requests a second and latencies: interleaved rounds of every group of servers.

A core's speed may change from one second to the next (on a virtual machine by a third). So a group's servers
run at the same time and a load goes round them in turns of a second, of which all but one are idle: what is
compared was measured within seconds of each other.
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, field

from bench import WARM_UP_SECONDS, Bench
from process import ServerProcess
from sample import Sample, take
from scenarios import GROUPS, Load, select_servers
from servers import Server


@dataclass
class Row:
    """A server under a load, with its samples in the order in which they were taken."""

    group: str
    load: Load
    server: Server
    samples: list[Sample] = field(default_factory=list)

    def figures(self, name: str) -> list[float]:
        """One figure in all rounds."""
        return [getattr(sample, name) for sample in self.samples]

    def median(self, name: str) -> float:
        return statistics.median(self.figures(name))

    @property
    def errors(self) -> dict[str, int]:
        """How many of each kind in all rounds; only those that occurred."""
        kinds = self.samples[0].errors if self.samples else {}
        sums = {kind: sum(sample.errors[kind] for sample in self.samples) for kind in kinds}
        return {kind: count for kind, count in sums.items() if count}

    @property
    def disturbed(self) -> int:
        """How many samples were taken while something else used a core."""
        return sum(sample.is_disturbed for sample in self.samples)


def measure(bench: Bench, rows: list[Row]) -> None:
    """Measure all groups. `rows` grows as we go, so that an interrupt loses nothing."""
    for group in GROUPS:
        servers = select_servers(group.servers, group.name, bench.wanted)
        added = [[Row(group.name, load, server) for server in servers] for load in group.loads]
        rows.extend(row for line in added for row in line)
        for number in range(1, bench.rounds + 1):
            with contextlib.ExitStack() as stack:
                bench.progress(f"{group.name}, round {number} of {bench.rounds}")
                running = start_all(bench, servers, group.loads[0].app, stack)
                for line in added:
                    measure_load(bench, [row for row in line if row.server.name in running], running)


def start_all(
    bench: Bench, servers: tuple[Server, ...], app: str, stack: contextlib.ExitStack
) -> dict[str, ServerProcess]:
    """Start a group's servers, all on the same cores: those that have nothing to do do not disturb."""
    running = {}
    for server in servers:
        if server.name not in bench.reasons:
            with bench.noting_failure(server):
                running[server.name] = stack.enter_context(bench.running(server, app))
    return running


def measure_load(bench: Bench, rows: list[Row], running: dict[str, ServerProcess]) -> None:
    """Put a load on the servers in turns, first a warm-up that is not counted.

    A turn that other programs disturbed is taken again, though not without end: as often as there are turns.
    """
    whole = not (rows and rows[0].load.in_slices)
    turns, seconds = (1, bench.seconds) if whole else (bench.seconds, 1)
    take_turn(bench, rows, running, WARM_UP_SECONDS)
    spare = turns
    while turns:
        samples = take_turn(bench, rows, running, seconds)
        if spare and any(each.is_disturbed and not each.has_errors for each in samples.values()):
            spare -= 1
            bench.retaken += 1
            continue
        turns -= 1
        for row in rows:
            if row.server.name in samples:
                row.samples.append(samples[row.server.name])


def take_turn(bench: Bench, rows: list[Row], running: dict[str, ServerProcess], seconds: int) -> dict[str, Sample]:
    """One sample of every server that runs, one right after the other."""
    samples = {}
    for row in rows:
        name = row.server.name
        if name not in bench.reasons:
            with bench.noting_failure(row.server):
                placement = bench.placement(row.server)
                sample = samples[name] = take(running[name], row.load, seconds, placement)
                bench.progress(f"{row.load.name}, {name}: {sample.rate:,.0f}/s")
    return samples
