"""wrk: the load generator for clients that never rest. Its command line, and what it prints."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from scenarios import Load

BROWSER_SCRIPT = str(Path(__file__).parent / "browser.lua")
SCALE = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
ERROR_KINDS = ("connect", "read", "write", "timeout")


class LoadError(Exception):
    """The load generator itself failed; the text is what it said."""


def command_line(load: Load, url: str, seconds: int) -> list[str]:
    """The wrk command, as it is also printed in the report."""
    line = ["wrk", "-t1", f"-c{load.clients}", f"-d{seconds}s", "--latency"]
    if load.head == "wrk":
        return [*line, url]
    return [*line, "-s", BROWSER_SCRIPT, url, *(["--", "changing"] if load.head == "changing" else [])]


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
        raise LoadError(f"its output has no {pattern!r}: {text[:300]!r}")
    return default


def milliseconds(text: str) -> float:
    """`"1.25ms"`, `"795.00us"`, `"1.02s"` in milliseconds."""
    found = re.fullmatch(r"([\d.]+)([a-z]+)", text)
    if found is None or found.group(2) not in SCALE:
        raise LoadError(f"cannot read the time {text!r}")
    return float(found.group(1)) * SCALE[found.group(2)]


def version() -> str:
    """What wrk calls itself; `--version` exits with an error code, as its usage does."""
    done = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0].partition(" [")[0]
