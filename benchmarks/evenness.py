"""How evenly the requests of keep-alive clients spread over a server's worker processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench import Bench
from process import HOST
from sample import SLACK_SECONDS
from scenarios import CLIENTS, EVENNESS, EVENNESS_SERVERS, select_servers
from servers import Server
from wrk import LoadError

SCRIPT = str(Path(__file__).parent / "even_clients.py")


@dataclass(frozen=True)
class Spread:
    """Of each worker process: the answers it gave, and the connections it had at last. None of either is a 0."""

    answers: tuple[int, ...]
    connections: tuple[int, ...]
    lost: int  # connections that the server closed

    @property
    def ratio(self) -> float:
        """The most that a worker has answered, divided by the least."""
        return max(self.answers) / min(self.answers) if min(self.answers) else float("inf")


@dataclass
class EvenRow:
    """A server's spreads, one a round."""

    server: Server
    spreads: list[Spread] = field(default_factory=list)


def measure_evenness(bench: Bench, rows: list[EvenRow]) -> None:
    """Let the clients ask for a while; every round starts the servers anew."""
    servers = select_servers(EVENNESS_SERVERS, EVENNESS, bench.wanted)
    added = {server.name: EvenRow(server) for server in servers}
    rows.extend(added.values())
    for number in range(1, bench.rounds + 1):
        for server in servers:
            if server.name not in bench.reasons:
                bench.progress(f"{EVENNESS}, round {number} of {bench.rounds}: {server.name}")
                with bench.noting_failure(server):
                    added[server.name].spreads.append(spread(bench, server))


def spread(bench: Bench, server: Server) -> Spread:
    """One run of the clients."""
    with bench.running(server, "worker") as process:
        cores = ",".join(map(str, bench.placement(server).client))
        command = [sys.executable, SCRIPT, HOST, str(process.port), str(CLIENTS), str(bench.seconds)]
        done = subprocess.run(
            ["taskset", "-c", cores, *command],
            capture_output=True,
            text=True,
            timeout=bench.seconds + SLACK_SECONDS,
            check=False,
        )
        process.check_alive()
        if done.returncode:
            raise LoadError((done.stderr.strip().splitlines() or ["the clients failed"])[-1])
    found = json.loads(done.stdout)
    absent = (0,) * (server.workers - len(found["answers"]))
    answers = sorted(found["answers"].values(), reverse=True)
    connections = sorted(found["connections"].values(), reverse=True)
    idle = (0,) * (server.workers - len(connections))
    return Spread((*answers, *absent), (*connections, *idle), found["lost"])
