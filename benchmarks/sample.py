"""One run of a load generator, and what the machine did meanwhile."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import wrk
from machine import Placement, busy_seconds, core_speed
from process import ServerProcess
from scenarios import Load
from wrk import LoadError

OPEN_LOOP_SCRIPT = str(Path(__file__).parent / "open_loop.py")
ECHOES_SCRIPT = str(Path(__file__).parent / "echoes.py")
SLACK_SECONDS = 30
DISTURBED_SHARE = 0.05  # of a core, taken by other programs during a sample


@dataclass(frozen=True)
class Sample:
    """One run. The shares are of one core: 1.0 is a core that did nothing else.

    The core's speed was taken just before, in millions of steps of plain Python a second. The last two figures belong
    to a load of a given rate only.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    requests: int
    errors: dict[str, int]
    server_share: float
    client_share: float
    others_share: float
    core_speed: float
    short_p99_ms: float = 0.0  # of the requests that the application answers soon
    late_p99_ms: float = 0.0  # how late the generator itself was

    @property
    def is_disturbed(self) -> bool:
        return self.others_share > DISTURBED_SHARE

    @property
    def has_errors(self) -> bool:
        return any(self.errors.values())


def take(server: ServerProcess, load: Load, seconds: int, placement: Placement) -> Sample:
    """Put `load` on `server` for some seconds."""
    command = ["taskset", "-c", ",".join(map(str, placement.client)), *command_line(load, server.url, seconds)]
    speed = core_speed(placement.server[0])
    started, server_cpu, client_cpu = time.monotonic(), server.cpu_seconds(), children_seconds()
    busy = {core: busy_seconds(core) for core in (*placement.server, *placement.client)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + SLACK_SECONDS, check=False)
    took = time.monotonic() - started
    busy = {core: busy_seconds(core) - before for core, before in busy.items()}
    server_cpu = server.cpu_seconds() - server_cpu
    client_cpu = children_seconds() - client_cpu
    server.check_alive()
    if done.returncode:
        raise LoadError((done.stderr or done.stdout).strip() or f"{command[3]} ended with code {done.returncode}")
    printed = wrk.parse(done.stdout) if command[3] == "wrk" else json.loads(done.stdout)
    if not printed["requests"]:
        raise LoadError(f"no answer to any of {load.clients} clients within {seconds} s")
    if placement.is_shared:
        others = sum(busy.values()) - server_cpu - client_cpu
    else:
        at_server = sum(busy[core] for core in placement.server) - server_cpu
        others = max(at_server, sum(busy[core] for core in placement.client) - client_cpu)
    return Sample(
        **printed,
        server_share=server_cpu / took,
        client_share=client_cpu / took,
        others_share=max(others, 0.0) / took,
        core_speed=speed,
    )


def command_line(load: Load, url: str, seconds: int) -> list[str]:
    """The generator's command: wrk, or ours where the load has a rate or speaks another protocol."""
    if load.rate:
        return [sys.executable, OPEN_LOOP_SCRIPT, url, str(load.rate), str(seconds)]
    if load.head == "websocket":
        return [sys.executable, ECHOES_SCRIPT, url, str(load.clients), str(seconds)]
    return wrk.command_line(load, url, seconds)


def children_seconds() -> float:
    """Processor time of the children that have ended and were waited for: of the generator, while nobody else ends."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
