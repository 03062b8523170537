"""SIGUSR2: start the program anew, from its files as they are now, with the sockets that are open.

The new supervisor is a child of the old one. It finds the sockets as from systemd, and a line to its predecessor; when
its workers serve it says so, and the old one retires. If it ends before, the old one goes on as if nothing had been.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable
from socket import socket as Socket  # noqa: N812

from eitherway.net.inherited import FIRST
from eitherway.supervisor.events import Events
from eitherway.supervisor.forking import fork
from eitherway.supervisor.handle import Line, make_lines

_VARIABLE = "_EITHERWAY_PREDECESSOR"  # the number of the line's descriptor


def start_successor(sockets: list[Socket]) -> tuple[int, Line]:
    """Start the program anew; its process and the line to it. Raises OSError."""
    ours, theirs = make_lines()
    pid = fork()
    if not pid:
        try:
            _become_successor([*(sock.fileno() for sock in sockets), theirs.fileno()])
        finally:
            os._exit(127)
    theirs.close()
    return pid, ours


def _become_successor(fds: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # SIGKILL, SIGSTOP, and numbers that are none
    # First out of the way, then to their places: a place may be taken by another of them.
    away = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST + len(fds)) for fd in fds]
    for place, fd in enumerate(away, FIRST):
        os.dup2(fd, place)
    environ = {
        **os.environ,
        "LISTEN_FDS": str(len(fds) - 1),
        "LISTEN_PID": str(os.getpid()),
        _VARIABLE: str(FIRST + len(fds) - 1),
    }
    if "WATCHDOG_PID" in environ:
        environ["WATCHDOG_PID"] = environ["LISTEN_PID"]  # from now on it is fed by the new one
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


def find_predecessor() -> Line | None:
    """The line to the supervisor that this one is to replace."""
    number = os.environ.pop(_VARIABLE, "")
    if not number.isdigit():
        return None
    os.set_inheritable(int(number), False)
    return Line(Socket(fileno=int(number)))


class Successor:
    """The old supervisor's view of the new one. `on_answer` is called once, when it serves or has failed to."""

    def __init__(self, sockets: list[Socket], on_answer: Callable[[Successor], None], events: Events) -> None:
        self.pid, self.line = start_successor(sockets)
        self.is_ready = False
        self.is_over = False  # it has failed
        self._on_answer = on_answer
        self._events = events
        events.watch(self.line, self._hear)

    def _hear(self) -> None:
        self.is_ready = any("ready" in message for message in self.line.receive())
        if not self.is_ready and not self.line.closed:
            return
        self._events.unwatch(self.line)
        self.line.close()
        if not self.is_ready:
            self.is_over = True
            os.waitpid(self.pid, 0)
        self._on_answer(self)

    def forget(self) -> None:
        """In a child: close the line."""
        self.line.close()
