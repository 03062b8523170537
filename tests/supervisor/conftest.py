"""Servers with a supervisor, each with a control socket of its own, for one test."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervising import StartSupervised, children, is_alive, kill, wait_for_workers

from serving import Server, wait_until


class Supervised(Server):
    def __init__(self, control: Path, app: str, engine: str, *options: str, **more: object) -> None:
        super().__init__(app, engine, "--control-socket", str(control), *options, **more)  # type: ignore[arg-type]
        self.control = control

    def close(self) -> None:
        """End it now, whatever runs; then nothing may be left behind."""
        left = children(self.process.pid) if self.process.poll() is None else []
        if left:
            self.process.send_signal(signal.SIGQUIT)
            wait_until(lambda: self.process.poll() is not None)
        super().close()
        try:
            wait_until(lambda: not any(is_alive(pid) for pid in left))
        finally:
            for pid in left:
                if is_alive(pid):
                    kill(pid)


@pytest.fixture
def supervised() -> Iterator[StartSupervised]:
    """`supervised(app, engine, workers, *options)`: with that many workers, which serve when it returns."""
    servers: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="eitherway-test-") as directory:

        def start(app: str, engine: str, workers: int = 2, *options: str, ready: bool = True, **more: object) -> Server:
            control = Path(directory) / f"{len(servers)}.sock"
            server = Supervised(control, app, engine, "-w", str(workers), "--graceful-timeout", "8", *options, **more)
            servers.append(server)
            if ready:
                server.wait_ready()
                wait_for_workers(server, workers)
            return server

        yield start
        for server in servers:
            server.close()
