"""Hostile and broken clients against the real server, under every engine; what fits a file is in the corpus."""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving import ASGI_KINDS, WSGI_KINDS, Client, Server, Start, request_bytes, wait_until

PAIRS = [(engine, "wsgi") for engine in WSGI_KINDS] + [(engine, "asgi") for engine in ASGI_KINDS]
every_pair = pytest.mark.parametrize(("engine", "interface"), PAIRS)
every_wsgi_engine = pytest.mark.parametrize("engine", WSGI_KINDS)

TIMEOUTS = (
    "--head-timeout",
    "0.5s",
    "--body-timeout",
    "0.5s",
    "--keep-alive-timeout",
    "0.5s",
    "--write-timeout",
    "0.5s",
)
LIMITS = ("--limit-connections", "5", "--limit-concurrency", "2", "--limit-keep-alive-requests", "3")
LIMITS += ("--limit-body", "1000", "--forwarded-allow-ips", "192.0.2.1")
RESET = struct.pack("ii", 1, 0)
MEGABYTES = 4 << 20
DRIP = 0.02  # seconds between two bytes of a slow client

Serve = Callable[..., Server]


@pytest.fixture
def serve(shared_server: Start) -> Iterator[Serve]:
    """A server that has no clients, and that blames none of this test's on the application."""
    began: list[tuple[Server, int]] = []

    def start(engine: str, interface: str, options: tuple[str, ...] = ()) -> Server:
        server = shared_server(f"echo:{interface}", engine, *options)
        wait_until(lambda: has_no_clients(server))
        began.append((server, len(server.log)))
        return server

    yield start
    for server, length in began:
        assert "Traceback" not in server.log[length:]
        assert " ERROR " not in server.log[length:]


def answers(server: Server) -> bool:
    """Whether a new client is served."""
    with server.connect() as client:
        client.send(request_bytes("/probe"))
        return client.response().status == 200


def seen(server: Server) -> list[str]:
    """The targets that the application has seen. Where few requests may run at once, those before must have ended."""
    while (response := server.ask("/seen")).status == 503:
        pass
    return json.loads(response.body)


def has_no_clients(server: Server) -> bool:
    """Whether the server has no connection open on its port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port, listening = f":{server.port:04X}", "0A"
    connections = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] != listening}
    return connections.isdisjoint(server.open_files())


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.socket.close()


# ---- what stands behind a request that closes ----


@every_pair
def test_nothing_runs_behind_an_early_413(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface, LIMITS)
    hidden = request_bytes(f"/hidden-413-{engine}")
    for head in (
        f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {1001 + len(hidden)}\r\n\r\n".encode() + hidden + b"a" * 1001,
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + hidden + b"a" * 2000,
    ):
        with server.connect() as client:
            client.send(head + hidden)
            assert client.response("POST").status == 413
            assert client.is_closed()
    assert not [target for target in seen(server) if "hidden" in target]


@every_pair
@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
        b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
    ],
    ids=["close", "http-10", "upgrade", "unread-body", "unread-expected-body"],
)
def test_nothing_runs_behind_the_last_answer(serve: Serve, engine: str, interface: str, head: bytes) -> None:
    server = serve(engine, interface)
    with server.connect() as client:
        client.send(head + request_bytes("/hidden-behind"))
        if b"Content-Length" in head and b"Expect" not in head:
            client.finish()
            assert b"/hidden-behind" not in client.read_all()
        else:
            assert client.response().status == 200
            assert client.is_closed()
    assert "/hidden-behind" not in seen(server)


@every_pair
def test_what_lies_behind_connect_is_not_parsed(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface)
    with server.connect() as client:
        client.send(b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + request_bytes("/hidden-connect"))
        assert client.response().status == 501
        assert client.is_closed()
    assert "/hidden-connect" not in seen(server)


# ---- megabytes ----


@every_pair
@pytest.mark.parametrize(
    ("start", "filling", "status"),
    [
        (b"GET /", b"a", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"a", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"a", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;abcdefghijklmno\r\na\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n", 400),
    ],
    ids=["target", "value", "fields", "extension", "extensions", "trailers"],
)
def test_megabytes(serve: Serve, engine: str, interface: str, start: bytes, filling: bytes, status: int) -> None:
    server = serve(engine, interface)
    with server.connect() as client:
        client.send(start + filling * (MEGABYTES // len(filling)))
        assert client.response().status == status
        assert client.is_closed()


@every_pair
def test_more_fields_than_allowed(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface)
    with server.connect() as client:
        client.send(request_bytes("/", "GET", *["A: b"] * 100))
        assert client.response().status == 431
        assert client.is_closed()


@every_pair
def test_x_forwarded_for_with_thousands_of_entries(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface)
    with server.connect() as client:
        client.send(request_bytes("/", "GET", "X-Forwarded-For: " + "6.6.6.6, " * 6000 + "203.0.113.9"))
        assert json.loads(client.response().body)["client"] == "203.0.113.9"


# ---- fields that pass for others ----


@every_pair
def test_an_untrusted_peer_speaks_for_nobody(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface, LIMITS)
    with server.connect() as client:
        forged = [
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil",
            "Forwarded: for=6.6.6.6",
        ]
        client.send(request_bytes("/", "GET", *forged))
        request = json.loads(client.response().body)
    assert (request["client"], request["scheme"], request["fields"]["host"]) == ("127.0.0.1", "http", "test")


@every_wsgi_engine
def test_names_with_underscores_never_reach_the_environ(serve: Serve, engine: str) -> None:
    names = [
        "X_Forwarded_For",
        "X-Forwarded_Proto",
        "Content_Length",
        "Content_Type",
        "HTTP_HOST",
        "REMOTE_ADDR",
    ]
    names += ["SCRIPT_NAME", "PATH_INFO", "REQUEST_METHOD", "wsgi_url_scheme", "Remote_User"]
    server = serve(engine, "wsgi")
    with server.connect() as client:
        client.send(request_bytes("/real", "POST", *[f"{name}: 6" for name in names], "X-Real: yes", body=b"hello"))
        request = json.loads(client.response("POST").body)
    assert request["body"] == "hello"
    assert request["fields"] == {"host": "test", "x-real": "yes", "content-length": "5"}
    assert (request["path"], request["method"], request["client"]) == ("/real", "POST", "127.0.0.1")
    assert request["script_name"] == ""
    assert not {"REMOTE_USER", "HTTP_REMOTE_USER", "HTTP_X_FORWARDED_FOR", "HTTP_HTTP_HOST"} & set(request["keys"])


@every_wsgi_engine
def test_a_hyphenated_twin_is_not_shadowed(serve: Serve, engine: str) -> None:
    server = serve(engine, "wsgi")
    with server.connect() as client:
        client.send(request_bytes("/", "GET", "X_User: evil", "X-User: good", "X_User: evil"))
        assert json.loads(client.response().body)["fields"]["x-user"] == "good"


@every_wsgi_engine
def test_a_proxy_field_does_not_become_http_proxy(serve: Serve, engine: str) -> None:
    server = serve(engine, "wsgi")
    with server.connect() as client:
        client.send(request_bytes("/", "GET", "Proxy: http://evil/", "pROXY: http://evil/"))
        assert "HTTP_PROXY" not in json.loads(client.response().body)["keys"]


# ---- clients that leave ----


@every_pair
def test_a_half_closed_client_gets_its_answers(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface)
    requests = [
        request_bytes("/1"),
        request_bytes("/2", "POST", body=b"a" * 100_000),
        request_bytes("/3", chunks=5),
    ]
    with server.connect() as client:
        client.send(b"".join(requests))
        client.finish()
        targets = [json.loads(client.response(method).body)["target"] for method in ("GET", "POST", "GET")]
        assert targets == ["/1", "/2", "/3"]
        assert client.is_closed()


@every_pair
def test_a_half_closed_client_gets_a_large_answer(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface)
    with server.connect() as client:
        client.send(request_bytes("/large?3000000"))
        client.finish()
        assert len(client.response().body) == 3_000_000


@every_pair
def test_a_reset_in_every_state(serve: Serve, engine: str, interface: str, tmp_path: Path) -> None:
    server = serve(engine, interface)
    assert answers(server)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    for sent in (
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        head,
        head + b"a" * 80_000,
        chunked,
        b"bad\r\n\r\n",
    ):
        client = server.connect()
        client.send(sent)
        reset(client)
        assert answers(server)

    go = tmp_path / "go"
    target = f"/wait?{go}"
    client = server.connect()
    client.send(request_bytes(target))
    reset(client)
    client = server.connect()
    client.send(request_bytes(target))
    go.touch()
    assert client.response().status == 200
    client.socket.close()

    for size in (100_000, 50_000_000):
        client = server.connect()
        client.send(request_bytes(f"/large?{size}"))
        client.read_until(b"\r\n\r\n")
        reset(client)
        assert answers(server)
    wait_until(lambda: has_no_clients(server))


@every_pair
def test_a_client_that_goes_while_its_request_runs(serve: Serve, engine: str, interface: str, tmp_path: Path) -> None:
    server = serve(engine, interface)
    go = tmp_path / "go"
    for leave in (reset, lambda client: client.socket.close(), Client.finish):
        go.unlink(missing_ok=True)
        client = server.connect()
        client.send(request_bytes(f"/wait?{go}") + request_bytes("/behind"))
        leave(client)
        go.touch()
        assert answers(server)
        client.socket.close()


# ---- slow clients ----


SLOW = {
    "never": b"",
    "idle": request_bytes("/"),
    "head": b"GET / HTTP/1.1\r\nHost: x\r\nA: ",
    "body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n",
    "large-body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n",
    "chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
}


@every_pair
def test_slow_clients(serve: Serve, engine: str, interface: str) -> None:
    """All at once; those that owe something send a byte now and then, which must not save them."""
    server = serve(engine, interface, TIMEOUTS)
    clients = {kind: server.connect() for kind in SLOW}
    for kind, client in clients.items():
        client.send(SLOW[kind])
    assert clients["idle"].response().status == 200
    waiting = set(SLOW)
    for _ in range(2000):
        ready = select.select([clients[kind].socket for kind in waiting], [], [], DRIP)[0]
        for kind in sorted(waiting):
            if clients[kind].socket in ready:
                waiting.remove(kind)
                check_given_up(kind, clients[kind])
            elif kind not in ("never", "idle"):
                clients[kind].send(b"a")
        if not waiting:
            break
    assert not waiting, "the server has borne them for too long"
    assert answers(server)


def check_given_up(kind: str, client: Client) -> None:
    if kind not in ("never", "idle"):
        assert client.response().status == 408
    assert client.is_closed()
    client.socket.close()


@every_pair
def test_a_client_that_does_not_take_its_answer(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface, TIMEOUTS)
    assert answers(server)
    wait_until(lambda: has_no_clients(server))
    with server.connect() as client:
        client.send(request_bytes("/large?50000000"))
        client.read_until(b"\r\n\r\n")
        wait_until(lambda: has_no_clients(server))  # it was given up; nothing was read meanwhile
        taken = 0
        try:
            while data := client.socket.recv(1 << 20):
                taken += len(data)
        except ConnectionResetError:
            pass
        assert taken < 50_000_000
    assert answers(server)


# ---- limits ----


@every_pair
def test_requests_on_one_connection(serve: Serve, engine: str, interface: str) -> None:
    server = serve(engine, interface, LIMITS)
    with server.connect() as client:
        client.send(request_bytes("/1") + request_bytes("/2") + request_bytes("/3") + request_bytes("/hidden-4"))
        connection = [client.response().headers.get("connection") for _ in range(3)]
        assert connection == [None, None, "close"]
        assert client.is_closed()
    assert "/hidden-4" not in seen(server)


@every_pair
def test_more_connections_than_allowed(serve: Serve, engine: str, interface: str) -> None:
    """A new client is turned away when all others are busy, and takes the place of one that is idle."""
    server = serve(engine, interface, LIMITS)
    clients: list[Client] = []

    def fill() -> bool:
        """Connections that have sent half a head, until one is turned away."""
        client = server.connect()
        clients.append(client)
        client.send(b"GET /late HTTP/1.1\r\n")
        return bool(select.select([client.socket], [], [], DRIP)[0])

    try:
        wait_until(fill)
        assert len(clients) >= 5
        refused = clients.pop()
        response = refused.response()
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert refused.is_closed()
        refused.socket.close()
        clients[0].send(b"Host: x\r\n\r\n")  # answered, and idle from now on
        assert clients[0].response().status == 200
        wait_until(lambda: answers(server))
        assert clients[0].is_closed()
        clients[1].send(b"Host: x\r\n\r\n")
        assert clients[1].response().status == 200
    finally:
        for client in clients:
            client.socket.close()


@pytest.mark.parametrize(("engine", "interface"), [pair for pair in PAIRS if pair != ("sync", "wsgi")])
def test_more_requests_at_once_than_allowed(serve: Serve, engine: str, interface: str, tmp_path: Path) -> None:
    """sync with WSGI has no such state: it receives nothing while a request runs."""
    server = serve(engine, interface, LIMITS)
    go = tmp_path / "go"
    target = f"/wait?{go}"
    clients = [server.connect() for _ in range(3)]
    try:
        for client in clients:
            client.send(request_bytes(target))
        sockets_ = [client.socket for client in clients]
        (ready,) = select.select(sockets_, [], [], 20)[0]
        busy = clients.pop(sockets_.index(ready))
        response = busy.response()
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        go.touch()
        assert [client.response().status for client in clients] == [200, 200]
        wait_until(lambda: busy.ask("/").status == 200)  # once those have ended, which is behind their answers
        busy.socket.close()
    finally:
        go.touch()
        for client in clients:
            client.socket.close()
