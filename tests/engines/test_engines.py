"""What holds on every engine: many clients at once, slow clients that cost nothing, and who may run what."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from serving import ASGI_ENGINES, PATIENCE, WSGI_ENGINES, Client, Server, Start, request_bytes

WSGI, ASGI = "engines_wsgi:app", "engines_asgi:app"
PAIRS = [(WSGI, engine) for engine in WSGI_ENGINES] + [(ASGI, engine) for engine in ASGI_ENGINES]
every_pair = pytest.mark.parametrize(
    ("app", "engine"), PAIRS, ids=[f"{'wsgi' if app == WSGI else 'asgi'}-{engine}" for app, engine in PAIRS]
)
LARGE = 8 << 20


@pytest.fixture
def key() -> str:
    return uuid4().hex


@contextlib.contextmanager
def clients(server: Server, number: int, *, receive_buffer: int = 0) -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            sock = socket.socket()
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(PATIENCE)
            sock.connect(server.address)
            opened.append(stack.enter_context(Client(sock)))
        yield opened


# ---- every application on every engine ----


@every_pair
def test_many_clients_at_once(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    with clients(server, 100) as crowd:
        for _ in range(3):
            for client in crowd:
                client.send(request_bytes("/hello"))
            assert {client.response().status for client in crowd} == {200}


@every_pair
def test_pipelined_requests_are_answered_in_order(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    sizes = [*range(1, 20), 70_000, *range(20, 40)]
    with server.connect() as client:
        client.send(b"".join(request_bytes("/upload", "POST", body=b"x" * size) for size in sizes))
        assert [json.loads(client.response().body)["size"] for _ in sizes] == sizes


@every_pair
def test_slow_uploads_cost_nobody_else_anything(app: str, engine: str, shared_server: Start) -> None:
    """50 clients send their bodies byte by byte; with two threads all others are answered meanwhile."""
    if app == ASGI and engine in {"sync", "threads"}:
        pytest.skip("an ASGI application receives the body itself, in the one request that a thread or sync runs")
    server = shared_server(app, engine, "--threads", "2")
    with clients(server, 50) as slow, server.connect() as normal:
        for client in slow:
            client.send(request_bytes("/upload", "POST", "Content-Length: 5"))
        for _ in range(4):
            for client in slow:
                client.send(b"x")
            assert normal.ask("/hello").status == 200
        assert all(client.is_quiet() for client in slow)
        for client in slow:
            client.send(b"x")
        assert [json.loads(client.response().body)["size"] for client in slow] == [5] * 50


@every_pair
def test_slow_heads_cost_nobody_else_anything(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine, "--threads", "2")
    with clients(server, 50) as slow, server.connect() as normal:
        for byte in request_bytes("/hello")[:-1]:
            for client in slow:
                client.send(bytes([byte]))
        assert normal.ask("/hello").status == 200
        for client in slow:
            client.send(b"\n")
        assert {client.response().status for client in slow} == {200}


@pytest.mark.parametrize("kind", ["large", "large-file"])
@pytest.mark.parametrize("engine", WSGI_ENGINES)
def test_slow_readers_cost_nobody_else_anything(engine: str, kind: str, shared_server: Start, tmp_path: Path) -> None:
    """20 clients do not read a large answer; with two threads all others are answered."""
    path = tmp_path / "large"
    path.write_bytes(b"x" * LARGE)
    server = shared_server(WSGI, engine, "--threads", "2")
    with clients(server, 20, receive_buffer=65536) as slow, server.connect() as normal:
        for client in slow:
            client.send(request_bytes(f"/{kind}?path={quote(str(path))}"))
        for client in slow:
            client.read_until(b"\r\n\r\n")
        assert normal.ask("/hello").body == b"hello"
        for client in slow[:1]:
            assert set(client.read_exactly(LARGE)) == {ord("x")}
            assert client.ask("/hello").body == b"hello"


@pytest.mark.parametrize("engine", ASGI_ENGINES)
def test_slow_readers_cost_an_asgi_application_nothing(engine: str, shared_server: Start) -> None:
    server = shared_server(ASGI, engine, "--threads", "2")
    with clients(server, 20, receive_buffer=65536) as slow, server.connect() as normal:
        for client in slow:
            client.send(request_bytes("/large"))
        for client in slow:
            client.read_until(b"\r\n\r\n")
        assert normal.ask("/hello").status == 200
        assert len(slow[0].read_exactly(LARGE)) == LARGE
        assert slow[0].ask("/hello").status == 200


@every_pair
def test_sockets_are_served_while_all_who_run_requests_are_blocked(
    app: str, engine: str, own_server: Start, key: str, tmp_path: Path
) -> None:
    """Time-outs, bad requests and new connections do not wait for the application, except where it blocks the loop."""
    blocks_the_loop = (app == WSGI and engine == "sync") or (app == ASGI and engine != "threads")
    if blocks_the_loop:
        pytest.skip("here an application that blocks its thread blocks the server: that is the model")
    gate = tmp_path / "gate"
    server = own_server(app, engine, "--threads", "2", "--head-timeout", "1")
    path = f"/held/{key}?" if app == WSGI else f"/blocked?key={key}&"
    with clients(server, 3) as held, server.connect() as bad, server.connect() as slow:
        for client in held:
            client.send(request_bytes(f"{path}gate={quote(str(gate))}"))
        slow.send(b"GET / HT")
        bad.send(b"nonsense\r\n\r\n")
        assert bad.response().status == 400
        assert slow.response().status == 408
        with server.connect() as late:
            late.send(b"GET / HTTP/3.7\r\n\r\n")
            assert late.response().status == 505
        assert all(client.is_quiet() for client in held)
        gate.touch()
        assert {client.response().status for client in held} == {200}


# ---- who runs what ----


@pytest.mark.parametrize("engine", ["gevent", "eventlet"])
def test_asgi_on_greenlets_is_refused_with_a_line_that_says_why(own_server: Start, engine: str) -> None:
    server = own_server(ASGI, engine, ready=False)
    assert server.wait() == 4
    (line,) = [line for line in server.log.splitlines() if not line.startswith("note ")]
    assert "ASGI" in line
    assert "coroutines" in line
    assert "--engine uvloop or asyncio" in line


@pytest.mark.parametrize("library", ["gevent", "eventlet", "uvloop"])
def test_a_missing_library_is_named_with_its_cure(library: str, own_server: Start, tmp_path: Path) -> None:
    hide(tmp_path, library)
    server = own_server(WSGI, library, ready=False, env=with_path(tmp_path))
    assert server.wait() == 4
    assert server.log.splitlines() == [
        f"eitherway: the engine {library} needs {library}, which is not installed; "
        f'run: pip install "eitherway[{library}]"'
    ]


@pytest.mark.parametrize(
    ("app", "hidden", "said"),
    [
        (WSGI, "", "(wsgi) on threads at"),
        (ASGI, "", "(asgi) on uvloop at"),
        (ASGI, "uvloop", "(asgi) on asyncio at"),
    ],
)
def test_auto_takes_what_suits(app: str, hidden: str, said: str, own_server: Start, tmp_path: Path) -> None:
    if hidden:
        hide(tmp_path, hidden)
    server = own_server(app, "auto", env=with_path(tmp_path))
    assert said in server.log
    assert f"pid {server.process.pid}" in server.log
    assert server.ask("/hello").status == 200


@pytest.mark.parametrize("engine", ["sync", "threads", "gevent"])
def test_engines_without_coroutines_do_without_the_memory_that_asyncio_takes(
    engine: str, own_server: Start, tmp_path: Path
) -> None:
    hide(tmp_path, "asyncio")
    assert own_server(WSGI, engine, env=with_path(tmp_path)).ask("/hello").status == 200


def hide(directory: Path, library: str) -> None:
    """Make a library look as if it were not installed."""
    (directory / "sitecustomize.py").write_text(f"import sys\nsys.modules[{library!r}] = None\n")


def with_path(directory: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))}


@pytest.mark.parametrize(
    ("engine", "module"),
    [("sync", "asyncio."), ("threads", "asyncio."), ("asyncio", "asyncio."), ("uvloop", "uvloop")],
)
def test_asgi_applications_run_on_the_loop_of_their_engine(engine: str, module: str, shared_server: Start) -> None:
    assert json.loads(shared_server(ASGI, engine).ask("/loop").body).startswith(module)
