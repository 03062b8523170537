"""Imports that do not end, or are overtaken by what happens meanwhile; and other ends that are not the usual ones."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from supervising import (
    StartSupervised,
    children,
    control,
    eitherway,
    get,
    is_alive,
    kill,
    status,
    wait_for_workers,
    workers,
)

from eitherway.config import Config
from eitherway.metrics.counters import RUNNING
from eitherway.supervisor.handle import Handle, make_lines
from eitherway.supervisor.remains import Remains
from eitherway.supervisor.workers import Workers
from load import Load
from serving import APPS, Server, wait_until

PRELOADS = [(), ("--preload",)]


TRAP = """
import pathlib, threading, time
here = pathlib.Path(__file__)
if here.with_name("trap").exists() or here.with_name("gate").exists():
    here.with_name("caught").touch()
if here.with_name("trap").exists():
    threading.Event().wait()
while here.with_name("gate").exists():
    time.sleep(0.01)
"""


class Caught:
    """An application `caught:app`. An import that finds the file `trap` never ends, one that finds `gate` waits."""

    def __init__(self, directory: Path) -> None:
        self.trap = directory / "trap"
        self.gate = directory / "gate"
        self.options = ("--chdir", str(directory))
        source = (APPS / "supervised.py").read_text()
        (directory / "caught.py").write_text(source.replace("import ctypes\n", f"{TRAP}import ctypes\n"))

    def wait(self) -> None:
        """Until an import has found one of them."""
        wait_until(self.trap.with_name("caught").exists)


@pytest.fixture
def caught(tmp_path: Path) -> Caught:
    return Caught(tmp_path)


@pytest.mark.parametrize("options", PRELOADS)
def test_a_reload_cures_one_whose_import_does_not_end(
    supervised: StartSupervised, caught: Caught, options: tuple[str, ...]
) -> None:
    server = supervised("caught:app", "sync", 2, *caught.options, *options)
    before = set(workers(server).values())
    caught.trap.touch()
    server.process.send_signal(signal.SIGHUP)
    caught.wait()
    caught.trap.unlink()
    assert eitherway("reload", "--control-socket", control(server)).returncode == 0
    wait_for_workers(server, 2, without=before)
    wait_until(lambda: len(status(server)["workers"]) == 2)
    assert "could not start" not in server.log
    assert "killed" not in server.log
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("options", PRELOADS)
def test_an_import_that_does_not_end_is_ended(
    supervised: StartSupervised, caught: Caught, options: tuple[str, ...], number: int
) -> None:
    caught.trap.touch()
    server = supervised("caught:app", "threads", 2, *caught.options, *options, ready=False)
    caught.wait()
    assert server.stop(number) == 0
    assert "ERROR" not in server.log


@pytest.mark.parametrize("options", PRELOADS)
def test_an_import_does_not_outlive_the_supervisor(
    supervised: StartSupervised, caught: Caught, options: tuple[str, ...]
) -> None:
    caught.trap.touch()
    server = supervised("caught:app", "sync", 2, *caught.options, *options, ready=False)
    caught.wait()
    left = children(server.process.pid)
    kill(server.process.pid)
    wait_until(lambda: not any(is_alive(pid) for pid in left))
    assert list(Path(control(server)).parent.iterdir()) == [] or options  # a template has no share in what is left


@pytest.mark.parametrize("options", PRELOADS)
def test_a_server_that_reloads_can_be_stopped(
    supervised: StartSupervised, caught: Caught, options: tuple[str, ...]
) -> None:
    server = supervised("caught:app", "sync", 2, *caught.options, *options)
    caught.trap.touch()
    reload = eitherway_begins("reload", server)
    caught.wait()
    assert get(server, "/") == (200, b"ok")
    assert server.stop() == 0
    assert read_all(reload) == b'{"error": "the server is stopping"}\n'
    assert "ERROR" not in server.log


def eitherway_begins(command: str, server: Server) -> socket.socket:
    """Give a command, as the command line does, without waiting for its answer."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(control(server))
    client.sendall(b'{"command": "%b"}\n' % command.encode())
    return client


def read_all(client: socket.socket) -> bytes:
    with client, client.makefile("rb") as stream:
        return stream.read()


@pytest.mark.parametrize("options", PRELOADS)
def test_many_reloads_at_once_end_as_one(supervised: StartSupervised, options: tuple[str, ...]) -> None:
    """Workers that are given up while they are forked take nothing with them that is the server's."""
    server = supervised("supervised:app", "threads", 2, *options)
    before = set(workers(server).values())
    with Load(server) as load:
        for times in range(1, 16):
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: server.log.count("reloading: replacing") == times)  # noqa: B023
            load.wait_for(5)
        wait_for_workers(server, 2, without=before)
        wait_until(lambda: not status(server)["supervisor"]["reloading"])
        wait_until(lambda: len(status(server)["workers"]) == 2)
    assert load.failures == [] and set(load.statuses) == {200}
    assert load.reconnects == 0
    assert "ERROR" not in server.log


def test_what_is_the_servers_is_left_while_it_lives(tmp_path: Path) -> None:
    """A worker may find its line closed although the supervisor has not ended."""
    control, pid_file = tmp_path / "control", tmp_path / "pid"
    remains = Remains("", str(pid_file))
    control.touch()
    pid_file.write_text(f"{os.getpid()}\n")
    remains.add_control_socket([control], control.stat().st_ino)
    if not (child := os.fork()):
        remains.remove(1)
        os._exit(0)
    os.waitpid(child, 0)
    assert control.exists() and pid_file.exists()


def test_usr1_is_no_end_of_workers_that_are_not_forked_yet(supervised: StartSupervised, caught: Caught) -> None:
    caught.gate.touch()
    server = supervised("caught:app", "sync", 2, *caught.options, "--preload", ready=False)
    caught.wait()
    server.process.send_signal(signal.SIGUSR1)
    assert len(status(server)["workers"]) == 2  # it has heard the signal when it answers
    caught.gate.unlink()
    server.wait_ready()
    assert sorted(workers(server)) == [1, 2]


@pytest.mark.parametrize(("engine", "balance"), [("sync", "request"), ("threads", "kernel")])
def test_nobody_takes_clients_for_a_server_that_stops(
    supervised: StartSupervised, caught: Caught, engine: str, balance: str
) -> None:
    """Nor the template, which has been forked when the sockets were open."""
    server = supervised("caught:app", engine, 2, *caught.options, "--balance", balance, "--preload")
    with server.connect() as client:
        client.send(b"GET /sleep?0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: any(each["running"] for each in status(server)["workers"]))
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.log.count("stopping: 1 requests are running") == 1)
        wait_until(lambda: refuses(server))
        assert client.response().status == 200
    assert server.wait() == 0


def refuses(server: Server) -> bool:
    try:
        server.connect().socket.close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_end_of_idle_workers_is_no_error(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2)
    assert server.stop(signal.SIGQUIT) == 0
    assert "ERROR" not in server.log


FORKLESS = """
import sys
from eitherway.supervisor import forking
fork, calls = forking.fork, []
def once_not():
    calls.append(True)
    if len(calls) == 1:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
forking.fork = once_not
from eitherway.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_when_a_first_worker_cannot_be_forked_the_others_end_too() -> None:
    options = ["--chdir", str(APPS), "-w", "3", "--engine", "sync", "--bind", "127.0.0.1:0"]
    command = [sys.executable, "-c", FORKLESS, "serve", "supervised:app", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("eitherway: cannot start a worker: [Errno 11] Resource temporarily unavailable\n")


def test_a_worker_that_cannot_be_started_costs_nothing(tmp_path: Path) -> None:
    workers = Workers(Config(), [], None, lambda: None, Remains(str(tmp_path / "gone"), ""))
    for id in range(3):
        with pytest.raises(OSError, match=f"cannot listen on {tmp_path}/gone/{id}.sock: No such file"):
            workers.spawn(id, 1)
    assert list(workers.board.taken()) == []
    assert workers.handles == {}


def test_a_worker_that_does_not_end_is_named_with_the_reason() -> None:
    workers = Workers(Config(), [], None, lambda: None, Remains("", ""))
    ours, theirs = make_lines()
    with subprocess.Popen(["sleep", "60"]) as process:
        handle = workers.handles[1] = Handle(1, 1, process.pid, workers.board.take(1), ours, is_ready=True)
        workers.board.words(handle.slot)[RUNNING] = 1
        workers.kill(1, "it did not end within 30 s")
        ended: list[tuple[Handle, int]] = []
        wait_until(lambda: ended.extend(workers.ended()) or ended)
        process.returncode = 0  # it has been waited for
    words = f"worker 1 (pid {process.pid}) was killed by signal 9 (SIGKILL) (it did not end within 30 s) while running"
    assert workers.obituary(*ended[0]).startswith(words)
    ours.close()
    theirs.close()
