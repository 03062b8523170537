"""Logs that may be pipes: a reader that stands still holds nobody up, and the supervisor still hears TERM."""

from __future__ import annotations

import logging
import os
import stat
import sys
from io import TextIOWrapper

# Bound now: where greenlets are patched in, a line that comes from the loop itself needs the real ones.
from os import close as close_fd
from os import open as open_fd
from os import write as write_fd
from select import POLLOUT, poll

_PATIENCE = 250  # milliseconds that a reader gets to make room; lines that follow a lost one are not waited for


class PipeHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """As the standard library's; but a line that a pipe does not take is an error (BlockingIOError)."""

    _behind = False  # the last line was lost
    _pipe = -1  # opened by us: whether a write waits is a property that all share who have the same opening
    _identity = (0, 0)  # of the pipe

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fd = self._opened()
        except (OSError, ValueError, AttributeError):
            super().emit(record)  # no pipe, or no file at all
            return
        try:
            text = f"{self.foreword()}{self.format(record)}\n"
            self.stream.flush()  # what the application has printed comes first
            patient, self._behind = not self._behind, True
            _write(fd, text.encode("utf-8", "backslashreplace"), patient)
            self._behind = False
        except Exception:
            self.handleError(record)

    def _opened(self) -> int:
        """Our opening of the pipe that the stream is. Raises ValueError where it is none.

        An application may have closed what it does not know, and the number may be another file's by now.
        """
        identity = _pipe_at(self.stream.fileno())
        if not _is_pipe(self._pipe, identity):
            if _is_pipe(self._pipe, self._identity):
                close_fd(self._pipe)
            self._pipe = open_fd(f"/proc/self/fd/{self.stream.fileno()}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._identity = identity
        return self._pipe

    def foreword(self) -> str:
        return ""


class StderrHandler(PipeHandler):
    """Lost lines are counted, and that is said as soon as it can be."""

    _lost = 0

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def foreword(self) -> str:
        return f"{self._lost} lines of this log were lost: nobody read them\n" if self._lost else ""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if not self._behind:
            self._lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if self._behind:
            self._lost += 1  # to say more is just what is not possible
        else:
            super().handleError(record)


def open_log(path: str) -> TextIOWrapper:
    """A file to append to. A named pipe that nobody reads, or too slowly, raises OSError in place of waiting."""
    return open(path, "a", opener=lambda name, flags: open_fd(name, flags | os.O_NONBLOCK, 0o666))


def _pipe_at(fd: int) -> tuple[int, int]:
    """What tells a pipe from all others. Raises ValueError where there is none."""
    status = os.fstat(fd)
    if not stat.S_ISFIFO(status.st_mode):
        raise ValueError("not a pipe")
    return status.st_dev, status.st_ino


def _is_pipe(fd: int, identity: tuple[int, int]) -> bool:
    try:
        return _pipe_at(fd) == identity
    except (OSError, ValueError):
        return False


def _write(fd: int, data: bytes, patient: bool) -> None:
    """Raises BlockingIOError. Up to a page is taken as a whole or not at all."""
    while data:
        try:
            data = data[write_fd(fd, data) :]
        except BlockingIOError:
            room = poll()
            room.register(fd, POLLOUT)
            if not patient or not room.poll(_PATIENCE):
                raise
