"""WebSockets on every engine that has them, for ASGI and WSGI, with clients that we did not write."""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import signal
import socket
import struct
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect

from frames import CLOSE, HANDSHAKE, PING, PONG, TEXT, Frame, RawSocket, close, frame
from serving import ASGI_ENGINES, PATIENCE, Server, Start, request_bytes, wait_until

ASGI, WSGI = "sockets:asgi", "sockets:wsgi"
PAIRS = [(ASGI, engine) for engine in ASGI_ENGINES]
PAIRS += [(WSGI, engine) for engine in ("threads", "gevent", "eventlet", "asyncio", "twisted")]
every_pair = pytest.mark.parametrize(
    ("app", "engine"), PAIRS, ids=[f"{app.partition(':')[2]}-{engine}" for app, engine in PAIRS]
)


def opened(server: Server, target: str, **options: object) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{target}", open_timeout=PATIENCE, close_timeout=PATIENCE, **options)  # type: ignore[arg-type]


def ended(client: ClientConnection) -> tuple[int, str]:
    """Read to the end; the code and reason that the server closed with."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(timeout=PATIENCE)
    received = caught.value.rcvd
    return (received.code, received.reason) if received else (1006, "")


# ---- messages ----


@every_pair
def test_messages_of_all_sizes_go_both_ways(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    texts = ["", "a", "é€𝄞" * 10, *("x" * size for size in (125, 126, 65535, 65536, 1_000_000))]
    for compression in ("deflate", None):
        with opened(server, f"/echo?{engine}-{compression}", compression=compression) as client:
            assert bool(client.protocol.extensions) == (compression is not None)
            for message in [*texts, *(text.encode() for text in texts)]:
                client.send(message)
                assert client.recv(timeout=PATIENCE) == message
            client.send(["in ", "", "four ", "fragments"])
            client.send([b"\0", b"\1"])
            assert [client.recv(timeout=PATIENCE), client.recv(timeout=PATIENCE)] == ["in four fragments", b"\0\1"]
            assert client.ping().wait(PATIENCE)
            client.close(4321, "enough")
    for compression in ("deflate", None):
        wait_until(lambda key=f"/echo{engine}-{compression}": server.notes(key) == ["(4321, 'enough')"])  # type: ignore[misc]


@every_pair
def test_a_subprotocol_and_fields_of_the_application(app: str, engine: str, shared_server: Start) -> None:
    with opened(shared_server(app, engine), "/scope", subprotocols=["one", "two"]) as client:
        assert client.subprotocol == "two"
        assert client.response is not None
        assert client.response.headers["X-Kind"] == "test"
        assert client.response.headers["Server"] == "eitherway"
        seen = json.loads(client.recv(timeout=PATIENCE))
    assert seen["subprotocols"] in ("['one', 'two']", "('one', 'two')")


@every_pair
def test_who_closes_and_why(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine)
    for target, expected in (
        ("/close?1000", (1000, "")),
        ("/close?4999&see%20you", (4999, "see%20you")),
        ("/return", (1000, "")),
        ("/raise", (1011, "")),
    ):
        with opened(server, target) as client:
            assert ended(client) == expected, target
    wait_until(lambda: "ERROR GET /raise: LookupError in the application\nTraceback" in server.log)
    wait_until(lambda: server.notes("/close4999&see%20you") == ["(4999, 'see%20you')"])
    with RawSocket(server, f"/echo?{app}{engine}lost") as raw:
        raw.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: server.notes(f"/echo{app}{engine}lost") == ["(1006, '')"])


@every_pair
def test_an_application_that_fails_before_it_accepts(app: str, engine: str, shared_server: Start) -> None:
    with pytest.raises(InvalidStatus) as caught:
        opened(shared_server(app, engine), "/early-raise")
    assert caught.value.response.status_code == 500


@every_pair
def test_many_clients_talk_at_once(app: str, engine: str, own_server: Start) -> None:
    """Messages, pings and closes from both sides, so that threads meet where they can."""
    clients = 1 if engine == "sync" else 24
    server = own_server(app, engine, "--threads", "32", "--ws-ping-interval", "50ms")

    async def talk(number: int) -> None:
        chance = random.Random(number)
        uri = f"ws://127.0.0.1:{server.port}/echo"
        async with async_connect(uri, compression=None if number % 2 else "deflate", open_timeout=PATIENCE) as client:
            for _ in range(5):
                sent = [chance.choice("aé") * chance.choice([0, 1, 125, 126, 3000, 70_000]) for _ in range(12)]
                for message in sent:
                    await client.send(message)
                    await client.ping()
                assert [await client.recv() for _ in sent] == sent

    async def talk_all() -> None:
        async with asyncio.timeout(6 * PATIENCE), asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(talk(number))

    asyncio.run(talk_all())
    wait_until(lambda: server.notes("/echo") == ["(1000, '')"] * clients)
    assert server.stop() == 0
    assert "Traceback" not in server.log


# ---- back-pressure ----


@every_pair
def test_an_application_waits_for_a_client_that_does_not_read(app: str, engine: str, own_server: Start) -> None:
    server = own_server(app, engine)
    with RawSocket(server, "/push?1000") as raw:
        settled(lambda: len(server.notes("pushed")))
        sent = len(server.notes("pushed"))
        assert sent < 500, "all was sent to a client that took nothing"
        assert server.memory("VmHWM") < 200 << 20
        for _ in range(sent + 20):
            raw.read()
        wait_until(lambda: len(server.notes("pushed")) > sent)
    wait_until(lambda: server.notes("push-ended"))
    assert server.notes("push-ended")[0].startswith("ClientGone")


@every_pair
def test_a_client_waits_for_an_application_that_does_not_receive(
    app: str, engine: str, own_server: Start, tmp_path: Path
) -> None:
    server = own_server(app, engine)
    gate = tmp_path / "gate"
    message = frame(TEXT, b"y" * 10_000)
    with RawSocket(server, f"/hold?{gate}") as raw:
        raw.client.socket.settimeout(0.1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 100_000_000:
                sent += raw.client.socket.send(message[sent % len(message) :])
        assert sent < 20_000_000, "the server reads ahead without bound"
        raw.client.socket.settimeout(PATIENCE)
        gate.touch()
        raw.send(message[sent % len(message) :] if sent % len(message) else b"", frame(TEXT, b"end"))
        count = -(-sent // len(message))
        assert raw.read().data == b"%d %d" % (count, count * 10_000)


def settled(value: object) -> None:
    """Wait until a number does not change any more."""
    assert callable(value)
    seen: list[object] = []

    def same() -> bool:
        seen.append(value())
        return len(seen) > 10 and seen[-1] and len(set(seen[-10:])) == 1  # type: ignore[return-value]

    wait_until(same)


def test_many_tasks_send_at_once_and_one_is_cancelled(own_server: Start) -> None:
    server = own_server(ASGI, "asyncio")
    with RawSocket(server, "/push-from-many") as raw:
        wait_until(lambda: server.notes("cancelled") == ["1"])
        messages = [raw.read().data for _ in range(8)]
        assert [message[:1] for message in messages] == [b"%d" % number for number in range(8)]
        assert all(len(message) == 4_000_000 for message in messages)
        assert raw.read().opcode == CLOSE
    wait_until(lambda: server.notes("sent") == ["7"])


# ---- before the WebSocket ----


@pytest.mark.parametrize("engine", ["asyncio", "threads"])
def test_an_asgi_application_refuses(engine: str, shared_server: Start) -> None:
    server = shared_server(ASGI, engine)
    refused = {}
    for target in ("/early-close", "/deny", "/early-return"):
        with pytest.raises(InvalidStatus) as caught:
            opened(server, target)
        refused[target] = caught.value.response
    assert {target: response.status_code for target, response in refused.items()} == {
        "/early-close": 403,
        "/deny": 401,
        "/early-return": 500,
    }
    assert refused["/deny"].headers["X-Why"] == "no key"
    assert refused["/deny"].body == b"not you"
    wait_until(lambda: server.notes("early-close"))
    assert "websocket.disconnect" in server.notes("early-close")[0]
    wait_until(lambda: "GET /early-return: the application returned without completing its response" in server.log)


def test_the_scope(shared_server: Start) -> None:
    server = shared_server(ASGI, "asyncio", "--root-path", "/mounted")
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    with opened(server, "/scope?a=b%20c", additional_headers=headers) as client:
        seen = json.loads(client.recv(timeout=PATIENCE))
    assert seen["type"] == "'websocket'"
    assert seen["scheme"] == "'wss'"
    assert (seen["path"], seen["root_path"], seen["query_string"]) == ("'/mounted/scope'", "'/mounted'", "b'a=b%20c'")
    assert "192.0.2.7" in seen["client"]
    assert seen["state"] == "{'shared': 'by all'}"
    assert seen["extensions"] == "{'websocket.http.response': {}}"
    assert (seen["subprotocols"], seen["http_version"]) == ("[]", "'1.1'")
    assert "method" not in seen


KEY, VERSION = HANDSHAKE[3], HANDSHAKE[2]
UPGRADE = HANDSHAKE[:2]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([*UPGRADE, KEY], 400),
        ([*UPGRADE, VERSION], 400),
        ([*UPGRADE, VERSION, KEY, KEY], 400),
        ([*UPGRADE, VERSION, "Sec-WebSocket-Key: dGhl"], 400),
        ([*UPGRADE, VERSION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!"], 400),
        ([*UPGRADE, VERSION, "Sec-WebSocket-Key:"], 400),
        ([*UPGRADE, KEY, "Sec-WebSocket-Version: 8"], 426),
        ([*UPGRADE, KEY, VERSION, "Sec-WebSocket-Protocol: a b"], 400),
        ([*UPGRADE, KEY, VERSION, "Sec-WebSocket-Extensions: ;"], 400),
    ],
)
def test_a_malformed_handshake(fields: list[str], status: int, shared_server: Start) -> None:
    asgi = shared_server(ASGI, "asyncio").ask("/echo", "GET", *fields)
    assert asgi.status == status, asgi.body
    if status == 426:
        assert (asgi.headers["sec-websocket-version"], asgi.headers["upgrade"]) == ("13", "websocket")
    if "Extensions" not in fields[-1]:
        wsgi = shared_server(WSGI, "threads").ask("/plain", "GET", *fields)
        assert (wsgi.status, wsgi.body) == (200, b"plain"), "to WSGI it is a request as any other"


@pytest.mark.parametrize("app", [ASGI, WSGI])
def test_what_is_no_handshake_is_a_plain_request(app: str, shared_server: Start) -> None:
    server = shared_server(app, "asyncio")
    for request in (
        request_bytes("/echo", "POST", *HANDSHAKE),
        request_bytes("/echo", "GET", *HANDSHAKE, version="1.0"),
        request_bytes("/echo", "GET", *HANDSHAKE[1:]),
        request_bytes("/echo", "GET", "Connection: Upgrade", "Upgrade: h2c", *HANDSHAKE[2:]),
        request_bytes("/echo", "GET", *HANDSHAKE, body=b"body"),
    ):
        with server.connect() as client:
            client.send(request)
            answer = client.response(request.partition(b" ")[0].decode())
            assert (answer.status, answer.body) == (200, b"plain"), request


def test_wsgi_need_not_take_the_offer_and_sync_makes_none(shared_server: Start) -> None:
    for engine, target in (("threads", "/plain"), ("sync", "/echo")):
        with pytest.raises(InvalidStatus) as caught:
            opened(shared_server(WSGI, engine), target)
        assert caught.value.response.body == b"plain"


# ---- wrong use ----


def test_what_an_asgi_application_may_not_send(shared_server: Start) -> None:
    server = shared_server(ASGI, "asyncio")
    with opened(server, "/wrong") as client:
        errors = json.loads(client.recv(timeout=PATIENCE))
    first = "ASGI: expected websocket.accept, websocket.close or websocket.http.response.start, got "
    content = "ASGI: websocket.send takes either a str as `text` or bytes as `bytes`"
    assert errors[:6] == [
        first + "'websocket.send'",
        first + "'http.response.start'",
        "ASGI: expected websocket.send or websocket.close, got 'websocket.accept'",
        *[content] * 3,
    ]
    assert all("a close code is one of 1000-1003, 1007-1014 and 3000-4999" in error for error in errors[6:8])
    assert "two tasks receive" in errors[8]
    wait_until(lambda: server.notes("late"))
    assert server.notes("late") == ["ASGI: expected nothing: the WebSocket is closed, got 'websocket.send'"]


def test_an_asgi_application_that_goes_on_after_its_client_has_left(own_server: Start) -> None:
    server = own_server(ASGI, "asyncio")
    with opened(server, "/after"):
        pass
    wait_until(lambda: len(server.notes("gone")) == 3)
    assert server.notes("gone") == ["ClientGone", "ClientGone", "websocket.disconnect"]
    wait_until(lambda: "ERROR GET /after: ConnectionError in the application" in server.log)
    server.stop()
    assert "Task" not in server.log


def test_what_a_wsgi_application_may_not_do(own_server: Start) -> None:
    server = own_server(WSGI, "threads")
    with opened(server, "/wrong") as client:
        errors = json.loads(client.recv(timeout=PATIENCE))
    assert [error.partition(":")[0] for error in errors] == ["TypeError", "RuntimeError", "ValueError", "ValueError"]
    assert "accepted already" in errors[1]
    wait_until(lambda: len(server.notes("late")) == 2)
    assert server.notes("late") == ["the WebSocket is closed", "None"]
    wait_until(lambda: server.notes("answer") == ["closed"])


@pytest.mark.parametrize("engine", ["threads", "gevent", "eventlet"])
def test_a_wsgi_application_waits_for_a_time(engine: str, shared_server: Start) -> None:
    with opened(shared_server(WSGI, engine), "/timeout") as client:
        assert client.recv(timeout=PATIENCE) == "no message came within 0.05 s"
        client.send("this")
        assert client.recv(timeout=PATIENCE) == "then this"


# ---- keeping alive ----


def test_a_client_that_does_not_answer_pings_is_closed(own_server: Start) -> None:
    options = ("--ws-ping-interval", "50ms", "--ws-ping-timeout", "1s", "--head-timeout", "500ms")
    server = own_server(ASGI, "asyncio", *options)
    with opened(server, "/echo") as good, RawSocket(server) as bad:
        assert bad.read() == Frame(PING, b"")
        while (opcode := bad.read().opcode) == PING:
            pass
        assert opcode == CLOSE
        assert bad.client.is_closed()
        wait_until(lambda: server.notes("/echo"))
        assert server.notes("/echo") == ["(1011, 'keepalive ping timeout')"]
        good.send("still there")
        assert good.recv(timeout=PATIENCE) == "still there"


def test_no_timeout_of_requests_ends_a_websocket(own_server: Start) -> None:
    short = [part for name in ("head", "body", "keep-alive") for part in (f"--{name}-timeout", "500ms")]
    server = own_server(ASGI, "asyncio", *short, "--timeout", "800ms", "--ws-ping-interval", "0")
    with RawSocket(server, "/idle") as quiet, RawSocket(server, "/echo") as raw:
        quiet.client.socket.settimeout(2.0)
        with pytest.raises(TimeoutError):
            quiet.client.socket.recv(1)
        raw.send(frame(TEXT, b"hello"))
        assert raw.read() == Frame(TEXT, b"hello")
        quiet.send(frame(PING, b"?"))
        quiet.client.socket.settimeout(PATIENCE)
        assert quiet.read() == Frame(PONG, b"?")
    assert "stuck" not in server.log


def test_a_client_that_takes_nothing_is_given_up(own_server: Start) -> None:
    server = own_server(ASGI, "asyncio", "--write-timeout", "200ms")
    with RawSocket(server, "/push?1000"):
        wait_until(lambda: server.notes("push-ended"))
    assert server.notes("push-ended")[0].startswith("ClientGone")


def test_a_thousand_idle_clients_are_cheap(own_server: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    server = own_server(ASGI, "asyncio")
    crowd = []
    try:
        crowd += [RawSocket(server, "/idle") for _ in range(50)]  # what is needed once is there then
        before = server.memory("VmRSS")
        crowd += [RawSocket(server, "/idle") for _ in range(1000)]
        assert server.memory("VmRSS") - before < 1000 * 20_000
        for raw in (crowd[0], crowd[-1]):
            raw.send(frame(PING, b"?"))
            assert raw.read() == Frame(PONG, b"?")
    finally:
        for raw in crowd:
            raw.client.socket.close()


# ---- the end of the server ----


@every_pair
def test_a_server_that_stops_takes_leave(app: str, engine: str, own_server: Start) -> None:
    server = own_server(app, engine)
    with opened(server, "/echo") as client:
        client.send("a")
        client.recv(timeout=PATIENCE)
        server.process.send_signal(signal.SIGTERM)
        assert ended(client) == (1001, "")
    assert server.wait() == 0
    assert server.notes("/echo") == ["(1001, '')"]


def test_a_client_that_does_not_answer_the_leave_is_cut_off(own_server: Start) -> None:
    server = own_server(ASGI, "asyncio", "--graceful-timeout", "300ms")
    with RawSocket(server, "/echo") as raw:
        server.process.send_signal(signal.SIGTERM)
        assert raw.read().data[:2] == struct.pack("!H", 1001)
        assert server.wait() == 0


@pytest.mark.parametrize(("app", "engine", "balance"), [(ASGI, "asyncio", "kernel"), (WSGI, "threads", "request")])
def test_a_worker_that_is_replaced_says_so(app: str, engine: str, balance: str, own_server: Start) -> None:
    server = own_server(app, engine, "--workers", "2", "--balance", balance)
    with opened(server, "/echo") as client, opened(server, "/echo") as other:
        server.process.send_signal(signal.SIGHUP)
        assert ended(client) == (1012, "")
        assert ended(other) == (1012, "")
        wait_until(lambda: "reloaded: all workers are new" in server.log)
        with opened(server, "/echo") as late:
            late.send("to a new worker")
            assert late.recv(timeout=PATIENCE) == "to a new worker"
            server.process.send_signal(signal.SIGTERM)
            assert ended(late) == (1001, "")
    assert server.wait() == 0


# ---- beside HTTP ----


def test_over_a_unix_socket_and_in_the_access_log(own_server: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = own_server(ASGI, "asyncio", "--access-log", "-", bind=f"unix:{path}")
    with unix_connect(str(path), "ws://localhost/echo?logged") as client:
        client.send("a")
        assert client.recv(timeout=PATIENCE) == "a"
    wait_until(lambda: "logged" in server.out)
    assert re.search(r'unix - - \[.*\] "GET /echo\?logged HTTP/1\.1" 101 [1-9]\d* ', server.out), server.out


def test_frames_right_behind_the_handshake(shared_server: Start) -> None:
    server = shared_server(ASGI, "asyncio")
    with RawSocket(server, "/echo", behind=frame(TEXT, b"early")) as raw:
        assert raw.read().data == b"early"
        raw.send(close(1000))
        assert raw.closes() == (1000, "")


def test_without_the_library_a_handshake_is_a_plain_request(own_server: Start, tmp_path: Path) -> None:
    (tmp_path / "websockets.py").write_text("raise ImportError('not installed')\n")
    server = own_server(ASGI, "asyncio", "--pythonpath", str(tmp_path))
    for _ in range(2):
        assert server.ask("/echo", "GET", *HANDSHAKE).body == b"plain"
    server.stop()
    assert server.log.count('pip install "eitherway[websocket]"') == 1
