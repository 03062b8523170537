"""Applications that bring their worker down, or fork: it is named in the log and replaced, and others are unharmed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import faults
import pytest
from production import Site, StartSite

from load import Load
from serving import wait_until

ENGINES = [
    ("supervised:app", "sync", "request"),
    ("supervised:app", "threads", "request"),
    ("supervised:app", "threads", "kernel"),
    ("supervised:app", "gevent", "kernel"),
    ("supervised:app", "eventlet", "kernel"),
    ("supervised:asgi", "uvloop", "request"),
]
FAULTS = [
    faults.leak_within,  # first: after early deaths a server waits before it recycles
    faults.exit_within,
    faults.crash_within,
    faults.close_within,
    faults.hang_within,
    faults.fork_within,
]


@pytest.mark.parametrize(("app", "engine", "balance"), ENGINES)
def test_a_misbehaving_worker_is_named_and_replaced_and_others_are_unharmed(
    start_site: StartSite, app: str, engine: str, balance: str
) -> None:
    site = start_site(app, engine, 2, *faults.OPTIONS, "--balance", balance)
    clients = 6
    with Load(site, clients=clients) as load:
        for number, fault in enumerate(FAULTS, 1):
            fault(site)
            load.wait_for(30)
            if balance == "kernel":  # the connections of a worker end with it
                assert load.unanswered <= number * clients, (fault, load)
            else:
                assert load.failures == [] and load.reconnects == 0, (fault, load)
            assert set(load.statuses) <= {200, 504}, (fault, load)
            # What shares a loop with what holds it is late too, and told so.
            assert load.statuses[504] <= (clients if engine == "uvloop" else 0), (fault, load)
    site.stop()


@pytest.mark.parametrize(("app", "engine", "balance"), ENGINES)
def test_a_forked_child_that_lives_on_holds_nothing_up(
    start_site: StartSite, app: str, engine: str, balance: str
) -> None:
    site = start_site(app, engine, 2, "--balance", balance)
    with socket.create_connection(site.address, 20) as client:
        client.sendall(b"POST /fork?60 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.settimeout(20)
        while client.recv(1000):
            pass  # until the end, which the child does not keep from the client
    servers = {site.supervisor, site.balancer, *site.pids()} - {0}
    children = site.processes() - servers
    assert len(children) == 1
    faults.reload(site)
    assert site.ask("/pid") == 200
    os.kill(site.supervisor, signal.SIGTERM)
    wait_until(lambda: site.process.poll() is not None)
    wait_until(lambda: site.processes() == children)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(site.address)
        sock.listen()


@pytest.mark.parametrize(("app", "engine", "balance"), ENGINES)
def test_a_forked_child_that_comes_back_is_no_second_worker(
    start_site: StartSite, app: str, engine: str, balance: str
) -> None:
    site = start_site(app, engine, 2, "--balance", balance)
    before = site.processes()
    assert site.ask("/fork-and-return") == 200
    site.wait_logged("came back from a request; it is ended")
    wait_until(lambda: site.processes() == before)
    assert site.ask("/pid") == 200


def test_a_worker_that_dies_with_a_forked_child_alive_costs_no_request(start_site: StartSite) -> None:
    """The child has inherited the connection on which the balancer waits for an answer."""
    site = start_site("supervised:app", "threads", 2, "--threads", "4")
    with Load(site, "/sleep?0.05", 8) as load:
        for _ in range(2):
            assert site.ask("/fork?60", "POST") == 200
        for _ in range(3):
            faults.kill_worker(site)
            load.wait_for(20)
    assert set(load.statuses) == {200}, load
    assert load.failures == []


def test_the_faults_are_those_that_have_names() -> None:
    named: list[Callable[[Site], object]] = [each for name, each in vars(faults).items() if name.endswith("_within")]
    assert named and set(named) == set(FAULTS)
