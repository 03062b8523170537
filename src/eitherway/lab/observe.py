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
_MOST_LOST = 0.9  # beyond that the little that is left tells nothing
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KNOWS_DELAYS = Path("/proc/self/schedstat").exists()  # the kernel counts how long a thread waits for a CPU
_SWITCHES = re.compile(r"^(non)?voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Usage:
    """All of a tree together, but for `busy`. Seconds and bytes; what has a time in its name only grows."""

    at: float  # monotonic seconds
    busy: float = 0.0  # seconds in which the machine's CPUs had work, whoever's, all of them together
    cpu_user: float = 0.0
    cpu_system: float = 0.0
    switches_voluntary: int = 0
    switches_forced: int = 0
    delayed: float = 0.0  # seconds in which its threads could have run, and had no CPU
    resident: int = 0
    proportional: int = 0  # memory that is shared counts in equal parts for those who share it
    threads: int = 0
    processes: int = 0


def observe(pid: int) -> Usage:
    """What the process and everything below it has used. Those that end meanwhile are left out."""
    at, busy = monotonic(), _busy()
    found = [each for each in map(_process, (pid, *descendants(pid))) if each is not None]
    names = [name for name in Usage.__slots__ if name not in ("at", "busy")]
    return Usage(at, busy, **{name: sum(each[name] for each in found) for name in names})  # type: ignore[arg-type]


def spent_between(
    before: Usage,
    after: Usage,
    rate: float,
    queue_wait: Mapping[str, float] | None = None,
    loop_lag: Mapping[str, float] | None = None,
    *,
    lost: float = 0.0,
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
        lost=lost,
        queue_wait=queue_wait or {},
        loop_lag=loop_lag or {},
    )


def lost_between(before: Usage, after: Usage, generator: float, workers: int) -> float:
    """The share of the time in which a worker could have gone on, and the CPU was with other programs.

    Those are neither the server nor the load generator, which used `generator` of a CPU. A worker that waits for the
    CPU because of its siblings has lost nothing to others.
    """
    seconds, workers = max(1e-9, after.at - before.at), max(1, workers)
    used = (after.cpu_user + after.cpu_system - before.cpu_user - before.cpu_system) / seconds
    others = (after.busy - before.busy) / seconds - used - generator
    delayed = (after.delayed - before.delayed) / seconds - generator
    # Threads that wait together lose the time only once: a worker computes on one CPU.
    return min(_MOST_LOST, max(0.0, min(others, delayed, workers - used) / workers))


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
        threads = [each for each in map(_thread, (here / "task").iterdir()) if each is not None]
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
        **{name: sum(each[name] for each in threads) for name in ("switches_voluntary", "switches_forced", "delayed")},
        "resident": resident,
        "proportional": int(shared[1]) * 1024 if shared else resident,
        "threads": len(threads),
        "processes": 1,
    }


def _thread(here: Path) -> dict[str, float] | None:
    """One thread's share, or None if it has ended."""
    try:
        switches = {non: int(count) for non, count in _SWITCHES.findall((here / "status").read_text())}
        delayed = int((here / "schedstat").read_text().split()[1]) / 1e9 if _KNOWS_DELAYS else 0.0
    except OSError:
        return None
    return {
        "switches_voluntary": switches.get("", 0),
        "switches_forced": switches.get("non", 0),
        "delayed": delayed,
    }


def _busy() -> float:
    """Seconds that all CPUs together have worked, for whomever; what a hypervisor took away counts too."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, *more = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(more)) * _TICK


def _rollup(here: Path) -> str:
    try:
        return (here / "smaps_rollup").read_text()
    except PermissionError:
        return ""  # the system keeps it from us: the resident set has to do
