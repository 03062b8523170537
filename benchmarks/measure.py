"""Requests a second and latencies: interleaved rounds of every group of servers.

A core's speed may change from one second to the next (on a virtual machine by a third). So a group's servers
run at the same time and a load goes round them in turns of a second, of which all but one are idle: what is
compared was measured within seconds of each other.
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, field

import wrk
from bench import WARM_UP_SECONDS, Bench
from process import ServerProcess
from scenarios import GROUPS, Load, select_servers
from servers import Server
from wrk import Sample

DISTURBED_SHARE = 0.05  # of a core, taken by other programs during a sample


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
        return sum(share > DISTURBED_SHARE for share in self.figures("others_share"))


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
    """Start a group's servers, all on the one core: those that have nothing to do do not disturb."""
    running = {}
    for server in servers:
        if server.name not in bench.reasons:
            with bench.noting_failure(server):
                running[server.name] = stack.enter_context(bench.running(server, app))
    return running


def measure_load(bench: Bench, rows: list[Row], running: dict[str, ServerProcess]) -> None:
    """Put a load on the servers in turns, first a warm-up that is not counted."""
    seconds = [1] * bench.seconds if rows and rows[0].load.in_slices else [bench.seconds]
    for number, duration in enumerate([WARM_UP_SECONDS, *seconds]):
        for row in rows:
            if row.server.name in bench.reasons:
                continue
            with bench.noting_failure(row.server):
                sample = wrk.run(running[row.server.name], row.load, duration, bench.cores)
                if number:
                    row.samples.append(sample)
                    bench.progress(f"{row.load.name}, {row.server.name}: {sample.rate:,.0f}/s")
