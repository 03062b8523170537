"""How many CPUs there are for us: what `--workers auto` counts. Asked once, at the start, by serve.py."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")


def available(root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> int:
    """The CPUs this process may run on, or fewer where its cgroup (version 2) is given less time than they have."""
    return count(len(os.sched_getaffinity(0)), _limits(root, membership))


def count(allowed: int, limits: Iterable[str]) -> int:
    """CPUs to be used: `allowed` ones, less where the contents of a cpu.max, "150000 100000", say so; 2 for 1.5."""
    least = float(allowed)
    for text in limits:
        match text.split():
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period):
                least = min(least, int(quota) / int(period))
    return max(1, math.ceil(least))


def _limits(root: Path, membership: Path) -> list[str]:
    """The cpu.max of our cgroup and of all above it: each of them counts."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []  # not readable here
    ours = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    found = []
    for part in (PurePosixPath(ours), *PurePosixPath(ours).parents):
        try:
            found.append((root / part / "cpu.max").read_text())
        except OSError:
            pass  # the topmost has none, and a container does not see those above it
    return found
