"""docs/deploy/'s units: systemd takes them, and their command lines do what they promise to systemd.

Here systemd-socket-activate starts the server, and a socket of the test's hears what it tells systemd. test_systemd.py
runs the units as a whole, where that is possible.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asking import Load
from units import DEPLOY, ENVIRONMENT, PROGRAM, SHOP, SOURCE, command_line, make_current, setting, write_release

from serving import PATIENCE, Client, wait_until

ACTIVATE = "systemd-socket-activate"
UNITS = ("eitherway.socket", "eitherway.service", "eitherway-worker@.service")
WAITING_SHOP = f"""
import pathlib, time
while not pathlib.Path(__file__).with_name("go").exists():
    time.sleep(0.01)
{SHOP}
"""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in UNITS:
        text = (DEPLOY / name).read_text()
        (tmp_path / name.replace("@.", "@1.")).write_text(text.replace(PROGRAM, sys.executable))
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_waits_for_longer_than_the_server_takes() -> None:
    for unit in ("eitherway.service", "eitherway-worker@.service"):
        assert "--graceful-timeout 30s" in setting(unit, "ExecStart")
        assert int(setting(unit, "TimeoutStopSec")) > 30 + 7


class Ear:
    """The socket that NOTIFY_SOCKET names. `heard` has the fields of every message."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            self.heard.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def wait_for(self, field: str, behind: int = 0) -> int:
        """Wait for a message with that field; how many messages there are with it and before it."""

        def find() -> int:
            return next((i + 1 for i, fields in enumerate(self.heard[behind:], behind) if field in fields), 0)

        wait_until(find)
        return find()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", str(self.path))
        self._thread.join(PATIENCE)
        self._socket.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    opened = Ear(tmp_path / "notify")
    yield opened
    opened.close()


class Activated:
    """The service's own command line, started by the first connection to `port`."""

    def __init__(self, directory: Path, ear: Ear) -> None:
        self.directory = directory
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        environment = {
            "NOTIFY_SOCKET": str(ear.path),
            "WATCHDOG_USEC": "2000000",
            "PYTHONPATH": str(SOURCE),
            "PATH": os.environ["PATH"],
        }
        options = [word for name, value in environment.items() for word in ("-E", f"{name}={value}")]
        places = {"/run/eitherway": str(directory), "/srv/shop/current": str(directory / "current")}
        command = command_line("eitherway.service", "ExecStart", places)
        self.log = (directory / "log").open("w+b")
        self.process = subprocess.Popen(
            [ACTIVATE, "-l", f"127.0.0.1:{self.port}", *options, *command], stdout=self.log, stderr=self.log
        )
        wait_until(lambda: "Listening" in self.text)
        self.reload_command = command_line("eitherway.service", "ExecReload", places)
        self.pids = {self.process.pid}

    @property
    def text(self) -> str:
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def connect(self) -> Client:
        return Client(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE))

    def reload(self) -> int:
        return subprocess.run(self.reload_command, env=ENVIRONMENT, capture_output=True, timeout=PATIENCE).returncode

    def close(self) -> None:
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)  # its children end by themselves
            except ProcessLookupError:
                pass  # it has ended
        self.process.wait(PATIENCE)
        self.log.close()


@pytest.fixture
def activate(tmp_path: Path, ear: Ear) -> Iterator[Callable[..., Activated]]:
    if shutil.which(ACTIVATE) is None:
        pytest.skip(f"{ACTIVATE} is not installed")
    started: list[Activated] = []

    def start(code: str = SHOP) -> Activated:
        write_release(tmp_path, 1, code)
        make_current(tmp_path, 1)
        started.append(Activated(tmp_path, ear))
        return started[0]

    yield start
    for each in started:
        each.close()


def test_requests_that_come_while_it_starts_are_answered(activate: Callable[..., Activated], ear: Ear) -> None:
    server = activate(WAITING_SHOP)
    clients = [server.connect() for _ in range(5)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    wait_until(lambda: (server.directory / "control.sock").exists())  # the workers are importing
    assert all(client.is_quiet() for client in clients)
    assert not any("READY" in each for each in ear.heard)
    (server.directory / "current" / "go").touch()
    for client in clients:
        assert client.response().status == 200
        client.socket.close()
    ear.wait_for("READY")


def test_what_systemd_is_told(activate: Callable[..., Activated], ear: Ear) -> None:
    server = activate()
    with Load(server.port) as load:
        at = ear.wait_for("READY")
        assert ear.heard[at - 1] == {"READY": "1", "MAINPID": str(server.process.pid)}
        at = ear.wait_for("WATCHDOG", at)

        assert server.reload() == 0
        at = ear.wait_for("RELOADING", at)
        assert int(ear.heard[at - 1]["MONOTONIC_USEC"]) > 0
        at = ear.wait_for("READY", at)

        server.process.send_signal(signal.SIGUSR2)
        at = ear.wait_for("READY", at)
        successor = int(ear.heard[at - 1]["MAINPID"])
        assert successor != server.process.pid
        server.pids.add(successor)
        assert server.process.wait(PATIENCE) == 0
        at = ear.wait_for("WATCHDOG", len(ear.heard))  # the new one's, since the old one has ended
        load.wait_for(2)
    assert load.failures == []
    os.kill(successor, signal.SIGTERM)
    ear.wait_for("STOPPING", at)
    wait_until(lambda: not Path(f"/proc/{successor}").exists() or "\nState:\tZ" in status_of(successor))


def status_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""


def test_a_reload_that_fails_is_told_too(activate: Callable[..., Activated], ear: Ear) -> None:
    server = activate()
    with Load(server.port) as load:
        at = ear.wait_for("READY")
        write_release(server.directory, 2, "raise RuntimeError('no such database')")
        make_current(server.directory, 2)
        assert server.reload() == 1
        at = ear.wait_for("RELOADING", at)
        ear.wait_for("READY", at)
        load.forget()
        load.wait_for(2)
    assert load.failures == []
    assert {body.split(b" from")[0] for body in load.bodies} == {b"release 1"}


def test_one_worker_tells_systemd_too(tmp_path: Path, ear: Ear) -> None:
    """Without another reason for a supervisor: a unit of Type=notify would wait for its READY in vain."""
    release = write_release(tmp_path, 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "eitherway", "serve", "shop:app", "--chdir", str(release), "--bind", "127.0.0.1:0"],
        env={**ENVIRONMENT, "NOTIFY_SOCKET": str(ear.path)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        at = ear.wait_for("READY")
        process.terminate()
        ear.wait_for("STOPPING", at)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait(PATIENCE)
