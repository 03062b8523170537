"""USR2 that goes wrong, or is overtaken: until the new supervisor serves, nothing of the old one is touched."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import faults
import pytest
from production import Site, StartSite

from eitherway.supervisor import upgrade
from eitherway.supervisor.events import Events
from serving import APPS, PATIENCE, wait_until

WAIT = """
import pathlib, time
while pathlib.Path(__file__).with_name("closed").exists():
    time.sleep(0.01)
"""


class Gated:
    """A site of an application `gated`, whose import waits for as long as `closed` exists; also at a Unix socket."""

    def __init__(self, start_site: StartSite, directory: Path, *options: str) -> None:
        self.closed = directory / "closed"
        self.module = directory / "gated.py"
        self.pid_file = directory / "pid"
        self.path = directory / "shop.sock"
        source = (APPS / "supervised.py").read_text()
        self.module.write_text(source.replace("import ctypes\n", f"{WAIT}import ctypes\n"))
        places = ("--chdir", str(directory), "--bind", f"unix:{self.path}", "--pid-file", str(self.pid_file))
        self.site: Site = start_site("gated:app", "sync", 2, *places, *options)
        self.old = self.site.processes()

    def begin_upgrade(self) -> set[int]:
        """USR2, without leave to import; the processes of the new program, as soon as its workers import."""
        self.closed.touch()
        self.site.send(signal.SIGUSR2)
        wait_until(lambda: len(self.site.processes()) == 2 * len(self.old))
        return self.site.processes() - self.old

    def is_as_before(self) -> bool:
        supervisor = self.site.supervisor
        named = int(self.pid_file.read_text())
        # Many, as whoever accepts from the socket may be the one that gets a client.
        answers = {answer(self.path) for _ in range(20)}
        return answers == {b"HTTP/1.1 200 OK"} and supervisor == named == self.site.process.pid

    def left_behind(self) -> list[str]:
        return [*self.site.left_behind(), *(path.name for path in (self.path, self.pid_file) if path.exists())]


@pytest.fixture
def gated(start_site: StartSite, tmp_path: Path) -> Gated:
    return Gated(start_site, tmp_path)


def answer(path: Path) -> bytes:
    """The status line of one request."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(1000).partition(b"\r\n")[0]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_old_one_is_the_server_until_the_new_one_serves(gated: Gated) -> None:
    site = gated.site
    gated.begin_upgrade()
    assert gated.is_as_before()
    site.send(signal.SIGUSR2)
    site.wait_logged("the new program is starting already")
    before = site.pids()
    gated.closed.unlink()
    wait_until(lambda: site.process.poll() == 0 and not gated.old & site.processes())
    assert site.supervisor == int(gated.pid_file.read_text()) != site.process.pid
    assert not site.pids() & before
    assert answer(gated.path) == b"HTTP/1.1 200 OK"
    site.stop()
    assert gated.left_behind() == []


@pytest.mark.parametrize("how", ["an exception", "kill -9"])
def test_a_new_one_that_does_not_start_costs_the_old_one_nothing(gated: Gated, how: str) -> None:
    site = gated.site
    if how == "an exception":
        gated.module.write_text("import no_such_module\n")
        site.send(signal.SIGUSR2)
    else:
        new = gated.begin_upgrade()
        os.kill(next(pid for pid in new if parent(pid) == site.process.pid), signal.SIGKILL)
        gated.closed.unlink()
    site.wait_logged("the new program did not start; this one goes on")
    wait_until(lambda: site.processes() == gated.old)
    assert gated.is_as_before()
    site.stop()
    assert gated.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_an_end_is_the_end_of_a_new_one_that_is_starting_too(gated: Gated, number: int) -> None:
    site = gated.site
    gated.begin_upgrade()
    site.send(number)
    assert site.process.wait(PATIENCE) == 0
    site.wait_until_gone()
    assert gated.left_behind() == []
    assert "did not start" not in site.log


def test_an_upgrade_in_the_middle_of_a_reload(gated: Gated) -> None:
    """The reload's workers are still importing when the new program serves, which imports what was repaired since."""
    site = gated.site
    gated.closed.touch()
    site.send(signal.SIGHUP)
    wait_until(lambda: len(site.processes()) == len(gated.old) + 1)
    gated.module.write_text((APPS / "supervised.py").read_text())
    faults.upgrade(site)
    assert answer(gated.path) == b"HTTP/1.1 200 OK"
    site.stop()
    assert gated.left_behind() == []


def test_term_to_one_that_was_replaced_cuts_nothing_off(gated: Gated) -> None:
    site = gated.site
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(gated.path))
        client.sendall(b"GET /sleep?1 HTTP/1.0\r\n\r\n")
        wait_until(lambda: any(each["running"] for each in site.status()["workers"]))
        site.send(signal.SIGUSR2)
        site.wait_logged("the new program serves")
        os.kill(site.process.pid, signal.SIGTERM)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert site.process.wait(PATIENCE) == 0
    site.stop()


def test_process_1_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container ends with it."""
    said: list[str] = []
    monkeypatch.setattr(upgrade.logger, "error", said.append)
    monkeypatch.setattr(upgrade, "fork_holding", lambda _: pytest.fail("it was to fork nothing"))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    upgrade.Upgrade([], lambda: None, Events()).begin()
    assert "process 1" in said[0]
