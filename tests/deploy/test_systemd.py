"""docs/deploy/'s units under a real systemd: started by a request, reloaded, replaced, killed, restarted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asking import Load
from machine import Machine, why_not
from units import make_current, write_release

from serving import wait_until

SERVICE = "eitherway.service"
pytestmark = pytest.mark.skipif(bool(reason := why_not()), reason=reason or "systemd can be run")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture
def machine(started: Machine) -> Machine:
    """A systemd on which nothing of ours runs, with release 1: whatever the test before has left."""
    started("stop", "eitherway.socket", "eitherway-worker@*", SERVICE)
    started("reset-failed")
    make_current(started.shop, 1)
    return started


@pytest.fixture
def load(machine: Machine) -> Load:
    """Clients of the service, which has just been started."""
    machine("start", "eitherway.socket", SERVICE)
    return Load(machine.port)


def wait_active(machine: Machine) -> None:
    """The workers serve a little before systemd has heard that they do."""
    wait_until(lambda: machine.show(SERVICE, "ActiveState") == "active")


def main_pid(machine: Machine) -> int:
    """The service's main process, as systemd knows it: a number of its own namespace."""
    return int(machine.show(SERVICE, "MainPID"))


def test_the_first_request_starts_the_service(machine: Machine) -> None:
    machine("start", "eitherway.socket")
    assert machine.show(SERVICE, "ActiveState") == "inactive"
    with Load(machine.port, clients=4) as load:
        load.wait_for(5)
    assert load.failures == []
    wait_active(machine)


def test_a_new_release_by_reload(machine: Machine, load: Load) -> None:
    pid = main_pid(machine)
    write_release(machine.shop, 2)
    with load:
        make_current(machine.shop, 2)
        machine("reload", SERVICE)
        load.forget()
        load.wait_for(5)
    assert load.failures == []
    assert {body.split(b" from")[0] for body in load.bodies} == {b"release 2"}
    assert main_pid(machine) == pid


def test_a_broken_release_fails_the_reload_and_nothing_else(machine: Machine, load: Load) -> None:
    write_release(machine.shop, 3, "raise RuntimeError('no such database')")
    with load:
        make_current(machine.shop, 3)
        assert machine("reload", SERVICE, check=False).returncode != 0
        load.forget()
        load.wait_for(5)
    assert load.failures == []
    assert {body.split(b" from")[0] for body in load.bodies} == {b"release 1"}
    wait_active(machine)


def test_usr2_makes_a_new_process_the_main_one(machine: Machine, load: Load) -> None:
    old = main_pid(machine)
    with load:
        machine("kill", "--kill-whom=main", "--signal=USR2", SERVICE)
        wait_until(lambda: main_pid(machine) not in (0, old))
        load.forget()
        load.wait_for(5)
        wait_until(lambda: not alive(machine, old))
        # The new one feeds the watchdog: else systemd would kill it.
        fed = machine.show(SERVICE, "WatchdogTimestampMonotonic")
        wait_until(lambda: machine.show(SERVICE, "WatchdogTimestampMonotonic") != fed)
    assert load.failures == []
    wait_active(machine)
    assert machine.show(SERVICE, "NRestarts") == "0"
    machine("reload", SERVICE)  # it is the one that is told from now on


def alive(machine: Machine, pid: int) -> bool:
    group = machine.show(SERVICE, "ControlGroup")
    return str(pid) in machine.processes(group)


def test_a_restart_refuses_nobody(machine: Machine, load: Load) -> None:
    """Connections that were open are closed, in order; new ones wait in systemd's socket."""
    load.keep_alive = False
    with load:
        machine("restart", SERVICE)
        load.wait_for(5)
    assert load.failures == []


def test_a_killed_supervisor_is_replaced(machine: Machine, load: Load) -> None:
    machine("kill", "--kill-whom=main", "--signal=KILL", SERVICE)
    wait_until(lambda: machine.show(SERVICE, "NRestarts") == "1")
    with load:
        load.wait_for(5)
    wait_active(machine)


def test_a_stop_leaves_nothing_behind(machine: Machine, load: Load) -> None:
    group = machine.show(SERVICE, "ControlGroup")
    assert len(machine.processes(group)) > 2
    machine("stop", "eitherway.socket", SERVICE)
    assert machine.show(SERVICE, "Result") == "success"
    assert machine.processes(group) == []


def test_workers_of_the_template_unit_survive_each_others_end(machine: Machine) -> None:
    """What nginx and HAProxy find: sockets that their group may write to, for as long as each worker runs."""
    machine("start", "eitherway-worker@1", "eitherway-worker@2")
    sockets = [machine.root / "run/eitherway" / f"{each}.sock" for each in (1, 2)]
    assert [oct(path.stat().st_mode & 0o777) for path in sockets] == ["0o770", "0o770"]
    machine("reload", "eitherway-worker@1", "eitherway-worker@2")
    machine("stop", "eitherway-worker@1")
    assert [path.exists() for path in sockets] == [False, True]
    machine("stop", "eitherway-worker@2")
    assert machine.show("eitherway-worker@2", "Result") == "success"
