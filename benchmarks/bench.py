"""One run of the benchmark: its settings, and the starting of servers for whatever is measured."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from environment import PROGRAMS, Installed, say, variables
from machine import Placement
from process import HOST, ServerError, ServerProcess, free_port
from servers import Server
from wrk import LoadError

WARM_UP_SECONDS = 1


@dataclass
class Bench:
    """What all measurements of a run share."""

    installed: Installed
    directory: Path  # a fresh one, so that no server finds a configuration file
    one: Placement  # of servers that are one process, and of the load on them
    many: Placement  # of servers that are several
    rounds: int
    seconds: int
    idle_connections: int
    wanted: list[str]
    retaken: int = 0  # turns that were repeated because other programs disturbed them
    reasons: dict[str, str] = field(default_factory=dict)  # server -> why it has no figures

    def placement(self, server: Server) -> Placement:
        """Where a server and the load on it run."""
        return self.many if server.workers > 1 else self.one

    @contextmanager
    def running(self, server: Server, app: str) -> Iterator[ServerProcess]:
        """The server, answering, on its cores; ended afterwards whatever happens."""
        if missing := self.installed.missing(server.distributions):
            raise ServerError(f"skipped: {missing}")
        if absent := [program for program in server.programs if shutil.which(program) is None]:
            raise ServerError(f"skipped: {absent[0]} is not installed")
        port = free_port()
        command = server.command_line(app, str(PROGRAMS), HOST, port)
        cores = self.placement(server).server
        with ServerProcess(command, port, cores, variables(server.is_ours), self.directory) as process:
            yield process

    @contextmanager
    def noting_failure(self, server: Server) -> Iterator[None]:
        """A server that cannot be measured costs its row, not the run."""
        try:
            yield
        except (ServerError, LoadError) as error:
            self.reasons[server.name] = str(error)
            say(f"  {server.name}: {error}")

    def progress(self, text: str) -> None:
        """Show a line that the next one replaces, or a plain one where nobody watches."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            say(text)
