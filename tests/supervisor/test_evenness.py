"""Workers that share a listener take even shares of the connections, and nobody waits for one that is held up."""

from __future__ import annotations

import socket
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from supervising import StartSupervised, get, status

from serving import PATIENCE, Client, Server, wait_until

MOST = 1.3  # the largest share, divided by the smallest
TRIES = 5  # where other programs keep a worker from its CPU, its siblings rightly take its connections


def ask(client: Client) -> bytes:
    client.send(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
    return client.response().body


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("app", "engine"), [("supervised:asgi", "uvloop"), ("supervised:app", "gevent")])
def test_keep_alive_clients_spread_evenly(supervised: StartSupervised, app: str, engine: str, at_once: bool) -> None:
    server = supervised(app, engine, 4)
    found = []
    while len(found) < TRIES and not (found and is_even(found[-1])):
        found.append(shares_of_64(server, at_once))
        wait_until(lambda: sum(each["connections"] for each in status(server)["workers"]) == 0)
    assert is_even(found[-1]), found


def is_even(shares: Counter[bytes]) -> bool:
    return len(shares) == 4 and max(shares.values()) <= MOST * min(shares.values())


def shares_of_64(server: Server, at_once: bool) -> Counter[bytes]:
    """How many requests of 64 clients each worker has answered; `at_once`: all connect before one asks."""
    clients = []
    try:
        for _ in range(64):
            clients.append(server.connect())
            if not at_once:
                ask(clients[-1])
        return Counter(ask(client) for _ in range(3) for client in clients)
    finally:
        for client in clients:
            client.socket.close()


def listens(path: Path) -> bool:
    """A socket that is bound does not listen yet."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_clients_that_wait_for_the_start_are_shared(supervised: StartSupervised, tmp_path: Path) -> None:
    """All who were connected come back at once when a server starts anew; the first worker must not have them all."""
    found = []
    while len(found) < TRIES and not (found and is_even(found[-1])):
        path = tmp_path / str(len(found))
        server = supervised("supervised:asgi", "uvloop", 4, bind=f"unix:{path}", ready=False)
        wait_until(partial(listens, path))
        clients = [Client(socket.socket(socket.AF_UNIX)) for _ in range(64)]
        for client in clients:
            client.socket.connect(str(path))
            client.socket.settimeout(PATIENCE)
        found.append(Counter(ask(client) for client in clients))
        for client in clients:
            client.socket.close()
        server.stop()
    assert is_even(found[-1]), found


def test_nobody_waits_for_a_worker_that_is_held_up(supervised: StartSupervised) -> None:
    """The held worker has the fewest connections; the others must not leave new ones to it for long."""
    server = supervised("supervised:asgi", "uvloop", 2)
    with server.connect() as held:
        held.send(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: any(each["running"] for each in status(server)["workers"]))
        clients = []
        started = time.monotonic()
        for _ in range(16):
            clients.append(server.connect())
            ask(clients[-1])
        assert time.monotonic() - started < 10
        for client in clients:
            client.socket.close()
    assert get(server, "/") == (200, b"ok")
