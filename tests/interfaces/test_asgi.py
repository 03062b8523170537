"""ASGI 3 (specification 2.5) on every engine: scope, receive, send, extensions, tasks, and wrong orders."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import h11
import pytest

from serving import (
    ASGI_ENGINES,
    ASGI_KINDS,
    ASYNCIO_ENGINES,
    PATIENCE,
    Client,
    Server,
    Start,
    chunked,
    request_bytes,
    wait_until,
)

APP = "asgi_routes:app"
BLOCK = bytes(range(256)) * 256


@pytest.fixture(params=ASGI_KINDS)
def server(request: pytest.FixtureRequest, shared_server: Start) -> Server:
    return shared_server(APP, request.param)


@pytest.fixture
def key() -> str:
    """A name for this test's notes."""
    return uuid4().hex


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that an application waits for."""
    return tmp_path / "gate"


def goes_on(client: Client) -> bool:
    """Whether the connection is in step: the next request on it gets its own answer, and nothing else comes."""
    response = client.ask("/hello")
    return response.status == 200 and response.body == b"hello" and client.is_quiet()


def wait_logged(server: Server, start: int, *texts: str) -> None:
    wait_until(lambda: all(text in server.log[start:] for text in texts))


# ---- the scope ----


def scope_of(server: Server, target: str, method: str = "GET", *fields: str, **more: Any) -> dict[str, Any]:
    return json.loads(server.ask(target, method, *fields, **more).body)


def test_the_scope_says_what_was_asked_and_where(server: Server) -> None:
    with server.connect() as client:
        scope = json.loads(client.ask("/a%20b/%C3%A9%2Fx?q=1%202&r=%C3%A9", "PATCH").body)
        address = list(client.socket.getsockname())
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "PATCH"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/a b/\u00e9/x"
    assert scope["raw_path"] == "/a%20b/%C3%A9%2Fx"
    assert scope["query_string"] == "q=1%202&r=%C3%A9"
    assert scope["root_path"] == ""
    assert scope["client"] == address
    assert scope["server"] == ["127.0.0.1", server.port]
    assert set(scope["extensions"]) == {
        f"http.response.{name}" for name in ("pathsend", "early_hint", "trailers", "debug")
    }


def test_names_of_fields_are_lower_case_and_in_order(server: Server) -> None:
    scope = scope_of(server, "/scope", "GET", "X-B: 2", "X-A: 1", "x-b: 3", "X_Under: kept", "X-Latin: \u00e9")
    assert scope["headers"] == [
        ["host", "test"],
        ["x-b", "2"],
        ["x-a", "1"],
        ["x-b", "3"],
        ["x_under", "kept"],
        ["x-latin", "\u00e9"],
    ]


def test_the_version_is_the_request_s(server: Server) -> None:
    assert scope_of(server, "/scope", version="1.0")["http_version"] == "1.0"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/shop/%61", "/shop/a"),
        ("/%61", "/shop/a"),
        ("/shop", "/shop"),
        ("/shopping", "/shop/shopping"),
    ],
)
@pytest.mark.parametrize("engine", ["threads", "uvloop"])
def test_the_path_begins_with_the_root_path(engine: str, target: str, path: str, shared_server: Start) -> None:
    scope = scope_of(shared_server(APP, engine, "--root-path", "/shop"), target)
    assert (scope["root_path"], scope["path"]) == ("/shop", path)
    assert scope["raw_path"].startswith("/shop")


@pytest.mark.parametrize("engine", ASGI_ENGINES)
def test_over_a_unix_socket(engine: str, own_server: Start, tmp_path: Path) -> None:
    own_server(APP, engine, bind=f"unix:{tmp_path / 's'}")
    with Client(socket.socket(socket.AF_UNIX)) as client:
        client.socket.settimeout(PATIENCE)
        client.socket.connect(str(tmp_path / "s"))
        scope = json.loads(client.ask("/scope").body)
        assert goes_on(client)
    assert scope["client"] is None


def test_what_a_request_does_to_its_scope_is_gone_with_it(server: Server) -> None:
    with server.connect() as client:
        first = json.loads(client.ask("/extensions").body)
        second = json.loads(client.ask("/extensions").body)
    assert "mine" not in second["before"]
    assert first == second


# ---- bodies of requests ----


@pytest.mark.parametrize("size", [0, 1, 5000, 200_000])
@pytest.mark.parametrize("chunks", [0, 999])
def test_bodies_arrive_whole(server: Server, size: int, chunks: int) -> None:
    body = os.urandom(size)
    with server.connect() as client:
        seen = json.loads(client.ask("/taken", "POST", body=body, chunks=chunks).body)
        assert seen == {"sha": hashlib.sha256(body).hexdigest(), "size": size}
        assert goes_on(client)


def test_the_body_is_received_while_it_comes(server: Server, key: str, gate: Path) -> None:
    gate.touch()
    with server.connect() as client:
        client.send(request_bytes(f"/taken?key={key}&gate={quote(str(gate))}", "POST", "Content-Length: 8") + b"abcd")
        wait_until(lambda: server.notes(key) == ["first piece"])
        client.send(b"efgh")
        assert json.loads(client.response().body)["size"] == 8


def test_an_application_that_does_not_receive_holds_its_client_back(server: Server, key: str, gate: Path) -> None:
    """Back-pressure: what the application has not received stays with the client, not in the server's memory."""
    total = 64 << 20
    with server.connect() as client:
        client.send(request_bytes(f"/taken?key={key}&gate={quote(str(gate))}", "POST", f"Content-Length: {total}"))
        client.send(BLOCK)
        sent = len(BLOCK)
        wait_until(lambda: server.notes(key) == ["first piece"])
        client.socket.settimeout(0.3)
        try:
            while sent < total:
                sent += client.socket.send(BLOCK[: total - sent])
        except TimeoutError:
            pass
        assert sent < total / 2
        gate.touch()
        client.socket.settimeout(PATIENCE)
        client.send((BLOCK * (total // len(BLOCK)))[: total - sent])
        assert json.loads(client.response().body)["size"] == total


@pytest.mark.parametrize("engine", ASGI_ENGINES)
def test_a_large_upload_stays_out_of_memory(engine: str, own_server: Start) -> None:
    server = own_server(APP, engine)
    piece = bytes(range(250)) * 4000  # 1 MB
    server.ask("/taken", "POST", body=piece)
    before = server.memory("VmHWM")
    with server.connect() as client:
        client.send(request_bytes("/taken", "POST", "Transfer-Encoding: chunked"))
        for _ in range(50):
            client.send(chunked(piece, 60_000)[:-5])
        client.send(b"0\r\n\r\n")
        assert json.loads(client.response().body)["sha"] == hashlib.sha256(piece * 50).hexdigest()
    assert server.memory("VmHWM") - before < 20_000_000


def test_100_continue_comes_when_the_application_receives(server: Server) -> None:
    data = request_bytes("/echo", "POST", "Expect: 100-continue", body=b"a body")
    head, _, body = data.partition(b"\r\n\r\n")
    with server.connect() as client:
        client.send(head + b"\r\n\r\n")
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert client.response().body == b"a body"
        assert goes_on(client)
        response = client.ask("/hello", "POST", "Expect: 100-continue", "Content-Length: 5")
        assert (response.body, response.interim, response.headers["connection"]) == (b"hello", [], "close")


def test_unread_bodies_are_passed_over_or_end_the_connection(server: Server) -> None:
    with server.connect() as client:
        assert client.ask("/hello", "POST", body=b"GET /evil HTTP/1.1\r\n\r\n" * 1000).body == b"hello"
        assert goes_on(client)
        client.send(request_bytes("/hello", "POST", "Content-Length: 10000000") + b"x" * 100_000)
        assert client.response().headers["connection"] == "close"
        client.send(request_bytes("/hello") * 1000)
        assert client.is_closed()


# ---- bodies of responses ----


@pytest.mark.parametrize(("target", "body"), [("/hello", b"hello"), ("/pieces", b"one two three four")])
def test_bodies_of_responses(server: Server, target: str, body: bytes) -> None:
    with server.connect() as client:
        assert client.ask(target).body == body
        head = client.ask(target, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert goes_on(client)
    with server.connect() as client:
        client.send(request_bytes(target, version="1.0"))
        assert client.read_all().partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_none(server: Server, status: int) -> None:
    with server.connect() as client:
        response = client.ask(f"/bodiless?status={status}")
        assert (response.status, response.body) == (status, b"")
        assert "transfer-encoding" not in response.headers
        assert goes_on(client)


def test_pieces_are_sent_as_they_come(server: Server, gate: Path) -> None:
    with server.connect() as client:
        client.send(request_bytes(f"/in-steps?gate={quote(str(gate))}"))
        client.read_until(b"first\r\n")
        assert client.is_quiet()
        gate.touch()
        client.read_until(b"second\r\n0\r\n\r\n")
        assert goes_on(client)


def test_send_waits_for_a_slow_client(server: Server, key: str) -> None:
    """Back-pressure: the application gets no further ahead than the kernel's buffers, and goes on when they empty."""
    blocks = 400  # of 64 KiB
    before = server.memory("VmHWM")
    with slow_reader(server) as client:
        client.send(request_bytes(f"/streamed?blocks={blocks}&key={key}"))
        client.read_until(b"\r\n\r\n")
        assert settled(server, key) < blocks / 2
        expected = b"10000\r\n" + BLOCK + b"\r\n"
        for _ in range(blocks):
            assert client.read_exactly(len(expected)) == expected
        assert client.read_until(b"\r\n\r\n") == b"0\r\n\r\n"
        assert goes_on(client)
    wait_until(lambda: len(server.notes(key)) == blocks)
    assert server.memory("VmHWM") - before < 20_000_000


def settled(server: Server, key: str) -> int:
    """The number of notes, once no more come."""
    seen = [-1]

    def is_settled() -> bool:
        seen.append(len(server.notes(key)))
        time.sleep(0.1)
        return len(set(seen[-3:])) == 1

    wait_until(is_settled)
    return seen[-1]


def slow_reader(server: Server) -> Client:
    """A client whose kernel takes little of an answer that is not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(PATIENCE)
    sock.connect(server.address)
    return Client(sock)


@pytest.mark.parametrize(
    "target",
    [
        "/headers?value=a%0D%0AX-Evil:%201",
        "/headers?value=a%0Ab",
        "/headers?value=a%0Db",
        "/headers?value=a%00b",
        "/headers?name=X%0AY",
        "/headers?name=X%20Y",
        "/headers?name=",
        "/headers?name=content-length&value=-5",
        "/headers?status=99",
        "/headers?status=1000",
        "/headers?status=103",
        "/raising",
        "/raising?what=SystemExit",
        "/raising?what=KeyboardInterrupt",
        "/raising?what=CancelledError",
        "/raising?when=started",
        "/returns-early",
        "/returns-early?start=1",
    ],
)
def test_a_failing_application_gets_its_client_a_500(server: Server, target: str) -> None:
    for _ in range(2):
        start = len(server.log)
        with server.connect() as client:
            response = client.ask(target)
            assert response.status == 500
            assert "x-evil" not in response.headers
            assert goes_on(client)
        wait_logged(server, start, f"GET {target}")


def test_a_response_broken_off_is_visibly_broken(server: Server) -> None:
    for target in ("/raising?when=begun", "/returns-early?start=1&more=1"):
        start = len(server.log)
        with server.connect() as client:
            client.send(request_bytes(target))
            received = client.read_all()
        assert b"body" in received
        assert not received.endswith(b"0\r\n\r\n")
        wait_logged(server, start, f"GET {target}")
    assert server.ask("/hello").body == b"hello"


def test_an_error_behind_a_complete_response_is_logged_only(server: Server) -> None:
    start = len(server.log)
    with server.connect() as client:
        assert client.ask("/raising?when=complete").body == b"complete"
        assert goes_on(client)
    wait_logged(server, start, "RuntimeError: raised on purpose")


def test_fields_may_be_lists_and_come_from_an_iterator(server: Server) -> None:
    assert server.ask("/headers?value=plain").headers["x-value"] == "plain"
    assert server.ask("/headers?value=plain&as=list").headers["x-value"] == "plain"
    assert server.ask("/headers?name=Transfer-Encoding&value=gzip").body == b"body"
    assert server.ask("/headers?name=connection&value=close").headers["connection"] == "close"


# ---- a client that leaves ----


def test_receive_tells_of_a_client_that_left_and_send_raises(server: Server, key: str) -> None:
    with server.connect() as client:
        client.send(request_bytes(f"/awaits-leaving?key={key}"))
        wait_until(lambda: server.notes(key) == ["http.request"])
    wait_until(lambda: len(server.notes(key)) >= 4)
    assert server.notes(key)[1:3] == ["http.disconnect", "http.disconnect"]
    assert server.notes(key)[3].startswith("OSError ")
    assert server.ask("/hello").body == b"hello"


def test_a_client_that_leaves_ends_a_stream(server: Server, key: str) -> None:
    start = len(server.log)
    with server.connect() as client:
        client.send(request_bytes(f"/streamed?key={key}&blocks=100000"))
        client.read_until(b"\r\n\r\n")
    wait_until(lambda: server.notes(key)[-1:] == ["ClientGone is an OSError"])
    assert server.ask("/hello").body == b"hello"
    assert "Traceback" not in server.log[start:]  # a client may leave: that is no error of the application


def test_a_client_that_leaves_ends_an_upload(server: Server, key: str, gate: Path) -> None:
    start = len(server.log)
    gate.touch()
    with server.connect() as client:
        client.send(request_bytes(f"/taken?key={key}&gate={quote(str(gate))}", "POST", "Content-Length: 100") + b"x")
        wait_until(lambda: server.notes(key) == ["first piece"])
    wait_until(lambda: server.notes(key) == ["first piece", "disconnect"])
    assert server.ask("/hello").body == b"hello"
    assert "ERROR" not in server.log[start:]


def test_behind_a_complete_response_receive_gives_disconnect(server: Server, key: str) -> None:
    with server.connect() as client:
        assert client.ask(f"/receives-after?key={key}").body == b"done"
        wait_until(lambda: len(server.notes(key)) == 2)
        assert server.notes(key)[1] == "http.disconnect"
        assert goes_on(client)


def test_a_task_listens_for_the_client_s_leaving_while_another_sends(server: Server, key: str) -> None:
    with server.connect() as client:
        client.send(request_bytes(f"/listens-while-sending?key={key}"))
        client.read_until(b"begun")
        wait_until(lambda: server.notes(key) == ["http.request"])
    wait_until(lambda: server.notes(key) == ["http.request", "http.disconnect"])


def test_a_cancelled_listener_leaves_no_trace(server: Server, key: str) -> None:
    with server.connect() as client:
        assert client.ask(f"/listens-while-sending?cancel=1&key={key}").body == b" done"
        wait_until(lambda: server.notes(key) == ["http.request", "cancelled True"])
        assert goes_on(client)


@pytest.mark.parametrize(("cancelled", "other"), [("first", "second"), ("second", "first")])
def test_two_tasks_listen_and_one_gives_up(server: Server, key: str, cancelled: str, other: str) -> None:
    with server.connect() as client:
        client.send(request_bytes(f"/listens-twice?cancel={cancelled}&key={key}"))
        wait_until(lambda: server.notes(key) == ["cancelled True"])
    wait_until(lambda: server.notes(key) == ["cancelled True", f"{other} http.disconnect"])


def test_two_tasks_send_to_a_slow_client(server: Server) -> None:
    blocks, chunk = 100, b"10000\r\n" + BLOCK + b"\r\n"
    with slow_reader(server) as client:
        client.send(request_bytes(f"/sends-twice?blocks={blocks}"))
        client.read_until(b"\r\n\r\n")
        for _ in range(2 * blocks):
            assert client.read_exactly(len(chunk)) == chunk
        assert client.read_until(b"\r\n\r\n") == b"0\r\n\r\n"
        assert goes_on(client)


def test_receive_behind_a_body_that_was_refused(server: Server, key: str) -> None:
    """Told of the end once, an application may ask again; nobody is held up by that."""
    with server.connect() as client:
        client.send(request_bytes(f"/awaits-leaving?key={key}", "POST", "Transfer-Encoding: chunked") + b"1\r\na\r\n")
        wait_until(lambda: server.notes(key) == ["http.request"])
        client.send(b"no size\r\n")
        assert client.response().status == 400
        assert client.is_closed()
    wait_until(lambda: server.notes(key)[1:3] == ["http.disconnect", "http.disconnect"])
    assert server.ask("/hello").body == b"hello"


def test_a_half_closed_client_gets_its_answer(server: Server) -> None:
    assert server.exchange(request_bytes("/pieces")).endswith(b"0\r\n\r\n")
    assert server.exchange(request_bytes("/echo", "POST", body=b"half-closed")).endswith(b"half-closed")


# ---- messages in a wrong order ----


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ("start start", "'http.response.start'"),
        ("body", "'http.response.start'"),
        ("trailers", "'http.response.trailers'"),
        ("unknown", "'http.response.nonsense'"),
        ("websocket", "'websocket.send'"),
        ("start text", "str"),
        ("start trailers", "'http.response.trailers'"),
        ("path", "http.response.start"),
        ("interim", "103"),
        ("start nowhere", "/nowhere/at/all"),
        ("split", "CR, LF"),
        ("statusless", "status"),
        ("untyped", "type"),
    ],
)
def test_a_wrong_message_raises_and_says_what_is_wrong(server: Server, key: str, messages: str, said: str) -> None:
    with server.connect() as client:
        response = client.ask(f"/wrong-order?key={key}&messages={quote(messages)}")
        assert response.status == 500
        assert goes_on(client)
    wait_until(lambda: server.notes(key))
    assert said in server.notes(key)[0]


@pytest.mark.parametrize("messages", ["start body body", "start body start", "start body path", "start body unknown"])
def test_a_message_behind_the_last_raises(server: Server, key: str, messages: str) -> None:
    with server.connect() as client:
        assert client.ask(f"/wrong-order?key={key}&messages={quote(messages)}").body == b"body"
        assert goes_on(client)
    wait_until(lambda: server.notes(key))
    assert server.notes(key)[0].startswith("RuntimeError: ")


@pytest.mark.parametrize("messages", ["start more start", "start more path", "start more text"])
def test_a_wrong_message_in_the_middle_breaks_the_response_off(server: Server, key: str, messages: str) -> None:
    with server.connect() as client, pytest.raises(h11.RemoteProtocolError):
        client.ask(f"/wrong-order?key={key}&messages={quote(messages)}")
    wait_until(lambda: len(server.notes(key)) == 1)


# ---- extensions ----


def test_pathsend(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    target = f"/pathsend?path={quote(str(path))}"
    with server.connect() as client:
        response = client.ask(target)
        assert response.body == path.read_bytes()
        assert response.headers["content-length"] == "3000000"
        assert client.ask(f"{target}&length=1000").body == path.read_bytes()[:1000]
        assert client.ask(target, "HEAD").body == b""
        assert goes_on(client)
    wait_until(lambda: str(path) not in server.open_files())
    (tmp_path / "empty").touch()
    assert server.ask(f"/pathsend?path={quote(str(tmp_path / 'empty'))}").body == b""


def test_early_hints(server: Server) -> None:
    with server.connect() as client:
        response = client.ask("/hints")
        assert response.body == b"hinted"
        (hint,) = response.interim
        assert hint.status_code == 103
        assert [value for name, value in hint.headers if name == b"link"] == [
            b"</style.css>; rel=preload; as=style",
            b"</app.js>; rel=preload; as=script",
        ]
        assert goes_on(client)
    old = server.exchange(request_bytes("/hints", version="1.0"))
    assert b" 103 " not in old
    assert old.endswith(b"hinted")


def test_trailers(server: Server) -> None:
    with server.connect() as client:
        response = client.ask("/trailers", "GET", "TE: trailers")
        assert response.body == b"body"
        assert response.trailers == [(b"x-sum", b"1"), (b"x-more", b"2")]
        assert client.ask("/trailers?length=1").body == b"body"  # no chunks, no place for trailers
        assert client.ask("/trailers", "HEAD").body == b""
        assert goes_on(client)
    assert server.exchange(request_bytes("/trailers", version="1.0")).endswith(b"\r\n\r\nbody")


def test_debug_is_accepted(server: Server) -> None:
    assert server.ask("/debug").body == b"debugged"


# ---- tasks and contexts ----


def test_context_variables_are_fresh_for_every_request(server: Server) -> None:
    with server.connect() as client, server.connect() as other:
        assert [each.ask("/context").body for each in (client, other, client, other, client)] == [b'"fresh"'] * 5
        client.send(request_bytes("/context") * 3)
        assert [client.response().body for _ in range(3)] == [b'"fresh"'] * 3


@pytest.mark.parametrize("engine", ASYNCIO_ENGINES)
def test_a_task_left_behind_is_not_lost_to_the_garbage_collector(engine: str, shared_server: Start, key: str) -> None:
    server = shared_server(APP, engine)
    assert server.ask(f"/leaves-a-task?key={key}").body == b"left"
    wait_until(lambda: server.notes(key) == ["waits"])
    assert server.ask(f"/resolves?key={key}").body == b"resolved"
    wait_until(lambda: server.notes(key) == ["waits", "went on"])


@pytest.mark.parametrize("engine", ASYNCIO_ENGINES)
def test_a_task_left_behind_does_not_end_the_server(engine: str, shared_server: Start) -> None:
    server = shared_server(APP, engine)
    for _ in range(10):  # more than there are threads
        start = len(server.log)
        assert server.ask("/leaves-an-exit").body == b"left"
        wait_logged(server, start, "SystemExit: 3", "SystemExit: 4")
    assert server.ask("/hello").body == b"hello"


@pytest.mark.parametrize("engine", [name for name in ASYNCIO_ENGINES if name != "sync"])
def test_a_request_that_waits_is_not_lost_to_the_garbage_collector(engine: str, shared_server: Start, key: str) -> None:
    server = shared_server(APP, engine)
    with server.connect() as client:
        client.send(request_bytes(f"/is-held-weakly?key={key}"))
        wait_until(lambda: server.notes(key) == ["waits"])
        assert server.ask(f"/resolves?key={key}").body == b"resolved"
        assert client.response().body == b"went on"


@pytest.mark.parametrize("engine", [name for name in ASGI_ENGINES if name != "sync"])
def test_work_behind_a_response_does_not_delay_the_next_request(
    engine: str, shared_server: Start, key: str, gate: Path
) -> None:
    server = shared_server(APP, engine)
    with server.connect() as client:
        assert client.ask(f"/goes-on-behind?key={key}&gate={quote(str(gate))}").body == b"answered"
        assert goes_on(client)
        assert server.notes(key) == []
        gate.touch()
        wait_until(lambda: server.notes(key) == ["background work done"])


def test_work_behind_a_response_is_done_before_the_server_ends(own_server: Start, key: str, gate: Path) -> None:
    server = own_server(APP, "asyncio")
    server.ask(f"/goes-on-behind?key={key}&gate={quote(str(gate))}")
    server.process.terminate()
    wait_until(lambda: "stopping" in server.log)
    gate.touch()
    assert server.wait() == 0
    assert server.notes(key) == ["background work done"]


@pytest.mark.parametrize("engine", ASGI_ENGINES)
def test_what_still_runs_at_the_end_is_cancelled(engine: str, own_server: Start, key: str, gate: Path) -> None:
    server = own_server(APP, engine, "--graceful-timeout", "0.2")
    with server.connect() as client:
        client.send(request_bytes(f"/held?key={key}&gate={quote(str(gate))}"))
        wait_until(lambda: server.notes(key) == ["in"])
        assert server.stop() == 0
    assert server.notes(key) == ["in", "cancelled"]
    assert f"cut off after 0.2 s of stopping: GET /held?key={key}" in server.log
    assert server.notes("lifespan") == ["shutdown"]
