"""What the figures were measured on: the machine, and the versions of what took part."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eitherway import __version__

_LIBRARIES = (
    "httptools", "uvloop", "gevent", "eventlet", "greenlet", "trio", "curio", "twisted",
    "flask", "django", "bottle", "fastapi", "starlette", "psycopg",
)  # fmt: skip


def machine() -> dict[str, str]:
    """CPU, number of CPUs that we may use, memory, system, Python."""
    return {
        "cpu": _find(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """The installed ones, of eitherway and of the libraries that matter for speed."""
    found = {"eitherway": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _memory() -> str:
    kib = _find(r"^MemTotal:\s+(\d+) kB", "/proc/meminfo")
    return f"{int(kib) / 2**20:.1f} GiB" if kib else ""


def _find(pattern: str, file: str) -> str:
    try:
        found = re.search(pattern, Path(file).read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""
