"""What the system says of processes' memory: how much one holds, and whether it killed one for it."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    """The bytes of memory that a process holds; 0 where that cannot be read."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


class OutOfMemory:
    """Remembers how often the system has killed for lack of memory, to know whether it has done so again."""

    def __init__(self) -> None:
        self._group = _group_events()
        self._seen = self._count()

    def word(self) -> str:
        """What to say of a process killed by signal 9 just now; empty where memory was not the reason."""
        before, self._seen = self._seen, self._count()
        if self._seen[0] > before[0]:
            return "; its cgroup was out of memory"
        if self._seen[1] > before[1]:
            return "; the kernel was out of memory"
        return ""

    def _count(self) -> tuple[int, int]:
        """Kills in the cgroup, kills in the whole system."""
        return _value(self._group, "oom_kill"), _value("/proc/vmstat", "oom_kill")


def _group_events() -> str:
    """The file in which this process's cgroup counts such kills (version 2)."""
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return f"/sys/fs/cgroup{line[3:].rstrip('/')}/memory.events"
    except OSError:
        pass  # no such file system here
    return ""


def _value(path: str, name: str) -> int:
    try:
        for line in Path(path).read_text().splitlines() if path else ():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass  # not readable here
    return 0
