"""A server as it runs in production: several processes, its log in a file, and nobody who reads its pipes."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eitherway.errors import ControlError
from eitherway.supervisor.control import ask
from serving import APPS, PATIENCE, wait_until

StartSite = Callable[..., "Site"]
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Site:
    """`eitherway serve APP --engine ENGINE -w WORKERS OPTIONS...`; all workers serve when it has been made.

    All its processes, also those that an application has forked, are one session, so that none can be left behind
    unseen. `home` has its log, its control socket, and a directory `tmp` for what it writes elsewhere. `stderr` is a
    descriptor to log to instead; it is closed.
    """

    def __init__(self, app: str, engine: str, workers: int = 2, *options: str, stderr: int = -1) -> None:
        self.engine = engine
        self._directory = tempfile.TemporaryDirectory(prefix="eitherway-chaos-")
        self.home = Path(self._directory.name)
        self.control = self.home / "control.sock"
        (self.home / "tmp").mkdir()
        environ = {**os.environ, "TMPDIR": str(self.home / "tmp")}
        environ.pop("PYTHONUNBUFFERED", None)
        command = [sys.executable, "-m", "eitherway", "serve", app, "--engine", engine, "-w", str(workers)]
        command += ["--chdir", str(APPS), "--bind", "127.0.0.1:0", "--control-socket", str(self.control)]
        command += ["--graceful-timeout", "8", *options]
        with open(self.home / "out", "wb") as out:
            stderr = stderr if stderr >= 0 else os.open(self.home / "log", os.O_WRONLY | os.O_CREAT)
            try:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=stderr, env=environ, start_new_session=True
                )
            finally:
                os.close(stderr)
        try:
            wait_until(lambda: len(self.workers()) == workers or self.process.poll() is not None)
            assert self.process.poll() is None, self.log
            self.address = self._address()
        except BaseException:
            self.close()
            raise

    def _address(self) -> tuple[str, int]:
        host, _, port = self.status()["supervisor"]["addresses"][0].removeprefix("http://").rpartition(":")
        return host, int(port)

    # -- what it says of itself -----------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return (self.home / "log").read_text("utf-8", "replace")

    def wait_logged(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(text) >= times)

    def status(self) -> dict[str, Any]:
        return ask(str(self.control), "status")

    def workers(self) -> dict[int, int]:
        """Those that serve: number -> pid. None while nobody can be asked."""
        try:
            return {each["worker"]: each["pid"] for each in self.status()["workers"] if each["state"] == "serving"}
        except ControlError:
            return {}

    def pids(self) -> set[int]:
        return set(self.workers().values())

    def wait_for_workers(self, count: int = 2, without: set[int] | None = None) -> set[int]:
        """Wait until so many serve, none of `without` among them; their pids."""
        wait_until(lambda: len(found := self.pids()) == count and not (without or set()) & found)
        return self.pids()

    @property
    def supervisor(self) -> int:
        return int(self.status()["supervisor"]["pid"])

    @property
    def balancer(self) -> int:
        """Its pid; 0 where there is none."""
        return int((self.status()["balancer"] or {"pid": 0})["pid"])

    # -- what the system says of it -------------------------------------------------------------------------

    def processes(self) -> set[int]:
        """All of its session that have not ended."""
        return {pid for pid, session in _sessions() if session == self.process.pid}

    def wait_until_gone(self) -> None:
        def gone() -> bool:
            self.process.poll()
            return not self.processes()

        wait_until(gone)

    def left_behind(self) -> list[str]:
        """The files that it has made for the time of its life."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if _is_of_a_life(path))

    # -- dealing with it ------------------------------------------------------------------------------------

    def ask(self, path: str, method: str = "GET") -> int:
        """The status of one request on a connection of its own; 0 where there was no answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            response.read()
            return response.status
        except (ConnectionError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def send(self, number: int) -> None:
        """Signal the supervisor."""
        os.kill(self.supervisor, number)

    def stop(self) -> None:
        """End it as an operator does, and wait until all of it has ended."""
        self.send(signal.SIGTERM)
        self.wait_until_gone()

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended
        self.process.wait()
        self.wait_until_gone()
        self._directory.cleanup()


def resident(pid: int) -> int:
    """The bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _sessions() -> list[tuple[int, int]]:
    """Every living process of this machine, and its session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue  # it has ended meanwhile
            if state not in "ZX":
                found.append((int(entry.name), int(session)))
    return found


def _is_of_a_life(path: Path) -> bool:
    return path.name not in ("log", "out", "tmp")
