"""What a supervisor that was killed leaves in the file system: its workers remove it, each at its own end."""

from __future__ import annotations

import os
from pathlib import Path


class Remains:
    """Made by the supervisor. `directory` has the workers' own sockets, each under its number; "": there are none."""

    def __init__(self, directory: str, pid_file: str) -> None:
        self._directory = directory
        self._pid_file = Path(pid_file).absolute() if pid_file else None
        self._pid = f"{os.getpid()}\n"
        self._control: Path | None = None
        self._inode = 0

    def add_control_socket(self, path: Path) -> None:
        self._control, self._inode = path.absolute(), path.stat().st_ino

    def socket_of(self, worker: int) -> str:
        return f"{self._directory}/{worker}.sock" if self._directory else ""

    def remove(self, worker: int) -> None:
        """In an orphan, at its end. What a new supervisor has put in the place is left; the last one out closes up."""
        try:
            if self._control is not None and self._control.stat().st_ino == self._inode:
                self._control.unlink()
        except OSError:
            pass  # another was faster
        try:
            if self._pid_file is not None and self._pid_file.read_text() == self._pid:
                self._pid_file.unlink()
        except OSError:
            pass
        try:
            if self._directory:
                Path(self.socket_of(worker)).unlink(missing_ok=True)
                Path(self._directory).rmdir()
        except OSError:
            pass  # others' are in it yet
