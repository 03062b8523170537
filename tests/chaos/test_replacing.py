"""Reloads and upgrades: no request fails, no connection breaks, nothing grows."""

from __future__ import annotations

import socket

import faults
import pytest
from production import Site, StartSite, descriptors, resident

from load import Load

RELOADS = 20
GROWTH = 3 << 20  # bytes of memory that are no growth
ENGINES = [
    ("supervised:app", "sync", "request", RELOADS),
    ("supervised:app", "threads", "request", RELOADS),
    ("supervised:app", "gevent", "kernel", RELOADS),
    ("supervised:asgi", "uvloop", "kernel", RELOADS),
    ("supervised:app", "threads", "kernel", 3),
    ("supervised:app", "gevent", "request", 3),
    ("supervised:asgi", "uvloop", "request", 3),
]


@pytest.mark.parametrize(("app", "engine", "balance", "times"), ENGINES)
def test_reloads_lose_no_request_and_grow_nothing(
    start_site: StartSite, app: str, engine: str, balance: str, times: int
) -> None:
    site = start_site(app, engine, 2, "--balance", balance)
    with (
        Load(site, clients=4) as load,
        Load(site, clients=2, method="POST", body=b"x") as posts,
    ):
        faults.reload(site)
        before = size(site)
        for _ in range(times - 1):
            faults.reload(site)
        after = size(site)
    for each in (load, posts):
        assert each.failures == []
        assert set(each.statuses) == {200}, each
        if balance == "request":
            assert each.reconnects == 0
    assert site.log.count("reloaded: all workers are new") == times
    for name, (memory, files) in before.items():
        assert after[name][0] < memory + GROWTH, (name, before, after)
        if name == "balancer":  # in the supervisor they come and go with the workers
            assert after[name][1] <= files + 8, (name, before, after)  # connections to workers: as many as requests


def size(site: Site) -> dict[str, tuple[int, int]]:
    """Memory and descriptors of the processes that stay."""
    pids = {"supervisor": site.supervisor, "balancer": site.balancer}
    return {name: (resident(pid), descriptors(pid)) for name, pid in pids.items() if pid}


def test_an_idle_connection_outlives_reloads_under_the_balancer(start_site: StartSite) -> None:
    site = start_site("supervised:app", "sync", 2)
    with socket.create_connection(site.address, 20) as client:
        answers = set()
        for _ in range(3):
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            answers.add(answer.rpartition(b"\r\n")[2])
            faults.reload(site)
        assert len(answers) == 3  # each from another worker


@pytest.mark.parametrize(
    ("app", "engine", "options"),
    [
        ("supervised:app", "sync", ()),
        ("supervised:app", "threads", ("--preload",)),
        ("supervised:app", "gevent", ()),
        ("supervised:asgi", "uvloop", ()),
    ],
)
def test_upgrades_lose_no_request(start_site: StartSite, app: str, engine: str, options: tuple[str, ...]) -> None:
    site = start_site(app, engine, 2, *options)
    supervisors = {site.supervisor}
    with Load(site) as load, Load(site, clients=2, pause=0.05, method="POST", body=b"x") as posts:
        for _ in range(2):
            faults.upgrade(site)
            load.wait_for(50)
            supervisors.add(site.supervisor)
    for each in (load, posts):
        assert each.failures == []
        assert set(each.statuses) == {200}, each
    assert len(supervisors) == 3
    site.stop()
    assert site.left_behind() == []
