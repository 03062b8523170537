"""What a supervisor that was killed leaves in the file system: its workers remove it, each at its own end."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import sleep

from eitherway.errors import BindError

_LOOKS, _PAUSE = 20, 0.01  # seconds
_LONGEST = 107 - len("/1000000000.sock")  # bytes of a directory in which every worker's socket has room


def make_directory() -> str:
    """For the workers' own sockets. Raises BindError."""
    try:
        path = tempfile.mkdtemp(prefix="eitherway-")
    except OSError as error:
        why = error.strerror or error
        raise BindError(f"cannot make a directory for the workers' sockets: {why}; set TMPDIR to another") from None
    if len(os.fsencode(path)) > _LONGEST:
        Path(path).rmdir()
        raise BindError(f"{path} is too long for the workers' sockets in it; set TMPDIR to a shorter one")
    return path


class Remains:
    """Made by the supervisor. `directory` has the workers' own sockets, each under its number; "": there are none."""

    def __init__(self, directory: str, pid_file: str) -> None:
        self._directory = directory
        self._pid_file = Path(pid_file).absolute() if pid_file else None
        self._supervisor = os.getpid()
        self._pid = f"{self._supervisor}\n"
        self._control: list[Path] = []  # where it is, or may be
        self._inode = 0

    def add_control_socket(self, paths: list[Path], inode: int) -> None:
        self._control, self._inode = [path.absolute() for path in paths], inode

    def take_pid_file(self) -> None:
        """Put our number where that of a former supervisor is. Raises OSError."""
        if self._pid_file is not None:
            self._pid_file.write_text(self._pid)

    def socket_of(self, worker: int) -> str:
        return f"{self._directory}/{worker}.sock" if self._directory else ""

    def _is_orphan(self) -> bool:
        """That our line is closed is not enough: a supervisor that lives may have let go of us."""
        for _ in range(_LOOKS):
            if os.getppid() != self._supervisor:
                return True
            sleep(_PAUSE)  # a process that ends closes its files first, and then its children get another parent
        return False

    def remove(self, worker: int) -> None:
        """In an orphan, at its end. What a new supervisor has put in the place is left; the last one out closes up."""
        if not self._is_orphan():
            return
        for path in self._control:
            try:
                if path.stat().st_ino == self._inode:
                    path.unlink()
            except OSError:
                pass  # it is at the other place, or another was faster
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
