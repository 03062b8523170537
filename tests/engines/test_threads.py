"""Threads: as many requests at once as there are threads, on the engine threads and in the pools of the loops."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from serving import Client, Server, Start, request_bytes, wait_until

WSGI, ASGI = "engines_wsgi:app", "engines_asgi:app"
POOLS = ["threads", "asyncio", "twisted", "trio"]
PAIRS = [*((WSGI, engine) for engine in POOLS), (ASGI, "threads")]
every_pool = pytest.mark.parametrize(
    ("app", "engine"), PAIRS, ids=[f"{'wsgi' if app == WSGI else 'asgi'}-{engine}" for app, engine in PAIRS]
)


@pytest.fixture
def key() -> str:
    return uuid4().hex


@contextlib.contextmanager
def asking(server: Server, number: int, target: str) -> Any:
    """So many clients that have asked."""
    with contextlib.ExitStack() as stack:
        asked = [stack.enter_context(server.connect()) for _ in range(number)]
        for client in asked:
            client.send(request_bytes(target))
        yield asked


def counted(server: Server, app: str, key: str, client: Client | None = None) -> dict[str, int]:
    target = f"/count/{key}" if app == WSGI else f"/count?key={key}"
    return json.loads((client.ask(target) if client else server.ask(target)).body)


def held_target(app: str, key: str, gate: Path) -> str:
    return f"/held/{key}?gate={quote(str(gate))}" if app == WSGI else f"/blocked?key={key}&gate={quote(str(gate))}"


@every_pool
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_as_many_requests_as_threads_meet(app: str, engine: str, threads: int, shared_server: Start, key: str) -> None:
    """Again and again: no thread may get lost on the way."""
    server = shared_server(app, engine, "--threads", str(threads))
    for attempt in range(5):
        name = f"{key}-{attempt}"
        target = f"/meet/{name}?parties={threads}" if app == WSGI else f"/meet?key={name}&parties={threads}"
        with asking(server, threads, target) as clients:
            assert {client.response().status for client in clients} == {200}
        assert counted(server, app, name)["most"] == threads


@every_pool
def test_more_requests_than_threads_wait_their_turn(
    app: str, engine: str, shared_server: Start, key: str, tmp_path: Path
) -> None:
    server = shared_server(app, engine, "--threads", "4")
    gate = tmp_path / "gate"
    with asking(server, 7, held_target(app, key, gate)) as clients:
        assert all(client.is_quiet() for client in clients)
        gate.touch()
        assert {client.response().status for client in clients} == {200}
    assert counted(server, app, key)["most"] <= 4


@every_pool
def test_a_blocked_thread_does_not_stop_the_others(
    app: str, engine: str, shared_server: Start, key: str, tmp_path: Path
) -> None:
    server = shared_server(app, engine, "--threads", "4")
    gate = tmp_path / "gate"
    with asking(server, 3, held_target(app, key, gate)) as blocked, server.connect() as normal:
        wait_until(lambda: counted(server, app, key, normal)["inside"] == 3)
        for _ in range(50):
            assert normal.ask("/hello").status == 200
        assert all(client.is_quiet() for client in blocked)
        gate.touch()
        assert {client.response().status for client in blocked} == {200}


@pytest.mark.parametrize("engine", POOLS)
def test_streams_that_last_do_not_stop_a_thread_that_is_free(
    engine: str, shared_server: Start, key: str, tmp_path: Path
) -> None:
    server = shared_server(WSGI, engine, "--threads", "9")
    gate = tmp_path / "gate"
    target = f"/streams?key={key}&gate={quote(str(gate))}"
    with asking(server, 8, target) as streams, server.connect() as ninth:
        for client in streams:
            client.read_until(b"begun\r\n")
        for _ in range(20):
            assert ninth.ask("/hello").body == b"hello"
        gate.touch()
        for client in streams:
            client.read_until(b"0\r\n\r\n")
    assert counted(server, WSGI, key)["most"] == 8


@every_pool
def test_short_requests_between_long_ones(
    app: str, engine: str, shared_server: Start, key: str, tmp_path: Path
) -> None:
    """Long requests come when the server has got used to short ones: no free thread may be left idle for them."""
    server = shared_server(app, engine, "--threads", "3")
    for attempt in range(4):
        gate = tmp_path / f"gate-{attempt}"
        name = f"{key}-{attempt}"
        with server.connect() as normal:
            for _ in range(200):
                assert normal.ask("/hello").status == 200
            with asking(server, 2, held_target(app, name, gate)) as long:
                wait_until(lambda name=name, normal=normal: counted(server, app, name, normal)["inside"] == 2)
                gate.touch()
                assert {client.response().status for client in long} == {200}


def test_threads_that_never_end_do_not_hold_the_server(own_server: Start, key: str, tmp_path: Path) -> None:
    server = own_server(WSGI, "threads", "--threads", "16", "--graceful-timeout", "0.1")
    with asking(server, 16, held_target(WSGI, key, tmp_path / "never")):
        with server.connect() as client:
            client.send(b"nonsense\r\n\r\n")
            assert client.response().status == 400
        assert server.stop() == 0
    assert "cut off after 0.1 s of stopping" in server.log
