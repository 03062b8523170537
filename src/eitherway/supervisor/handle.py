"""The two ends of the line between supervisor and worker, and the parent's view of a worker.

A line is one end of a socket pair; JSON objects go over it, one a line. When its other end is closed, the process
there has ended, however it did.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket as socket_module
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from select import POLLIN, poll
from socket import socket as Socket  # noqa: N812
from time import monotonic
from typing import Any, TypeVar

from eitherway.errors import AppLoadError, StartError

T = TypeVar("T")

_RECEIVE = 65536
_LONGEST_END = 16384  # characters


class Line:
    """A non-blocking end. Neither side may be held up by the other, so what does not fit is dropped."""

    def __init__(self, sock: Socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.closed = False  # the other end is
        self._buffer = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: dict[str, Any]) -> bool:
        short = {key: _shortened(value) if isinstance(value, str) else value for key, value in message.items()}
        try:
            self.socket.sendall(json.dumps(short).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[dict[str, Any]]:
        """What has come. Afterwards `closed` says whether more can come; not from one who sends no JSON."""
        while True:
            try:
                data = self.socket.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.closed = True
                break
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        messages = []
        for line in lines:
            try:
                messages.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                self.closed = True  # an application may write to any descriptor
        return messages

    def tell_by(self, number: int) -> None:
        """Have this process get a signal when something comes, or the other end is closed; 0: no more.

        For when it does not look: what it runs may never come to an end.
        """
        fd = self.socket.fileno()
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if number:
            fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(fd, fcntl.F_SETSIG, number)
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)
            line = poll()
            line.register(fd, POLLIN)
            if line.poll(0):  # it came before this was asked for
                os.kill(os.getpid(), number)
        else:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_ASYNC)

    def close(self) -> None:
        self.socket.close()


def _shortened(text: str) -> str:
    """Without the middle of what would not fit into a line: a traceback shows what it is at its ends."""
    left_out = len(text) - 2 * _LONGEST_END
    return text if left_out <= 0 else f"{text[:_LONGEST_END]} [{left_out} characters] {text[-_LONGEST_END:]}"


def make_lines() -> tuple[Line, Line]:
    """A line's two ends."""
    ours, theirs = socket_module.socketpair()
    for sock in (ours, theirs):
        sock.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_SNDBUF, 1 << 20)  # several long tracebacks fit
    return Line(ours), Line(theirs)


def told(line: Line, work: Callable[[], T]) -> T | None:
    """What an import of the application leads to; None where it fails, and then the line knows why."""
    try:
        return work()
    except StartError as error:
        line.send({"failed": str(error), "traceback": error.traceback, "exit_code": error.exit_code})
    except BaseException as error:
        text = f"importing the application ended with {type(error).__name__}: {error}"
        line.send({"failed": text, "traceback": traceback.format_exc(), "exit_code": 1})
    return None


@dataclass(slots=True)
class Failure:
    """Why a worker could not start."""

    message: str
    traceback: str
    exit_code: int

    def error(self, exit_code: int) -> AppLoadError:
        """What the command ends with."""
        error = AppLoadError(self.message, self.traceback)
        error.exit_code = exit_code
        return error


@dataclass(slots=True)
class Handle:
    """A worker process, as the supervisor sees it."""

    id: int
    generation: int
    pid: int  # 0: not forked yet
    slot: int
    line: Line
    path: str = ""  # of its own Unix socket, where a balancer gives it its requests
    born: float = field(default_factory=monotonic)
    is_ready: bool = False
    failure: Failure | None = None
    reason: str = ""  # why we end it, where we do
    is_draining: bool = False
    is_deaf: bool = False  # its end of the line was closed, though it lived
    aborted_at: float = 0.0  # when it was asked for its stack by a signal that ends it

    def __str__(self) -> str:
        return f"worker {self.id} (pid {self.pid})"
