"""What the system says of processes' memory: how much one holds, and whether it killed one for it."""

from __future__ import annotations

import os
from pathlib import Path

_WHOSE = ("its cgroup", "the kernel")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    """The bytes of memory that a process holds; 0 where that cannot be read."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


class OutOfMemory:
    """Knows whether the system has killed for lack of memory of late: in our cgroup (version 2), or anywhere."""

    def __init__(self, group: str | None = None, system: str = "/proc/vmstat") -> None:
        self._files = (_group_events() if group is None else group, system)
        self._seen = self._explained = self._count()

    def look(self) -> None:
        """Called now and then: kills before the last look have nothing to do with who dies from now on."""
        self._explained = tuple(map(max, self._explained, self._seen))
        self._seen = self._count()

    def word(self) -> str:
        """What to say of a process killed by signal 9 just now; empty where memory was not the reason."""
        for index, (count, explained) in enumerate(zip(self._count(), self._explained, strict=True)):
            if count > explained:
                # One kill explains one death. One in the cgroup counts in the whole system too.
                self._explained = tuple(each + (place >= index) for place, each in enumerate(self._explained))
                return f"; {_WHOSE[index]} was out of memory"
        return ""

    def _count(self) -> tuple[int, ...]:
        return tuple(_value(file, "oom_kill") for file in self._files)


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
