"""Memory: of a server that has answered some requests, and of each connection that is kept open, idle."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench import WARM_UP_SECONDS, Bench
from process import HOST, Memory, ServerProcess
from sample import take
from scenarios import BROWSER_HEAD, IDLE, IDLE_SERVERS, MEMORY, MEMORY_SERVERS, select_servers
from servers import Server

SPARE_FILES = 200  # that a process needs for other things than connections


@dataclass
class MemoryRow:
    """A server's memory, one reading a round."""

    server: Server
    readings: list[Memory] = field(default_factory=list)

    @property
    def resident(self) -> float:
        return statistics.median(reading.resident for reading in self.readings)

    @property
    def proportional(self) -> float:
        return statistics.median(reading.proportional for reading in self.readings)


@dataclass
class IdleRow:
    """A server's memory before and with many idle connections."""

    server: Server
    wanted: int
    opened: int = 0
    alive: int = 0
    before: int = 0
    after: int = 0
    problem: str = ""

    @property
    def bytes_each(self) -> float:
        return (self.after - self.before) / self.opened if self.opened else 0.0


def measure_memory(bench: Bench, rows: list[MemoryRow]) -> None:
    """Read each server's memory after a second of requests from 64 clients with a browser's headers."""
    servers = select_servers(MEMORY_SERVERS, MEMORY, bench.wanted)
    added = {server.name: MemoryRow(server) for server in servers}
    rows.extend(added.values())
    for number in range(1, bench.rounds + 1):
        for server in servers:
            if server.name in bench.reasons:
                continue
            bench.progress(f"{MEMORY}, round {number} of {bench.rounds}: {server.name}")
            with bench.noting_failure(server), bench.running(server, "hello") as process:
                take(process, BROWSER_HEAD, WARM_UP_SECONDS, bench.one)
                added[server.name].readings.append(process.settled_memory())


def measure_idle(bench: Bench, rows: list[IdleRow]) -> None:
    """Compare each server's memory before and with the idle connections, once."""
    wanted = min(bench.idle_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)
    for server in select_servers(IDLE_SERVERS, IDLE, bench.wanted):
        row = IdleRow(server, wanted)
        rows.append(row)
        if server.name in bench.reasons:
            continue
        bench.progress(f"{IDLE}: {server.name}, {wanted} connections")
        with bench.noting_failure(server), bench.running(server, "hello") as process:
            take(process, BROWSER_HEAD, WARM_UP_SECONDS, bench.one)
            row.before = process.settled_memory().resident
            hold_connections(process, row, bench.one.client[0])


def hold_connections(process: ServerProcess, row: IdleRow, core: int) -> None:
    """Let the helper open the connections, read the memory while it holds them, ask how many are left."""
    script = str(Path(__file__).parent / "idle_clients.py")
    command = ["taskset", "-c", str(core), sys.executable, script, HOST, str(process.port), str(row.wanted)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as helper:
        assert helper.stdin is not None and helper.stdout is not None
        try:
            _, opened, *problem = helper.stdout.readline().split(maxsplit=2)
            row.opened, row.problem = int(opened), "".join(problem).strip()
            row.after = process.settled_memory().resident
            helper.stdin.close()
            row.alive = int(helper.stdout.readline().split()[1])
        except BaseException:
            helper.kill()
            raise
    if row.alive < row.opened:
        row.problem = f"only {row.alive} were still open when the memory was read; {row.problem}".strip("; ")
