"""What a tree of processes has used so far, read from /proc: CPU, memory, context switches, threads.

    before = observe(server.pid)
    ...
    cost = spent_between(before, observe(server.pid), rate)

A process that has ended takes its counts with it; the lab's servers keep theirs for as long as they are watched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import clock_gettime, monotonic

from eitherway.lab.results import Cost

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SWITCHES = re.compile(r"^(non)?voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Usage:
    """All of a tree together. Seconds and bytes; what has a time in its name only grows."""

    at: float  # monotonic seconds
    cpu_user: float = 0.0
    cpu_system: float = 0.0
    switches_voluntary: int = 0
    switches_forced: int = 0
    resident: int = 0
    proportional: int = 0  # memory that is shared counts in equal parts for those who share it
    threads: int = 0
    processes: int = 0


def observe(pid: int) -> Usage:
    """What the process and everything below it has used. Those that end meanwhile are left out."""
    at = monotonic()
    found = [each for each in map(_process, (pid, *descendants(pid))) if each is not None]
    names = [name for name in Usage.__slots__ if name != "at"]
    return Usage(at, **{name: sum(each[name] for each in found) for name in names})  # type: ignore[arg-type]


def spent_between(
    before: Usage,
    after: Usage,
    rate: float,
    queue_wait: Mapping[str, float] | None = None,
    loop_lag: Mapping[str, float] | None = None,
) -> Cost:
    """The cost of a request, where `rate` were answered a second between two looks. Memory is that of the second."""
    seconds = max(1e-9, after.at - before.at)
    count = max(1.0, rate * seconds)
    user = max(0.0, after.cpu_user - before.cpu_user)
    system = max(0.0, after.cpu_system - before.cpu_system)
    return Cost(
        cpu_user=user / count,
        cpu_system=system / count,
        resident=after.resident,
        proportional=after.proportional,
        switches_voluntary=max(0, after.switches_voluntary - before.switches_voluntary) / count,
        switches_forced=max(0, after.switches_forced - before.switches_forced) / count,
        threads=after.threads,
        processes=after.processes,
        cores=(user + system) / seconds,
        queue_wait=queue_wait or {},
        loop_lag=loop_lag or {},
    )


def descendants(pid: int) -> list[int]:
    """The numbers of all processes below one, as far as they still live."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in path.read_text().split()]
        except OSError:
            continue  # the thread has ended
        for child in children:
            found += [child, *descendants(child)]
    return found


def cpu_time(pid: int) -> float:
    """Seconds of CPU that a process has used, exact to the nanosecond. Raises OSError when it has ended."""
    # The number of a process's own CPU clock, as clock_getcpuclockid(3) makes it.
    return clock_gettime((~pid << 3) | 2)


def _process(pid: int) -> dict[str, float] | None:
    """One process's share, or None if it has ended."""
    here = Path(f"/proc/{pid}")
    try:
        fields = (here / "stat").read_text().rpartition(")")[2].split()
        cpu = cpu_time(pid)
        voluntary = forced = threads = 0
        for status in (here / "task").glob("*/status"):
            threads += 1
            for non, count in _SWITCHES.findall(status.read_text()):
                if non:
                    forced += int(count)
                else:
                    voluntary += int(count)
        resident = int((here / "statm").read_text().split()[1]) * _PAGE
        shared = _PSS.search(_rollup(here))
    except (OSError, ValueError, IndexError):
        return None
    user, system = int(fields[11]) * _TICK, int(fields[12]) * _TICK
    # The two are counted in whole ticks; their sum is known better.
    share = user / (user + system) if user + system else 1.0
    return {
        "cpu_user": cpu * share,
        "cpu_system": cpu * (1 - share),
        "switches_voluntary": voluntary,
        "switches_forced": forced,
        "resident": resident,
        "proportional": int(shared[1]) * 1024 if shared else resident,
        "threads": threads,
        "processes": 1,
    }


def _rollup(here: Path) -> str:
    try:
        return (here / "smaps_rollup").read_text()
    except PermissionError:
        return ""  # the system keeps it from us: the resident set has to do
