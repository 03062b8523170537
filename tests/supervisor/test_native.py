"""aiohttp, Tornado and twisted.web applications with their own servers, in our processes."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import signal
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from supervising import StartSupervised, eitherway, get, status, wait_for_workers, workers
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from serving import Start, chunked, request_bytes, wait_until

AIOHTTP, TORNADO, TWISTED = "native_aiohttp:app", "native_tornado:app", "native_twisted:site"
PAIRS = [
    (AIOHTTP, "asyncio"),
    (AIOHTTP, "uvloop"),
    (AIOHTTP, "twisted"),
    (TORNADO, "asyncio"),
    (TORNADO, "uvloop"),
    (TWISTED, "twisted"),
]
ONE_EACH = [(AIOHTTP, "uvloop"), (TORNADO, "asyncio"), (TWISTED, "twisted")]
every_pair = pytest.mark.parametrize(("app", "engine"), PAIRS)
one_each = pytest.mark.parametrize(("app", "engine"), ONE_EACH)
contexts = pytest.mark.parametrize(("app", "engine"), [pair for pair in PAIRS if pair[0] != TWISTED])


@every_pair
def test_requests_uploads_and_downloads(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    with server.connect() as client:
        for _ in range(3):
            said = json.loads(client.ask("/").body)
            assert (said["pid"], said["remote"]) == (server.process.pid, "127.0.0.1")
        assert json.loads(client.ask("/upload", "POST", body=b"x" * 300_000).body) == {"size": 300_000}
        client.send(request_bytes("/upload", "POST", "Transfer-Encoding: chunked") + chunked(b"c" * 70_002, 9000))
        assert json.loads(client.response().body) == {"size": 70_002}
        assert client.ask("/download").body == b"x" * (1 << 20)
        assert client.ask("/nowhere").status == 404
        assert client.ask("/fail").status == 500
    if app == AIOHTTP:  # the application's own handler_args
        packed = server.ask("/upload", "POST", "Content-Encoding: gzip", body=gzip.compress(b"x" * 10_000))
        assert json.loads(packed.body)["size"] < 100


@one_each
def test_what_a_proxy_says_holds_for_its_request_only(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    with server.connect() as proxy:
        told = proxy.ask("/", "GET", "X-Forwarded-Proto: https", "X-Forwarded-For: 198.51.100.7")
        own = proxy.ask("/")
        only_scheme = proxy.ask("/", "GET", "X-Forwarded-Proto: https")
    found = [json.loads(each.body) for each in (told, own, only_scheme)]
    assert [(each["remote"], each["scheme"]) for each in found] == [
        ("198.51.100.7", "https"),
        ("127.0.0.1", "http"),
        ("127.0.0.1", "https"),
    ]
    if app == AIOHTTP:
        assert [each.headers["x-prepared"] for each in (told, own)] == ["https", "http"]


@one_each
def test_clients_that_leave_at_once_harm_nobody(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    for _ in range(100):
        with server.connect() as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.ask("/").status == 200


@contexts
def test_requests_do_not_share_their_context(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda number: server.ask(f"/echo/{number}").text, range(100))) == list(
            map(str, range(100))
        )


@every_pair
def test_a_request_that_runs_is_answered_before_the_end(
    app: str, engine: str, own_server: Start, tmp_path: Path
) -> None:
    server = own_server(app, engine)
    gate = tmp_path / "gate"
    with server.connect() as idle, server.connect() as client:
        idle.send(request_bytes("/") * 3)
        assert [idle.response().status for _ in range(3)] == [200, 200, 200]
        client.send(request_bytes(f"/wait?key=slow&gate={gate}"))
        wait_until(lambda: server.notes("slow"))
        server.process.send_signal(signal.SIGTERM)
        assert idle.is_closed()
        gate.touch()
        response = client.response()
        assert (response.body, response.headers["connection"]) == (b"waited", "close")
        assert server.wait() == 0
    assert "cut off" not in server.log
    assert app != AIOHTTP or server.notes("lifetime") == ["began", "ended"]


@one_each
def test_what_was_asked_before_the_end_is_answered(app: str, engine: str, own_server: Start) -> None:
    """On new connections and on kept ones; to clients that take their time, too."""
    server = own_server(app, engine)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(20)]
        for client in clients[:10]:
            assert client.ask("/").status == 200
        slow = stack.enter_context(server.connect())
        slow.send(request_bytes("/large"))
        wait_until(lambda: server.notes("large"))
        for client in clients:
            client.send(request_bytes("/"))
        server.process.send_signal(signal.SIGTERM)
        assert {client.response().status for client in clients} == {200}
        slow.read_until(b"\r\n\r\n")
        for _ in range(8):
            assert slow.read_exactly(1 << 20) == b"x" * (1 << 20)
            time.sleep(0.1)  # that is what it is: slow
    assert server.wait() == 0


@one_each
def test_one_that_does_not_end_is_cut_off(app: str, engine: str, own_server: Start, tmp_path: Path) -> None:
    server = own_server(app, engine, "--graceful-timeout", "0.3s")
    with server.connect() as client:
        client.send(request_bytes(f"/wait?key=slow&gate={tmp_path}/never"))
        wait_until(lambda: server.notes("slow"))
        assert server.stop() == 0
    assert "cut off after 0.3 s" in server.log
    assert app != AIOHTTP or server.notes("lifetime") == ["began", "ended"]


@one_each
def test_more_requests_at_once_than_allowed(app: str, engine: str, own_server: Start, tmp_path: Path) -> None:
    server = own_server(app, engine, "--limit-concurrency", "1")
    with server.connect() as client:
        client.send(request_bytes(f"/wait?key=slow&gate={tmp_path}/gate"))
        wait_until(lambda: server.notes("slow"))
        refused = server.ask("/")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert server.ask("/", "HEAD").status == 503
        (tmp_path / "gate").touch()
        assert client.response().body == b"waited"


@one_each
def test_more_connections_than_allowed(app: str, engine: str, own_server: Start, tmp_path: Path) -> None:
    server = own_server(app, engine, "--limit-connections", "1")
    with server.connect() as client:
        client.send(request_bytes(f"/wait?key=slow&gate={tmp_path}/gate"))
        wait_until(lambda: server.notes("slow"))
        with server.connect() as other:
            try:
                assert other.is_closed()
            except ConnectionResetError:
                pass  # closed, too
        (tmp_path / "gate").touch()
        assert client.response().body == b"waited"


def test_the_longest_idle_connection_makes_room(own_server: Start) -> None:
    server = own_server(AIOHTTP, "asyncio", "--limit-connections", "3")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in (*clients, clients[0]):
            assert client.ask("/").status == 200
        assert server.ask("/").status == 200  # by a fourth
        assert clients[1].is_closed()
        assert [client.ask("/").status for client in (clients[0], clients[2])] == [200, 200]


@one_each
def test_every_request_is_in_the_access_log(app: str, engine: str, own_server: Start) -> None:
    server = own_server(app, engine, "--access-log", "-", "--access-format", "json")
    server.ask("/?a=b", "GET", "User-Agent: test")
    server.ask("/nowhere")
    wait_until(lambda: server.out.count("\n") == 2)
    first, second = map(json.loads, server.out.splitlines())
    assert (first["method"], first["target"], first["status"], first["agent"]) == ("GET", "/?a=b", 200, "test")
    assert first["size"] >= 50
    assert (second["target"], second["status"]) == ("/nowhere", 404)


@every_pair
def test_a_websocket_is_closed_with_the_server(app: str, engine: str, own_server: Start) -> None:
    if app == TWISTED and not (find_spec("wsproto") and find_spec("twisted.web.websocket")):
        pytest.skip("WebSockets of twisted.web need a newer Twisted, and wsproto")
    server = own_server(app, engine)
    with connect(f"ws://127.0.0.1:{server.port}/chat") as chat:
        for text in ("a", "b" * 100_000):
            chat.send(text)
            assert chat.recv(timeout=20) == text
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            chat.recv(timeout=20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
    assert server.wait() == 0
    assert "cut off" not in server.log


def test_tornados_fallback_to_wsgi_is_counted_and_its_end_too(own_server: Start) -> None:
    server = own_server(TORNADO, "asyncio", "--limit-concurrency", "1", "--access-log", "-")
    with server.connect() as client:
        assert [client.ask("/wsgi").body for _ in range(3)] == [b"wsgi"] * 3
    wait_until(lambda: server.out.count('"GET /wsgi HTTP/1.1" 200 ') == 3)


# ---- many processes ----


def test_who_makes_progress_is_not_stuck(supervised: StartSupervised) -> None:
    """A download and an upload that take longer than one request may wait, on all three at the same time."""
    servers = [supervised(app, engine, 1, "--timeout", "1.5s") for app, engine in ONE_EACH]
    with contextlib.ExitStack() as stack:
        downloads, uploads = ([stack.enter_context(server.connect()) for server in servers] for _ in range(2))
        for download, upload in zip(downloads, uploads, strict=True):
            download.send(request_bytes("/drip"))
            upload.send(request_bytes("/upload", "POST", "Content-Length: 21"))
            download.read_until(b"\r\n\r\n")
        for _ in range(20):
            for download, upload in zip(downloads, uploads, strict=True):
                download.read_until(b"x")
                upload.send(b"y")
        for upload in uploads:
            upload.send(b"y")
            assert json.loads(upload.response().body) == {"size": 21}
    assert "stuck" not in "".join(server.log for server in servers)


@one_each
def test_who_is_stuck_is_cut_off_and_the_others_are_served(
    app: str, engine: str, supervised: StartSupervised, tmp_path: Path
) -> None:
    server = supervised(app, engine, 1, "--timeout", "0.4s")
    before = workers(server)
    with server.connect() as client:
        client.send(request_bytes(f"/wait?key=slow&gate={tmp_path}/never"))
        with contextlib.suppress(ConnectionResetError):  # cut off, too
            assert client.is_closed()
    wait_until(lambda: "GET /wait?key=slow" in server.log)
    assert "Traceback" not in server.log
    wait_until(lambda: get(server, "/")[0] == 200)
    assert workers(server) == before


def test_a_handler_that_goes_on_without_its_client_is_counted(supervised: StartSupervised, tmp_path: Path) -> None:
    server = supervised(AIOHTTP, "asyncio", 1)
    gate = tmp_path / "gate"
    with server.connect() as client:
        client.send(request_bytes(f"/wait?key=slow&gate={gate}"))
        wait_until(lambda: server.notes("slow"))

    def figures() -> tuple[int, int]:
        (worker,) = status(server)["workers"]
        return worker["connections"], worker["running"]

    wait_until(lambda: figures() == (0, 1))
    gate.touch()
    wait_until(lambda: figures() == (0, 0))


@one_each
def test_the_status_counts_what_they_do(app: str, engine: str, supervised: StartSupervised, tmp_path: Path) -> None:
    server = supervised(app, engine, 1)
    gate = tmp_path / "gate"
    with server.connect() as client, server.connect() as other:
        other.ask("/")
        client.send(request_bytes(f"/wait?key=slow&gate={gate}"))
        wait_until(lambda: server.notes("slow"))

        def figures() -> tuple[int, ...]:
            (worker,) = status(server)["workers"]
            return tuple(worker[name] for name in ("connections", "running", "requests", "errors"))

        wait_until(lambda: figures() == (2, 1, 1, 0))
        gate.touch()
        assert client.response().body == b"waited"
        wait_until(lambda: figures() == (2, 0, 2, 0))
    server.ask("/fail")
    wait_until(lambda: figures() == (0, 0, 3, 1))


@pytest.mark.parametrize(
    ("app", "engine", "balance"), [(*pair, "kernel") for pair in ONE_EACH] + [(*ONE_EACH[0], "request")]
)
def test_a_reload_loses_no_request(app: str, engine: str, balance: str, supervised: StartSupervised) -> None:
    count = 2 if app == AIOHTTP else 1
    server = supervised(app, engine, count, "--balance", balance)
    before = set(workers(server).values())
    over, statuses = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            statuses.append(get(server, "/")[0])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) > 20)
    server.process.send_signal(signal.SIGHUP)
    wait_for_workers(server, count, without=before)
    wait_until(lambda: len(status(server)["workers"]) == count)
    over.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}


@one_each
def test_behind_the_balancer_they_know_the_client(app: str, engine: str, supervised: StartSupervised) -> None:
    server = supervised(app, engine, 2, "--balance", "request")
    proxied = ("X-Forwarded-Proto: https", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Host: [2001:db8::1]:8443")
    response = server.ask("/", "GET", *proxied)
    said = json.loads(response.body)
    assert (said["remote"], said["scheme"]) == ("198.51.100.7", "https")


@one_each
def test_a_worker_that_has_served_enough_is_replaced(app: str, engine: str, supervised: StartSupervised) -> None:
    server = supervised(app, engine, 1, "--max-requests", "5", "--max-requests-jitter", "0")
    before = set(workers(server).values())
    for _ in range(6):
        assert get(server, "/")[0] == 200
    wait_for_workers(server, 1, without=before)


def test_a_call_that_blocks_the_loop_is_named(supervised: StartSupervised) -> None:
    server = supervised(AIOHTTP, "asyncio", 1, "--timeout", "0.5s")
    before = set(workers(server).values())
    assert get(server, "/block")[0] == 0
    wait_for_workers(server, 1, without=before)
    assert re.search(r"worker 1 \(pid \d+\) stuck for \S+ s in native_aiohttp.py:\d+ block \(GET /block\)", server.log)


# ---- starting ----


def test_an_async_factory_is_awaited(own_server: Start) -> None:
    server = own_server("native_aiohttp:create_later()", "asyncio")
    assert server.ask("/").status == 200


@pytest.mark.parametrize(
    ("app", "why"),
    [
        ("refuses", "ConnectionError: no database at db.example"),
        ("mistaken", "TypeError: RequestHandler.__init__() got an unexpected keyword argument 'no_such'"),
    ],
)
def test_an_application_that_refuses_to_start(app: str, why: str, own_server: Start) -> None:
    server = own_server(f"native_aiohttp:{app}", "asyncio", ready=False)
    assert server.wait() == 6
    last = [line for line in server.log.splitlines() if line.startswith("eitherway: ")]
    assert last == [f"eitherway: the application refused to start: {why}"]


def test_a_site_whose_requests_cannot_be_counted_is_refused(own_server: Start) -> None:
    server = own_server("native_twisted:odd", "twisted", ready=False)
    assert server.wait() == 4
    assert server.log.startswith("eitherway: the site's requestFactory is no class")


def test_a_loop_that_cannot_take_over_sockets_is_refused(own_server: Start) -> None:
    assert own_server(AIOHTTP, "asyncio", "--loop", "asyncio:SelectorEventLoop").ask("/").status == 200
    server = own_server(AIOHTTP, "asyncio", "--loop", "native_aiohttp:HalfALoop", ready=False)
    assert server.wait() == 4
    assert server.log.splitlines()[-1].startswith(
        "eitherway: the loop native_aiohttp:HalfALoop cannot take over an accepted socket"
    )


@pytest.mark.parametrize(
    ("app", "engine", "why"),
    [
        (AIOHTTP, "gevent", "its own server needs asyncio's loop; use --engine uvloop or asyncio"),
        (TORNADO, "threads", "its own server needs asyncio's loop; use --engine uvloop or asyncio"),
        (TWISTED, "asyncio", "its own server needs Twisted's reactor; use --engine twisted"),
    ],
)
def test_engines_that_cannot_run_them_say_so(app: str, engine: str, why: str) -> None:
    apps = str(Path(__file__).parent.parent / "apps")
    run = eitherway("serve", app, "--engine", engine, "--chdir", apps, "--bind", "127.0.0.1:0")
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == f"eitherway: the engine {engine} cannot run this application: {why}"
