"""One server as a running process: started on its cores, awaited, checked, measured, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from apps import BODY
from machine import TICKS_PER_SECOND

HOST = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
SETTLE_SECONDS = 0.2
SETTLE_TRIES = 25


class ServerError(Exception):
    """The server cannot be measured; the text says why."""


@dataclass(frozen=True)
class Memory:
    """Bytes, summed over the processes of one server."""

    resident: int
    proportional: int
    processes: int


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A server and the processes it starts: they share a session of their own, by which we find them."""

    def __init__(
        self, command: Sequence[str], port: int, cores: Iterable[int], env: dict[str, str], directory: Path
    ) -> None:
        self.port = port
        self.url = f"http://{HOST}:{port}/"
        self._command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        self._env = env
        self._directory = directory
        self._log_path = directory / f"{port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers as its application should."""
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise ServerError(f"did not start: {self._last_words() or f'exit code {self._process.returncode}'}")
            if time.monotonic() > deadline:
                raise ServerError(f"did not start: silent for {START_SECONDS:.0f} s {self._last_words()}".rstrip())
            time.sleep(POLL_SECONDS)

    def _answers(self) -> bool:
        """Ask once. An answer other than the application's is an error, silence is not (yet)."""
        client = http.client.HTTPConnection(HOST, self.port, timeout=START_SECONDS / 4)
        try:
            client.request("GET", "/")
            response = client.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            client.close()
        if response.status != 200 or body != BODY:
            raise ServerError(f"answers {response.status} {body[:60]!r} {self._last_words()}".rstrip())
        return True

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log_path.read_text(errors="replace").splitlines()]
        program = str(Path(self._command[3]).parent) + "/"  # behind "taskset -c N"
        said = [line.replace(program, "") for line in lines if line]
        told = [line for line in said if "error" in line.lower()]
        return (told or said or [""])[-1][:200]

    def check_alive(self) -> None:
        """Raise if the server ended by itself."""
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"ended while it was measured {self._last_words()}".rstrip())

    def stop(self) -> None:
        """End the whole session, gently, then not; return when none of it is left."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in session_members(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline:
                process.poll()  # takes the exit code, so that the process leaves the table
                if not list(session_members(process.pid)):
                    return
                time.sleep(POLL_SECONDS)

    @property
    def pids(self) -> list[int]:
        return list(session_members(self._process.pid)) if self._process else []

    def cpu_seconds(self) -> float:
        """Processor time used so far by all of the server's processes."""
        ticks = 0
        for pid in self.pids:
            fields = stat_fields(pid)
            if fields:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SECOND

    def memory(self) -> Memory:
        """The memory of all of the server's processes now."""
        resident = proportional = counted = 0
        for pid in self.pids:
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue  # it has just ended
            kib = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
            resident += kib["Rss:"] * 1024
            proportional += kib["Pss:"] * 1024
            counted += 1
        return Memory(resident, proportional, counted)

    def settled_memory(self) -> Memory:
        """The memory once it has stopped changing."""
        last = self.memory()
        for _ in range(SETTLE_TRIES):
            time.sleep(SETTLE_SECONDS)
            now = self.memory()
            if now.resident == last.resident:
                return now
            last = now
        return last


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def session_members(session: int) -> Iterator[int]:
    """The processes of a session, without those that have ended and only wait to be taken away."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            fields = stat_fields(int(entry.name))
            if fields and int(fields[3]) == session and fields[0] != "Z":
                yield int(entry.name)
