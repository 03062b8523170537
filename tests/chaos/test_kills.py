"""kill -9 of a worker, of the balancer, and of the supervisor, while clients go on asking."""

from __future__ import annotations

import os
import signal
import socket

import faults
import pytest
from production import Site, StartSite

from load import Load
from serving import wait_until

BALANCED = [
    ("supervised:app", "sync", ()),
    ("supervised:app", "threads", ("--threads", "4")),
    ("supervised:app", "gevent", ("--balance", "request")),
    ("supervised:asgi", "uvloop", ("--balance", "request")),
]
KERNEL = [
    ("supervised:app", "sync", ("--balance", "kernel")),
    ("supervised:app", "threads", ("--balance", "kernel")),
    ("supervised:app", "gevent", ()),
    ("supervised:asgi", "uvloop", ()),
]


# ---- a worker ----


@pytest.mark.parametrize(("app", "engine", "options"), BALANCED)
def test_a_killed_worker_costs_no_idempotent_request(
    start_site: StartSite, app: str, engine: str, options: tuple[str, ...]
) -> None:
    site = start_site(app, engine, 3, *options)
    with Load(site, "/sleep?0.01") as gets, Load(site, "/sleep?0.01", 2, method="PUT", body=b"x" * 100) as puts:
        for _ in range(3):
            victim = faults.kill_worker(site)
            site.wait_logged(f"(pid {victim}) was killed by signal 9 (SIGKILL)")
            gets.wait_for(20)
    for load in (gets, puts):
        assert set(load.statuses) == {200}, load
        assert load.failures == []
        assert load.reconnects == 0


@pytest.mark.parametrize(("app", "engine", "options"), BALANCED)
def test_a_killed_worker_costs_at_most_the_posts_within_it(
    start_site: StartSite, app: str, engine: str, options: tuple[str, ...]
) -> None:
    site = start_site(app, engine, 3, *options)
    clients = 8
    most = {"sync": 1, "threads": 4}.get(engine, clients)
    with Load(site, "/sleep?0.01", clients, method="POST", body=b"x") as load:
        for kills in range(1, 4):
            faults.kill_worker(site)
            load.wait_for(20)
            assert load.statuses[502] <= kills * most
    assert set(load.statuses) <= {200, 502}, load
    assert load.failures == []
    assert load.reconnects == 0


@pytest.mark.parametrize(("app", "engine", "options"), KERNEL)
def test_a_killed_worker_costs_only_its_own_connections(
    start_site: StartSite, app: str, engine: str, options: tuple[str, ...]
) -> None:
    site = start_site(app, engine, 2, *options)
    with Load(site, "/pid", 8) as load:
        for kills in range(1, 4):
            faults.kill_worker(site)
            load.wait_for(50)
            assert load.unanswered <= kills * 8
    assert set(load.statuses) == {200}, load
    assert not load.kinds["refused"] and not load.kinds["timeout"], load


# ---- the balancer ----


@pytest.mark.parametrize(("app", "engine", "options"), BALANCED[:2])
def test_a_killed_balancer_is_back_at_once(
    start_site: StartSite, app: str, engine: str, options: tuple[str, ...]
) -> None:
    site = start_site(app, engine, 2, *options)
    workers = site.workers()
    clients = 8
    with Load(site, clients=clients) as load:
        for _ in range(3):
            faults.kill_balancer(site)
            load.wait_for(50)
    assert site.log.count("the balancer (pid ") == 3
    assert site.workers() == workers
    # Those whose connection it held know it; nobody is refused, since the supervisor holds the listening socket.
    assert load.unanswered <= 3 * clients
    assert not load.kinds["refused"] and not load.kinds["timeout"], load
    assert set(load.statuses) == {200}, load
    assert load.worst_gap < 10.0  # 1 s where the machine is not busy, which the soak looks at


def test_a_balancer_that_stands_still_is_replaced(start_site: StartSite) -> None:
    site = start_site("supervised:app", "sync", 2)
    workers, victim = site.workers(), site.balancer
    os.kill(victim, signal.SIGSTOP)
    site.wait_logged(f"the balancer (pid {victim}) has stood still for 10 s")
    wait_until(lambda: site.balancer not in (0, victim))
    assert site.ask("/pid") == 200
    assert site.workers() == workers


def test_what_a_killed_balancer_had_counted_is_kept(start_site: StartSite) -> None:
    site = start_site("supervised:app", "sync", 2)
    for _ in range(5):
        assert site.ask("/pid") == 200
    wait_until(lambda: site.status()["balancer"]["requests"] == 5)
    faults.kill_balancer(site)
    assert site.status()["balancer"]["requests"] == 5


# ---- the supervisor ----


@pytest.mark.parametrize(("app", "engine", "options"), [*BALANCED[:2], KERNEL[1], *KERNEL[2:]])
def test_a_killed_supervisor_leaves_nothing_behind(
    start_site: StartSite, app: str, engine: str, options: tuple[str, ...]
) -> None:
    site = start_site(app, engine, 2, *options)
    with socket.create_connection(site.address, 20) as client:
        client.sendall(b"GET /sleep?0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: any(each["running"] for each in site.status()["workers"]))
        kill_supervisor(site)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    site.wait_until_gone()
    assert site.left_behind() == []
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do; a listener is still in the way
        sock.bind(site.address)
        sock.listen()


def test_requests_in_the_queue_outlive_the_supervisor(start_site: StartSite) -> None:
    """The balancer drains, and the workers go on until it has."""
    site = start_site("supervised:app", "sync", 2)
    clients = [socket.create_connection(site.address, 20) for _ in range(8)]
    for client in clients:
        client.sendall(b"GET /sleep?0.3 HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: site.status()["balancer"]["queued"] == 6)
    kill_supervisor(site)
    assert {client.recv(100)[:15] for client in clients} == {b"HTTP/1.1 200 OK"}
    for client in clients:
        client.close()
    site.wait_until_gone()


def kill_supervisor(site: Site) -> None:
    os.kill(site.supervisor, signal.SIGKILL)
