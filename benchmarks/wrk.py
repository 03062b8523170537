"""The load: runs wrk, pinned on its core, and reads what it prints."""

from __future__ import annotations

import re
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import busy_seconds, core_speed
from process import ServerProcess
from scenarios import Load

BROWSER_SCRIPT = str(Path(__file__).parent / "browser.lua")
SCALE = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
ERROR_KINDS = ("connect", "read", "write", "timeout")
SLACK_SECONDS = 30
DISTURBED_SHARE = 0.05  # of a core, taken by other programs during a sample


class WrkError(Exception):
    """wrk itself failed; the text is what it said."""


@dataclass(frozen=True)
class Sample:
    """One run of wrk. The shares are of one core: 1.0 is a core that did nothing else.

    The core's speed was taken just before, in millions of steps of plain Python a second.
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

    @property
    def is_disturbed(self) -> bool:
        return self.others_share > DISTURBED_SHARE

    @property
    def has_errors(self) -> bool:
        return any(self.errors.values())


def run(server: ServerProcess, load: Load, seconds: int, cores: tuple[int, int]) -> Sample:
    """Put `load` on `server` for some seconds."""
    server_core, client_core = cores
    command = ["taskset", "-c", str(client_core), *command_line(load, server.url, seconds)]
    speed = core_speed(server_core)
    started, server_cpu, client_cpu = time.monotonic(), server.cpu_seconds(), children_seconds()
    busy = busy_seconds(server_core), busy_seconds(client_core)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + SLACK_SECONDS, check=False)
    took = time.monotonic() - started
    busy_by = busy_seconds(server_core) - busy[0], busy_seconds(client_core) - busy[1]
    server_cpu = server.cpu_seconds() - server_cpu
    client_cpu = children_seconds() - client_cpu
    server.check_alive()
    if done.returncode:
        raise WrkError((done.stderr or done.stdout).strip() or f"wrk ended with code {done.returncode}")
    printed = parse(done.stdout)
    if not printed["requests"]:
        raise WrkError(f"no answer to any of {load.clients} clients within {seconds} s")
    others = max(busy_by[0] - server_cpu, busy_by[1] - client_cpu, 0.0)
    return Sample(
        **printed,
        server_share=server_cpu / took,
        client_share=client_cpu / took,
        others_share=others / took,
        core_speed=speed,
    )


def command_line(load: Load, url: str, seconds: int) -> list[str]:
    """The wrk command, as it is also printed in the report."""
    line = ["wrk", "-t1", f"-c{load.clients}", f"-d{seconds}s", "--latency"]
    if load.head == "wrk":
        return [*line, url]
    return [*line, "-s", BROWSER_SCRIPT, url, *(["--", "changing"] if load.head == "changing" else [])]


def children_seconds() -> float:
    """Processor time of the children that have ended and were waited for: of wrk, while nobody else ends."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def parse(text: str) -> dict[str, Any]:
    """Read what wrk printed: the figures of a sample that are the load generator's."""
    errors = dict.fromkeys(ERROR_KINDS, 0)
    if found := SOCKET_ERRORS.search(text):
        errors = dict(zip(ERROR_KINDS, map(int, found.groups()), strict=True))
    errors["status"] = int(number(text, r"Non-2xx or 3xx responses: (\d+)", "0"))
    return {
        "rate": float(number(text, r"Requests/sec:\s+([\d.]+)")),
        "p50_ms": milliseconds(number(text, r"50%\s+([\d.]+\w+)")),
        "p99_ms": milliseconds(number(text, r"99%\s+([\d.]+\w+)")),
        "requests": int(number(text, r"(\d+) requests in")),
        "errors": errors,
    }


def number(text: str, pattern: str, default: str | None = None) -> str:
    """The first match of `pattern`."""
    found = re.search(pattern, text)
    if found:
        return found.group(1)
    if default is None:
        raise WrkError(f"its output has no {pattern!r}: {text[:300]!r}")
    return default


def milliseconds(text: str) -> float:
    """`"1.25ms"`, `"795.00us"`, `"1.02s"` in milliseconds."""
    found = re.fullmatch(r"([\d.]+)([a-z]+)", text)
    if found is None or found.group(2) not in SCALE:
        raise WrkError(f"cannot read the time {text!r}")
    return float(found.group(1)) * SCALE[found.group(2)]


def version() -> str:
    """What wrk calls itself; `--version` exits with an error code, as its usage does."""
    done = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0].partition(" [")[0]
