"""Workers and a balancer before them, each a process of its own; the test is their supervisor."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from serving import PATIENCE, Client, Server, wait_until


class BalancerProcess:
    def __init__(self, **settings: Any) -> None:
        self.control, theirs = socket.socketpair()
        self.control.settimeout(PATIENCE)
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("process.py")), str(theirs.fileno()), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().decode().strip()
        self._lines = self.control.makefile("rb")
        self._heard: list[dict[str, Any]] = []
        self.hear("ready")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def tell(self, **message: Any) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def hear(self, key: str) -> Any:
        """The next message with that key; others are kept."""
        while True:
            for message in self._heard:
                if key in message:
                    self._heard.remove(message)
                    return message
            line = self._lines.readline()
            assert line, f"the balancer ended before it said {key!r}:\n{self.end()}"
            self._heard.append(json.loads(line))

    def snapshot(self) -> dict[str, Any]:
        self.tell(snapshot=True)
        snapshot: dict[str, Any] = self.hear("snapshot")["snapshot"]
        return snapshot

    def end(self) -> str:
        """Close the control socket, as a dying supervisor does, and wait for the balancer's end; its log."""
        self._lines.close()
        self.control.close()
        try:
            _, log = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, log = self.process.communicate()
            raise AssertionError(f"the balancer did not end:\n{log.decode()}") from None
        return log.decode()


class Fleet:
    """`workers` of one engine behind a balancer. `settings` are the balancer's; `options` the workers'."""

    def __init__(
        self,
        workers: int = 2,
        engine: str = "sync",
        *,
        app: str = "balanced:app",
        slots: int = 1,
        options: tuple[str, ...] = (),
        logged: bool = True,
        **settings: Any,
    ) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="eitherway-fleet-")
        self.path = Path(self.directory.name)
        self.app, self.engine, self.slots, self.options, self.logged = app, engine, slots, options, logged
        self.workers: dict[int, Server] = {}
        self._ids = 0
        self.balancer = BalancerProcess(**settings)
        servers = [self._start() for _ in range(workers)]
        for id, server in servers:
            self._add(id, server)

    def _start(self) -> tuple[int, Server]:
        self._ids += 1
        bind = f"unix:{self.path}/{self._ids}.sock"
        options = ("--forwarded-allow-ips", "unix", *self.options)
        server = Server(
            self.app,
            self.engine,
            *options,
            bind=bind,
            env={"BALANCED_LOG": str(self.path / "log") if self.logged else ""},
        )
        self.workers[self._ids] = server
        return self._ids, server

    def _add(self, id: int, server: Server) -> None:
        server.wait_ready()
        self.balancer.tell(add=id, path=f"{self.path}/{id}.sock", slots=self.slots)

    def add(self) -> int:
        """Start one more worker; its id."""
        id, server = self._start()
        self._add(id, server)
        return id

    def remove(self, id: int) -> None:
        """Take a worker away, as a reload does: no new requests, wait, stop it."""
        self.balancer.tell(remove=id)
        assert self.balancer.hear("removed") == {"removed": id}
        worker = self.workers.pop(id)
        assert worker.stop() == 0, worker.log
        worker.close()

    def kill(self, id: int) -> None:
        self.workers[id].stop(signal.SIGKILL)

    @property
    def pids(self) -> set[int]:
        return {worker.process.pid for worker in self.workers.values()}

    @property
    def port(self) -> int:
        return self.balancer.port

    def log(self) -> list[str]:
        """The requests that have been run, in order."""
        path = self.path / "log"
        return path.read_text().splitlines() if path.exists() else []

    def file(self, name: str) -> str:
        """A path for the application to wait for; `open` makes it."""
        return str(self.path / name)

    def open(self, name: str) -> None:
        (self.path / name).touch()

    def connect(self, timeout: float = PATIENCE) -> Client:
        return Client(socket.create_connection(("127.0.0.1", self.port), timeout=timeout))

    def get(self, target: str, *, method: str = "GET", body: bytes = b"", fields: str = "") -> Client:
        """A client that has sent a request; its answer is read by `client.response()`."""
        client = self.connect()
        length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
        client.send(f"{method} {target} HTTP/1.1\r\nHost: shop.test\r\n{fields}{length}\r\n".encode() + body)
        return client

    def wait_queued(self, count: int) -> None:
        wait_until(lambda: self.balancer.snapshot()["queued"] == count)

    def wait_running(self, count: int) -> None:
        wait_until(lambda: self.balancer.snapshot()["running"] == count)

    def close(self) -> str:
        """End all; the balancer's log."""
        for name in ("gate", "late"):
            self.open(name)
        try:
            log = self.balancer.end() if self.balancer.process.poll() is None else ""
        finally:
            for worker in self.workers.values():
                if worker.process.poll() is None:
                    os.kill(worker.process.pid, signal.SIGKILL)
                worker.close()
        self.directory.cleanup()
        return log
