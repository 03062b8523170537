"""The load generator beside another one: the same closed loop from both in turns, so that the machine is the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from statistics import median

from eitherway.errors import LabError
from eitherway.lab.load import Load, run_load

_SLACK = 30.0  # seconds beyond its time that another generator gets


@dataclass(frozen=True, slots=True)
class Rival:
    """Another generator. `arguments` for a load and its URL; `rate` reads requests per second from what it prints."""

    arguments: Callable[[Load, str], list[str]]
    rate: Callable[[str], float]


def _wrk(load: Load, url: str) -> list[str]:
    threads = min(load.processes, load.clients)
    return [f"-t{threads}", f"-c{load.clients}", f"-d{load.duration:.0f}s", *_headers(load), url]


def _h2load(load: Load, url: str) -> list[str]:
    threads = min(load.processes, load.clients)
    return ["--h1", f"-t{threads}", f"-c{load.clients}", f"-D{load.duration:.0f}", *_headers(load), url]


def _autocannon(load: Load, url: str) -> list[str]:
    return ["--json", "-c", str(load.clients), "-d", f"{load.duration:.0f}", *_headers(load), url]


def _headers(load: Load) -> Iterator[str]:
    for name, value in load.requests[0].headers:
        yield "-H"
        yield f"{name}: {value}"


def _printed(pattern: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        found = re.search(pattern, text)
        if found is None:
            raise ValueError(text)
        return float(found[1])

    return read


RIVALS = {
    "wrk": Rival(_wrk, _printed(r"Requests/sec:\s*([0-9.]+)")),
    "h2load": Rival(_h2load, _printed(r"finished in [^,]*, ([0-9.]+) req/s")),
    "autocannon": Rival(_autocannon, lambda text: float(json.loads(text)["requests"]["average"])),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers per second, whatever their status, a number a round."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    client_limited: bool  # our generator was the limit in a round

    @property
    def ratio(self) -> float:
        """Ours divided by theirs: the median of the rounds."""
        return median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


def compare_with(name: str, load: Load, rounds: int) -> Comparison:
    """Measure with both in turns. Raises LabError where the other is missing, or cannot do it."""
    program = shutil.which(name)
    if program is None:
        raise LabError(f"--check {name}: there is no program of that name; install it, or leave --check out")
    request = load.requests[0]
    if load.rate or len(load.requests) > 1 or request.method != "GET" or load.host.startswith("unix:"):
        raise LabError(f"--check {name}: that works for a closed loop of one GET request over TCP only")
    load = replace(load, duration=float(ceil(load.duration)))  # the others take whole seconds
    host = f"[{load.host}]" if ":" in load.host else load.host
    command = [program, *RIVALS[name].arguments(load, f"http://{host}:{load.port}{request.target}")]
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run_load(load))
        theirs.append(_run(name, command, load.duration))
    return Comparison(
        tuple(sum(each.statuses.values()) / each.seconds for each in ours),
        tuple(theirs),
        any(each.client_limited for each in ours),
    )


def _run(name: str, command: list[str], seconds: float) -> float:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _SLACK)
        rate = RIVALS[name].rate(done.stdout)
    except subprocess.TimeoutExpired:
        raise LabError(f"--check {name}: it does not come to its end") from None
    except (ValueError, KeyError):
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"--check {name}: it failed: {said[-1] if said else done.returncode}") from None
    if not rate:
        raise LabError(f"--check {name}: it got no answer")
    return rate
