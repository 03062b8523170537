"""One `eitherway serve` in a process of its own, as a user would start it. The lab knows servers only from outside.

    with Server(["shop:app", "--engine", "gevent"]) as server:
        ...                     # server.host, server.port, server.pid

It has a control socket of its own, which is where `status` comes from; so it always has a supervisor.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any

from eitherway.errors import LabError
from eitherway.lab.observe import descendants

START_PATIENCE = 30.0  # seconds until it must serve
_STOP_PATIENCE = 1.0  # seconds until the next harder way of ending it
_LOOK = 0.01  # seconds between two looks
_BANNER = re.compile(r" serves .* \((\w+)\) on (\w+).* at http://([\d.]+):(\d+)")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ ")
_TRACE_PATIENCE = 2.0  # seconds for a traceback to be in the log
_FRAME = re.compile(r'  File "(.*)", line (\d+)')
_LONGEST_REASON = 300  # characters


class Server:
    """Started by `with`, or by `start` and `stop`. Raises LabError, with the server's own last line, if it ends."""

    host: str
    port: int

    def __init__(self, options: Sequence[str], *, patience: float = START_PATIENCE) -> None:
        self.options = tuple(options)
        self.interface = ""  # "wsgi" or "asgi", as it says
        self.engine = ""
        self.startup = 0.0  # seconds from its start to its banner
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # -- starting -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._directory = tempfile.TemporaryDirectory(prefix="eitherway-lab-")
        here = Path(self._directory.name)
        self._control = here / "control"
        self._log_file = here / "log"
        own = ["--bind", "127.0.0.1:0", "--control-socket", str(self._control), "--no-reload", "--log-level", "info"]
        began = monotonic()
        try:
            with self._log_file.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "eitherway", "serve", *self.options, *own],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the lab, which ends its servers itself
                )
            self._wait_for_banner(began + self._patience)
        except BaseException:
            self.stop()
            raise
        self.startup = monotonic() - began

    def _wait_for_banner(self, deadline: float) -> None:
        while True:
            ended = not self.is_alive
            if found := _BANNER.search(self.log):
                self.interface, self.engine, self.host = found[1], found[2], found[3]
                self.port = int(found[4])
                return
            if ended:
                raise LabError(self.last_words() or "it ended without a word")
            if monotonic() > deadline:
                raise LabError(f"did not start within {self._patience:g} s")
            sleep(_LOOK)

    # -- what is known of it --------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The supervisor's number; the workers are its children."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return self._log_file.read_text("utf-8", "replace") if self._directory else ""

    def last_words(self) -> str:
        """The last line of its log that says something, without time and name; empty if there is none."""
        lines = [line.strip() for line in self.log.splitlines() if line.strip()]
        line = _STAMP.sub("", lines[-1]) if lines else ""
        return line.removeprefix("eitherway: ")[:_LONGEST_REASON]

    def raised(self) -> str:
        """What the application raised last, and where, as the log shows it; empty if it does not. An answer may come
        before its traceback.
        """
        deadline = monotonic() + _TRACE_PATIENCE
        while not (found := _last_raised(self.log)) and monotonic() < deadline:
            sleep(_LOOK)
        return found[:_LONGEST_REASON]

    def status(self) -> dict[str, Any]:
        """What `eitherway status --json` prints. Raises LabError when it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(_STOP_PATIENCE)
                sock.connect(str(self._control))
                sock.sendall(b'{"command": "status"}\n')
                with sock.makefile("rb") as stream:
                    answer: dict[str, Any] = json.loads(stream.readline())
                    return answer
        except (OSError, ValueError) as error:
            raise LabError(f"the server does not tell its status: {error}") from None

    def worker_pids(self) -> tuple[int, ...]:
        """The workers' numbers: others, when one was replaced."""
        return tuple(sorted(each["pid"] for each in self.status()["workers"]))

    # -- ending ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End it and everything it started: TERM, then QUIT, then KILL. Returns when all are gone."""
        if self._process is not None:
            family = {self._process.pid, *descendants(self._process.pid)}
            try:
                self._end_gently(family)
            finally:
                # Also when Ctrl-C came again in between.
                self._kill(family)
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def _end_gently(self, family: set[int]) -> None:
        assert self._process is not None
        for number in (signal.SIGTERM, signal.SIGQUIT):
            if self._process.poll() is None:
                self._process.send_signal(number)
            try:
                self._process.wait(_STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                family |= set(descendants(self._process.pid))
            else:
                return

    def _kill(self, family: set[int]) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pid in family - {self._process.pid}:
            # The session tells ours from a stranger who got the number meanwhile.
            try:
                if os.getsid(pid) == self._process.pid:
                    os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # it has gone


def _last_raised(log: str) -> str:
    """ "KeyError: 'x' in shop/views.py:12", from the last traceback of a log."""
    place = ""
    _, found_one, rest = log.rpartition("Traceback (most recent call last):\n")
    for line in rest.splitlines() if found_one else ():
        if found := _FRAME.match(line):
            place = f" in {found[1]}:{found[2]}"
        elif place and not line.startswith(" "):
            return f"{line}{place}"
    return ""
