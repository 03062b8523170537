"""A small, bounded load: threads with a keep-alive connection each, that count what goes wrong."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eitherway.supervisor.control import ask
from serving import Server, wait_until

StartSupervised = Callable[..., Server]


class Load:
    """`with Load(server) as load: ...`: every client asks again and again until the block ends."""

    def __init__(self, server: Server, path: str = "/pid", clients: int = 8, pause: float = 0.002) -> None:
        self.address = server.address
        self.path = path
        self.pause = pause
        self.statuses: Counter[int] = Counter()
        self.bodies: Counter[bytes] = Counter()
        self.failures: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for(2 * len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def wait_for(self, more: int) -> None:
        """Wait for so many answers more."""
        wanted = self.answered + more
        wait_until(lambda: self.answered >= wanted or len(self.failures) > 100)

    def _run(self) -> None:
        connection = None
        while not self._ended.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*self.address, timeout=20)
                connection.request("GET", self.path)
                response = connection.getresponse()
                body = response.read()
                self.statuses[response.status] += 1
                self.bodies[body] += 1
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                if connection is not None:
                    connection.close()
                connection = None
            time.sleep(self.pause)  # the pace of a client, not a wait for anything
        if connection is not None:
            connection.close()


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
