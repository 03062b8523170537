"""Asking a supervised server, and the system, about its processes."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eitherway.supervisor.control import ask
from serving import Server, wait_until

StartSupervised = Callable[..., Server]


def get(server: Server, path: str, timeout: float = 20.0, method: str = "GET") -> tuple[int, bytes]:
    """One request on a connection of its own; status 0 where the connection was closed without an answer."""
    connection = http.client.HTTPConnection(*server.address, timeout=timeout)
    try:
        connection.request(method, path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    except (ConnectionError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def eitherway(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eitherway", *arguments],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environ},
    )  # fmt: skip


def control(server: Server) -> str:
    """The control socket of a server started with `supervised`."""
    return str(server.control)  # type: ignore[attr-defined]


def status(server: Server) -> dict[str, Any]:
    return ask(control(server), "status")


def workers(server: Server, state: str = "serving") -> dict[int, int]:
    """The workers in a state: number -> pid."""
    return {each["worker"]: each["pid"] for each in status(server)["workers"] if each["state"] == state}


def wait_for_workers(server: Server, count: int, without: set[int] = frozenset()) -> dict[int, int]:  # type: ignore[assignment]
    """Wait until `count` workers serve and none of the pids `without` does any more."""
    wait_until(lambda: len(found := workers(server)) == count and not without & set(found.values()))
    return workers(server)


def is_alive(pid: int) -> bool:
    """Whether a process lives (a zombie, which its parent has not buried, does not)."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    return [
        child for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) if is_alive(child)
    ]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)
