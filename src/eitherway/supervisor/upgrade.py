"""SIGUSR2: start the program anew, from its files as they are now, with the sockets that are open.

The new supervisor is a child of the old one. It finds the sockets as from systemd, and a line to its predecessor; when
its workers serve it says so, and the old one retires. If it ends before, the old one goes on as if nothing had been.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
from collections.abc import Callable
from socket import socket as Socket  # noqa: N812

from eitherway.net.inherited import FIRST, PREDECESSOR
from eitherway.net.listener import ListeningSocket
from eitherway.supervisor.events import Events
from eitherway.supervisor.forking import fork_holding
from eitherway.supervisor.handle import Line, make_lines

logger = logging.getLogger("eitherway.server")


# ---- the old supervisor's side ----


class Upgrade:
    """The old supervisor's view of the new one. `on_replaced` is called when that serves."""

    def __init__(self, sockets: list[ListeningSocket], on_replaced: Callable[[], None], events: Events) -> None:
        self._sockets = sockets
        self._on_replaced = on_replaced
        self._events = events
        self.pid = 0  # of one that is starting
        self._line: Line | None = None
        self._is_cancelled = False

    def begin(self) -> None:
        if self._is_cancelled:
            return
        if os.getpid() == 1:
            logger.error("this is process 1, with which all others end: start a new container instead of this upgrade")
            return
        if self.pid:
            logger.warning("the new program is starting already (pid %d)", self.pid)
            return
        try:
            self.pid, self._line = _start_successor(self._sockets)
        except OSError as error:
            logger.error("cannot start the program anew: %s", error)
            return
        logger.info("starting the program anew, with the sockets that are open (pid %d)", self.pid)
        self._events.watch(self._line, self._hear)

    def _hear(self) -> None:
        assert self._line is not None
        is_ready = any("ready" in message for message in self._line.receive())
        if not is_ready and not self._line.closed:
            return
        self._events.unwatch(self._line)
        self._line.close()
        pid, self.pid, self._line = self.pid, 0, None
        if not is_ready:
            os.waitpid(pid, 0)
            if not self._is_cancelled:
                logger.error("the new program did not start; this one goes on")
        elif not self._is_cancelled:
            logger.info("the new program serves (pid %d); ending", pid)
            for sock in self._sockets:
                sock.owns_file = False  # the new one does
            self._on_replaced()

    def cancel(self) -> None:
        """The server is to end, and so is a new one that is starting."""
        self._is_cancelled = True
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def forget(self) -> None:
        """In a child: close the line."""
        if self._line is not None:
            self._line.close()


def _start_successor(sockets: list[ListeningSocket]) -> tuple[int, Line]:
    """Start the program anew; its process and the line to it. Raises OSError."""
    ours, theirs = make_lines()
    pid, _ = fork_holding({signal.SIGTERM})  # it may be told to end at once
    if not pid:
        try:
            _become_successor(sockets, theirs)
        finally:
            os._exit(127)
    theirs.close()
    return pid, ours


def _become_successor(sockets: list[ListeningSocket], line: Line) -> None:
    signal.set_wakeup_fd(-1)
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # SIGKILL, SIGSTOP, and numbers that are none
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    fds = [*(sock.fileno() for sock in sockets), line.fileno()]
    # First out of the way, then to their places: a place may be taken by another of them.
    away = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST + len(fds)) for fd in fds]
    for place, fd in enumerate(away, FIRST):
        os.dup2(fd, place)
    owned = [index for index, sock in enumerate(sockets) if sock.owns_file]
    environ = {
        **os.environ,
        "LISTEN_FDS": str(len(sockets)),
        "LISTEN_PID": str(os.getpid()),
        PREDECESSOR: " ".join(map(str, [FIRST + len(sockets), *owned])),
    }
    if "WATCHDOG_PID" in environ:
        environ["WATCHDOG_PID"] = environ["LISTEN_PID"]  # from now on it is fed by the new one
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


# ---- the new supervisor's side ----


class Predecessor:
    """The new supervisor's view of the old one. Nothing of that is touched until the new one serves."""

    def __init__(self, fd: int, owned: list[int]) -> None:
        self.line = Line(Socket(fileno=fd))
        self._owned = owned  # which of the sockets have files that the old one would have removed

    def replace(self, sockets: list[ListeningSocket]) -> None:
        for index in self._owned:
            sockets[index].owns_file = True
        self.line.send({"ready": True})

    def forget(self) -> None:
        """In a child: close the line."""
        self.line.close()


def find_predecessor() -> Predecessor | None:
    """The supervisor that this one is to replace."""
    words = os.environ.pop(PREDECESSOR, "").split()
    if not words:
        return None
    fd, *owned = map(int, words)
    os.set_inheritable(fd, False)
    return Predecessor(fd, owned)
