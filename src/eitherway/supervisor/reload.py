"""--reload: a child process that watches the application's files, and says when one has changed.

A process of its own, since the watching library runs threads, and a process with threads is none to fork workers from.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import NoReturn

from eitherway.config import Config
from eitherway.errors import ConfigError
from eitherway.supervisor.events import Events
from eitherway.supervisor.forking import fork, reset_signals
from eitherway.supervisor.handle import Line, make_lines

_SUFFIXES = (".py", ".toml", ".html", ".jinja2", ".env")


def check() -> None:
    """Raises ConfigError when the library that watches is not installed."""
    if find_spec("watchfiles") is None:
        raise ConfigError('--reload needs watchfiles, which is not installed; run: pip install "eitherway[reload]"')


class Watcher:
    """Starts it, and calls `on_change` with the path of what has changed, or "" when no more changes will be seen."""

    def __init__(
        self, config: Config, forget: Callable[[], None], on_change: Callable[[str], None], events: Events
    ) -> None:
        here = Path(config.chdir or ".")
        paths = [here, *(here / each for each in config.pythonpath)]
        self.line, theirs = make_lines()
        self.pid = fork()
        if not self.pid:
            try:
                forget()
                self.line.close()
                _watch([path for path in paths if path.is_dir()], theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._on_change = on_change
        self._events = events
        events.watch(self.line, self._hear)

    def _hear(self) -> None:
        changed = [str(message["changed"]) for message in self.line.receive()]
        if self.line.closed:
            self.stop()
            self._on_change("")
        elif changed:
            self._on_change(changed[0])

    def forget(self) -> None:
        """In a child: close the line."""
        self.line.close()

    def stop(self) -> None:
        if not self.pid:
            return  # it has been stopped
        self._events.unwatch(self.line)
        self.line.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has ended
        self.pid = 0


def _watch(paths: list[Path], line: Line) -> NoReturn:
    reset_signals()
    from watchfiles import PythonFilter, watch

    stop = Event()

    def follow_parent() -> None:
        line.socket.setblocking(True)
        line.socket.recv(1)  # nothing ever comes: the end of the supervisor does
        os._exit(0)

    Thread(target=follow_parent, daemon=True).start()
    wanted = PythonFilter(extra_extensions=_SUFFIXES)
    for changes in watch(*paths, watch_filter=wanted, stop_event=stop, raise_interrupt=False):
        line.send({"changed": min(path for _, path in changes)})
    os._exit(0)
