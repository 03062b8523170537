"""The machine that the figures belong to, and how busy its cores were while they were taken."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
IDLE_FIELDS = (3, 4)  # idle and iowait, in a line of /proc/stat
GUEST_FIELDS = 8  # guest time stands behind them and is counted within user time already
SPIN_STEPS = 200_000
SPINS = 3


@dataclass(frozen=True)
class Placement:
    """The cores that a server may use, and those that the load generator may."""

    server: tuple[int, ...]
    client: tuple[int, ...]

    @property
    def is_shared(self) -> bool:
        return bool(set(self.server) & set(self.client))

    def __str__(self) -> str:
        return f"server on {words(self.server)}, load on {'the same' if self.is_shared else words(self.client)}"


def words(cores: tuple[int, ...]) -> str:
    """`(0, 1)` as "cores 0 and 1"."""
    return f"core{'s' * (len(cores) > 1)} {' and '.join(map(str, cores))}"


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    virtual: bool
    kernel: str
    python: str
    memory_mib: int
    load_average: float

    def __str__(self) -> str:
        kind = ", a virtual machine" if self.virtual else ""
        return (
            f"{self.cpu} ({self.cores} cores{kind}), {self.memory_mib / 1024:.0f} GiB,"
            f" Linux {self.kernel}, {self.python}"
        )


def describe() -> Machine:
    """Read what the reader of a table must know about the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    info = {key.strip(): value.strip() for key, value in fields.items()}
    return Machine(
        cpu=info.get("model name", platform.machine()),
        cores=os.cpu_count() or 1,
        virtual="hypervisor" in info.get("flags", "").split(),
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        load_average=os.getloadavg()[0],
    )


def missing_tools() -> list[str]:
    """What has to be installed by the system's package manager before anything can be measured."""
    if platform.system() != "Linux":
        return ["Linux (pinning and memory figures come from it)"]
    return [tool for tool in ("wrk", "taskset") if shutil.which(tool) is None]


def choose_cores(server: int | None, client: int | None) -> tuple[Placement, Placement]:
    """Where servers of one process run, and where those of several do.

    One process has a core, and the load another; the first two we may use unless the user says. Several processes have
    both, and the load a third, or where there is none both too.
    """
    allowed = sorted(os.sched_getaffinity(0))
    for core in (server, client):
        if core is not None and core not in allowed:
            raise SystemExit(f"core {core} cannot be used here; choose from {allowed}")
    first = server if server is not None else next(core for core in allowed if core != client)
    others = [core for core in allowed if core != first]
    if client is None and not others:
        raise SystemExit("two cores are needed: one for the server, one for the load")
    second = client if client is not None else others[0]
    if first == second:
        raise SystemExit("the server and the load need a core each")
    both = (first, second)
    third = tuple(core for core in allowed if core not in both)[:1]
    return Placement((first,), (second,)), Placement(both, third or both)


def busy_seconds(core: int) -> float:
    """How long `core` has worked since the system started, for whomever."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            used = [int(t) for i, t in enumerate(ticks[:GUEST_FIELDS]) if i not in IDLE_FIELDS]
            return sum(used) / TICKS_PER_SECOND
    raise SystemExit(f"/proc/stat does not know core {core}")


def core_speed(core: int) -> float:
    """How fast `core` runs plain Python now, in millions of steps a second: a virtual core's speed varies.

    Counted in processor time, so that other programs on the core do not count.
    """

    def spin() -> float:
        started = time.thread_time()
        for _ in range(SPIN_STEPS):
            pass
        return time.thread_time() - started

    return SPIN_STEPS / 1e6 / min(on_core(core, spin) for _ in range(SPINS))


def on_core(core: int, work: Callable[[], float]) -> float:
    """Do `work` on `core`, then go back."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return work()
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Allow ourselves, and so every server and client we start, as many open files as we may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
