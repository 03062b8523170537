"""WSGI (PEP 3333) on every engine: the environ, the body, the response, and what goes wrong in each."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import h11
import pytest

from eitherway.interfaces.wsgi import _NO_BODY
from serving import PATIENCE, WSGI_KINDS, Client, Server, Start, chunked, request_bytes, wait_until

APP = "wsgi_routes:app"


@pytest.fixture(params=WSGI_KINDS)
def server(request: pytest.FixtureRequest, shared_server: Start) -> Server:
    return shared_server(APP, request.param)


@pytest.fixture
def key() -> str:
    """A name for this test's notes."""
    return uuid4().hex


def goes_on(client: Client) -> bool:
    """Whether the connection is in step: the next request on it gets its own answer, and nothing else comes."""
    response = client.ask("/hello")
    return response.status == 200 and response.body == b"hello" and client.is_quiet()


def logged_since(server: Server, start: int, text: str) -> None:
    wait_until(lambda: text in server.log[start:])


# ---- wsgiref's validator ----


@pytest.mark.parametrize("engine", WSGI_KINDS)
def test_the_standard_library_s_validator_finds_nothing(engine: str, shared_server: Start, tmp_path: Path) -> None:
    server = shared_server("wsgi_routes:validated", engine, "--interface", "wsgi")
    (tmp_path / "file").write_bytes(b"in a file")
    with server.connect() as client:
        assert client.ask("/hello").body == b"hello"
        assert client.ask("/hello", "HEAD").body == b""
        assert client.ask("/echo", "POST", body=b"12345").body == b"12345"
        assert client.ask("/echo", "PUT", body=b"1" * 100_000).body == b"1" * 100_000
        assert client.ask("/echo", "POST", body=b"12345", chunks=2).body == b"12345"
        assert client.ask("/taken?how=part", "POST", body=b"a\n" * 50_000, chunks=999).status == 200
        assert client.ask("/taken?how=readlines", "POST", body=b"a\nb\n").status == 200
        assert client.ask("/taken?how=iteration", "POST", body=b"a\nb\n").status == 200
        assert client.ask("/written").body == b"one two three"
        assert client.ask("/generated").body == b"block 0 block 1 block 2 "
        assert client.ask("/late-start").body == b"one two"
        assert client.ask("/file?path=" + quote(str(tmp_path / "file"))).body == b"in a file"
        assert client.ask("/a%20b/%C3%A9?x=%20&y", "GET", "Cookie: a=b", "X-Y: z").status == 200
        assert client.ask("/replaced").status == 503
    assert "AssertionError" not in server.log
    assert "without being closed" not in server.log


# ---- the environ ----


def environ_of(server: Server, target: str, *fields: str, **more: Any) -> dict[str, Any]:
    return json.loads(server.ask(target, more.pop("method", "GET"), *fields, **more).body)


def test_the_environ_says_what_was_asked_and_where(server: Server) -> None:
    with server.connect() as client:
        environ = json.loads(client.ask("/a%20b/%C3%A9%2Fx;p?q=1%202&r=%C3%A9", "PATCH").body)
        host, port = client.socket.getsockname()
    assert environ["REQUEST_METHOD"] == "PATCH"
    assert environ["PATH_INFO"] == "/a b/\u00c3\u00a9/x;p"  # bytes as latin-1, as PEP 3333 has it
    assert environ["QUERY_STRING"] == "q=1%202&r=%C3%A9"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(port))
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.version"] == [1, 0]
    assert environ["wsgi.input_terminated"] is True
    assert environ["wsgi.run_once"] is environ["wsgi.multiprocess"] is False
    assert "CONTENT_LENGTH" not in environ
    assert "CONTENT_TYPE" not in environ


def test_only_engines_with_threads_say_that_they_have_them(server: Server) -> None:
    multithread = environ_of(server, "/environ")["wsgi.multithread"]
    assert multithread is (server.engine not in {"sync", "gevent", "eventlet"})


@pytest.mark.parametrize(("options", "several"), [(("--workers", "2"), True), (("--timeout", "30s"), False)])
def test_only_several_workers_say_that_they_are(options: tuple[str, str], several: bool, own_server: Start) -> None:
    assert environ_of(own_server("wsgi_routes:app", "sync", *options), "/environ")["wsgi.multiprocess"] is several


def test_fields_become_variables(server: Server) -> None:
    fields = (
        "Content-Type: text/x",
        "X-Two: 1",
        "x-two: 2",
        "Cookie: a=1",
        "Cookie: b=2",
        "X-Latin: \u00e9",
        "X-Empty:",
    )
    environ = environ_of(server, "/environ", *fields, method="POST", body=b"12345")
    assert environ["CONTENT_TYPE"] == "text/x"
    assert environ["CONTENT_LENGTH"] == "5"
    assert environ["HTTP_HOST"] == "test"
    assert environ["HTTP_X_TWO"] == "1, 2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_LATIN"] == "\u00e9"
    assert environ["HTTP_X_EMPTY"] == ""
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)


def test_names_that_could_pass_for_others_are_dropped(server: Server) -> None:
    fields = ("X_Forwarded_For: 6.6.6.6", "X-Real_Ip: 6.6.6.6", "Proxy: http://evil", "X-Real: good")
    environ = environ_of(server, "/environ", *fields)
    assert environ["HTTP_X_REAL"] == "good"
    assert not {"HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_PROXY"} & set(environ)


def test_names_of_cgi_cannot_be_given_by_the_client(server: Server) -> None:
    environ = environ_of(server, "/environ", "Remote-Addr: 6.6.6.6", "Script-Name: /evil", "Wsgi.Url-Scheme: https")
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["wsgi.url_scheme"] == "http"


def test_a_request_cannot_change_the_environ_of_the_next(server: Server) -> None:
    with server.connect() as client:
        with_body = json.loads(client.ask("/environ", "POST", "X-One: 1", body=b"12345").body)
        without = json.loads(client.ask("/environ", "GET", "X-Two: 2").body)
        again = json.loads(client.ask("/environ", "GET", "X-Two: 2").body)
    assert with_body["CONTENT_LENGTH"] == "5"
    assert "CONTENT_LENGTH" not in without
    assert "HTTP_X_ONE" not in without
    assert without == again


def test_a_request_cannot_give_others_a_body() -> None:
    """One object is the body of all requests that have none."""
    for write in (_NO_BODY.write, _NO_BODY.truncate):
        with pytest.raises(io.UnsupportedOperation):
            write(b"secret")
    with pytest.raises(io.UnsupportedOperation):
        _NO_BODY.writelines([b"secret"])
    _NO_BODY.seek(0)
    assert _NO_BODY.read() == b""


def test_a_body_streamed_in_chunks_has_no_length(server: Server) -> None:
    small = environ_of(server, "/environ", method="POST", body=b"12345", chunks=3)
    assert small["wsgi.input_terminated"] is True
    assert small.get("CONTENT_LENGTH", "5") == "5"
    with server.connect() as client:
        client.send(request_bytes("/first-bytes?count=0", "POST", "Transfer-Encoding: chunked"))
        client.send(chunked(b"x" * 200_000, 10_000)[:-5])
        assert client.response().status == 200
    with server.connect() as client:
        # More than is collected before the application is called, and its end is not there yet.
        client.send(request_bytes("/environ", "POST", "Transfer-Encoding: chunked"))
        client.send(chunked(b"x" * 100_000, 10_000)[:-5])
        environ = json.loads(client.response().body)
    assert "CONTENT_LENGTH" not in environ
    assert environ["wsgi.input_terminated"] is True


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/shop/environ", "/environ"),
        ("/environ", "/environ"),
        ("/shopping", "/shopping"),
        ("/shop", ""),
        ("/shop/", "/"),
    ],
)
@pytest.mark.parametrize("engine", ["threads", "gevent"])
def test_the_root_path_is_the_script_name(engine: str, target: str, path: str, shared_server: Start) -> None:
    environ = environ_of(shared_server(APP, engine, "--root-path", "/shop"), target)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", path)


@pytest.mark.parametrize("engine", WSGI_KINDS)
def test_over_a_unix_socket(engine: str, own_server: Start, tmp_path: Path) -> None:
    server = own_server(APP, engine, bind=f"unix:{tmp_path / 's'}")
    with Client(socket.socket(socket.AF_UNIX)) as client:
        client.socket.settimeout(PATIENCE)
        client.socket.connect(str(tmp_path / "s"))
        environ = json.loads(client.ask("/environ").body)
        assert goes_on(client)
    assert environ["REMOTE_ADDR"] == ""
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"].isdigit()
    assert server.stop() == 0


# ---- bodies of responses ----


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/hello", b"hello"),
        ("/written", b"one two three"),
        ("/only-written", b"all of it"),
        ("/generated?blocks=5", b"block 0 block 1 block 2 block 3 block 4 "),
        ("/generated?blocks=0", b""),
        ("/late-start", b"one two"),
        ("/empty", b""),
    ],
)
def test_bodies_arrive_whole_and_the_connection_goes_on(server: Server, target: str, body: bytes) -> None:
    with server.connect() as client:
        for _ in range(2):
            assert client.ask(target).body == body
        head = client.ask(target, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert goes_on(client)


def test_lists_have_a_length_and_iterators_are_chunked(server: Server) -> None:
    assert server.ask("/hello").headers["content-length"] == "5"
    assert server.ask("/replaced").headers["content-length"] == "15"
    assert server.ask("/generated").headers["transfer-encoding"] == "chunked"
    assert server.ask("/hello", "HEAD").headers["content-length"] == "5"


def test_blocks_are_sent_as_they_come(server: Server, key: str, tmp_path: Path) -> None:
    """The client sees the head and the first block while the application still works on the second."""
    with server.connect() as client:
        client.send(request_bytes(f"/streamed?blocks=100&key={key}"))
        client.read_until(b"\r\n\r\n")
        client.read_until(bytes(range(256)))
        assert "closed" not in server.notes(key)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("how", ["list", "iterator"])
def test_statuses_without_a_body_have_none(server: Server, status: str, how: str) -> None:
    with server.connect() as client:
        response = client.ask(f"/bodiless?status={quote(status)}&how={how}")
        assert response.status == int(status[:3])
        assert response.body == b""
        assert response.headers["x-kept"] == "yes"
        assert "transfer-encoding" not in response.headers
        assert "content-length" not in response.headers
        assert goes_on(client)


@pytest.mark.parametrize("how", ["list", "iterator", "written"])
def test_a_response_longer_than_its_length_is_cut_and_logged(server: Server, how: str) -> None:
    start = len(server.log)
    with server.connect() as client:
        assert client.ask(f"/wrong-length?length=7&how={how}").body == b"0123456"
        assert goes_on(client)
    logged_since(server, start, "longer than its Content-Length")
    assert server.log[start:].count("longer than its Content-Length") == 1


@pytest.mark.parametrize("how", ["list", "iterator", "written"])
def test_a_response_shorter_than_its_length_ends_the_connection(server: Server, how: str) -> None:
    start = len(server.log)
    with server.connect() as client, pytest.raises(h11.RemoteProtocolError, match="closed"):
        client.ask(f"/wrong-length?length=20&how={how}")
    logged_since(server, start, "shorter than its Content-Length")
    assert server.ask("/hello").body == b"hello"


def test_to_head_any_length_may_be_told(server: Server) -> None:
    with server.connect() as client:
        response = client.ask("/wrong-length?length=20&how=list", "HEAD")
        assert (response.headers["content-length"], response.body) == ("20", b"")
        assert goes_on(client)


# ---- start_response ----


def test_exc_info_replaces_a_response_that_has_not_gone_out(server: Server) -> None:
    with server.connect() as client:
        response = client.ask("/replaced")
        assert (response.status, response.body) == (503, b"the replacement")
        assert "x-first" not in response.headers
        assert goes_on(client)


def test_exc_info_raises_once_bytes_went_out(server: Server) -> None:
    start = len(server.log)
    with server.connect() as client:
        client.send(request_bytes("/too-late"))
        received = client.read_all()
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"already out" in received
    assert b"never sent" not in received
    assert not received.endswith(b"0\r\n\r\n")
    logged_since(server, start, "ValueError: found out late")


@pytest.mark.parametrize(
    "target",
    [
        "/twice",
        "/never-started",
        "/never-started?how=iterator",
        "/nothing",
        "/text-body?how=list",
        "/text-body?how=lists",
        "/text-body?how=iterator",
        "/text-body?how=written",
        "/raising",
        "/raising?what=SystemExit",
        "/raising?what=KeyboardInterrupt",
        "/chosen?status=nonsense",
        "/chosen?status=",
        "/chosen?status=20%20OK",
        "/chosen?status=099%20Low",
        "/chosen?status=100%20Continue",
        "/chosen?status=%B200%20OK",
        "/chosen?status=200%20OK%0D%0AX-Evil:%201",
        "/chosen?value=a%0D%0AX-Evil:%201",
        "/chosen?value=a%0Ab",
        "/chosen?value=a%0Db",
        "/chosen?value=a%00b",
        "/chosen?value=a%0D%0A",
        "/chosen?name=X%0D%0AY",
        "/chosen?name=X%20Y",
        "/chosen?name=X:",
        "/chosen?name=",
        "/chosen?name=Content-Length&value=-5",
        "/chosen?name=Content-Length&value=five",
    ],
)
def test_a_failing_application_gets_its_client_a_500(server: Server, target: str) -> None:
    """Twice, for what was once refused must not be remembered as good; and the server lives."""
    for _ in range(2):
        start = len(server.log)
        with server.connect() as client:
            response = client.ask(target)
            assert response.status == 500
            assert "x-evil" not in response.headers
            assert goes_on(client)
        logged_since(server, start, f"GET {target}")
        logged_since(server, start, "Traceback")


def test_framing_is_the_server_s(server: Server) -> None:
    with server.connect() as client:
        response = client.ask("/chosen?name=Transfer-Encoding&value=gzip")
        assert (response.body, response.headers["content-length"]) == (b"x", "1")
        assert client.ask("/chosen?name=Connection&value=keep-alive").headers.get("connection") is None
        assert client.ask("/chosen?name=X-Value&value=%E9").headers["x-value"] == "\u00e9"
        assert client.ask("/chosen?name=Connection&value=close").headers["connection"] == "close"
        assert client.is_closed()


def test_date_and_server_are_given_once(server: Server) -> None:
    plain = [name for name, _ in server.ask("/hello").raw]
    assert (plain.count(b"date"), plain.count(b"server")) == (1, 1)
    response = server.ask("/chosen?name=Server&value=mine")
    assert [value for name, value in response.raw if name == b"server"] == [b"mine"]
    response = server.ask("/chosen?name=Date&value=Sun,%2006%20Nov%201994%2008:49:37%20GMT")
    assert [value for name, value in response.raw if name == b"date"] == [b"Sun, 06 Nov 1994 08:49:37 GMT"]


# ---- close() ----


@pytest.mark.parametrize(("how", "status"), [("normal", 200), ("bad", 500), ("unstarted", 500)])
def test_close_is_called(server: Server, key: str, how: str, status: int) -> None:
    assert server.ask(f"/closing?key={key}&how={how}").status == status
    wait_until(lambda: server.notes(key))
    assert server.notes(key) == ["closed"]


def test_close_is_called_behind_head(server: Server, key: str) -> None:
    assert server.ask(f"/closing?key={key}&how=normal", "HEAD").status == 200
    wait_until(lambda: server.notes(key) == ["closed"])


def test_close_is_called_when_the_iteration_raises(server: Server, key: str) -> None:
    with server.connect() as client, pytest.raises(h11.RemoteProtocolError):
        client.ask(f"/raising-in-the-middle?key={key}")
    wait_until(lambda: server.notes(key) == ["closed"])


def test_close_is_called_when_the_client_leaves(server: Server, key: str) -> None:
    with server.connect() as client:
        client.send(request_bytes(f"/streamed?blocks=100000&key={key}"))
        client.read_until(b"\r\n\r\n")
    wait_until(lambda: "closed" in server.notes(key))
    assert "99999" not in server.notes(key)
    assert server.ask("/hello").body == b"hello"


def test_close_that_raises_is_logged_and_harms_nobody(server: Server, key: str) -> None:
    start = len(server.log)
    response = server.ask(f"/raising-close?key={key}")
    assert response.body == b"ab"
    logged_since(server, start, "RuntimeError: in close")
    wait_until(lambda: server.notes(key) == ["closed"])
    assert server.ask("/hello").body == b"hello"


# ---- breaking off ----


def test_a_body_that_raises_in_the_middle_is_visibly_broken(server: Server) -> None:
    start = len(server.log)
    with server.connect() as other, server.connect() as client:
        assert goes_on(other)
        client.send(request_bytes("/raising-in-the-middle"))
        received = client.read_all()
        assert b"the first block" in received
        assert not received.endswith(b"0\r\n\r\n")
        assert goes_on(other)
    logged_since(server, start, "RuntimeError: in the middle")


def test_with_a_length_the_missing_bytes_show_it(server: Server) -> None:
    with server.connect() as client, pytest.raises(h11.RemoteProtocolError):
        client.ask("/raising-in-the-middle?length=100")


def test_without_any_length_a_reset_shows_it(server: Server) -> None:
    with server.connect() as client:
        client.send(request_bytes("/raising-in-the-middle", version="1.0"))
        with pytest.raises(ConnectionResetError):
            client.read_all()


# ---- bodies of requests ----

LINES = b"".join(b"line %d%s\n" % (number, b"." * (number % 90)) for number in range(4000)) + b"without an end"


@pytest.mark.parametrize("how", ["all", "part", "readline", "readline-part", "readlines", "iteration"])
def test_every_way_to_read_a_body(server: Server, how: str) -> None:
    """Small and large, with a length and in chunks: the same bytes in the same pieces, then the end."""
    with server.connect() as client:
        for body in (b"", b"x", LINES[:5000], LINES):
            for chunks in (0, 777):
                response = client.ask(f"/taken?how={how}", "POST", body=body, chunks=chunks)
                seen = json.loads(response.body)
                assert seen["sha"] == hashlib.sha256(body).hexdigest()
                assert seen["after"] == 0
                if "line" in how or how == "iteration":
                    source = io.BytesIO(body)
                    size = 7 if how == "readline-part" else -1
                    assert seen["pieces"] == len(list(iter(lambda s=source, n=size: s.readline(n), b"")))
        assert goes_on(client)


def test_read_does_not_wait_for_more_than_was_asked(server: Server) -> None:
    """Of a body that is still on its way the application gets what it asked for."""
    with server.connect() as client:
        client.send(request_bytes("/first-bytes?count=70000", "POST", "Content-Length: 300000"))
        client.send(b"x" * 80_000)
        assert len(client.response().body) == 70_000


@pytest.mark.parametrize("chunks", [0, 60_000])
@pytest.mark.parametrize("engine", WSGI_KINDS)
def test_a_large_upload_stays_out_of_memory(engine: str, chunks: int, own_server: Start) -> None:
    server = own_server(APP, engine)
    piece = bytes(range(250)) * 4000  # 1 MB
    server.ask("/taken?how=part", "POST", body=piece, chunks=chunks)
    before = server.memory("VmHWM")
    with server.connect() as client:
        framing = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {50 * len(piece)}"
        client.send(request_bytes("/taken?how=part", "POST", framing))
        part = chunked(piece, chunks)[:-5] if chunks else piece
        for _ in range(50):
            client.send(part)
        if chunks:
            client.send(b"0\r\n\r\n")
        seen = json.loads(client.response().body)
    assert seen["sha"] == hashlib.sha256(piece * 50).hexdigest()
    assert server.memory("VmHWM") - before < 20_000_000


def test_a_small_unread_body_is_passed_over(server: Server) -> None:
    with server.connect() as client:
        client.send(request_bytes("/hello", "POST", body=b"GET /evil HTTP/1.1\r\n\r\n" * 400))
        client.send(request_bytes("/hello", "POST", body=b"GET /evil HTTP/1.1\r\n\r\n" * 40, chunks=100))
        client.send(request_bytes("/environ"))
        assert client.response().body == b"hello"
        assert client.response().body == b"hello"
        assert json.loads(client.response().body)["PATH_INFO"] == "/environ"
        assert goes_on(client)


def test_the_rest_of_an_unread_body_may_come_later(server: Server) -> None:
    with server.connect() as client:
        client.send(request_bytes("/first-bytes?count=3", "POST", "Content-Length: 100000") + b"x" * 80_000)
        response = client.response()
        assert response.body == b"xxx"
        assert "connection" not in response.headers
        client.send(b"x" * 20_000)
        assert goes_on(client)


def test_behind_a_large_unread_body_the_connection_is_closed(server: Server) -> None:
    with server.connect() as client:
        client.send(request_bytes("/first-bytes?count=3", "POST", "Content-Length: 10000000") + b"x" * 100_000)
        response = client.response()
        assert (response.body, response.headers["connection"]) == (b"xxx", "close")
        client.send(request_bytes("/hello") * 1000)
        assert client.is_closed()


def test_a_client_that_sends_everything_first_gets_the_early_answer(server: Server) -> None:
    body = b"x" * 10_000_000
    with server.connect() as client:
        response = client.ask("/hello", "POST", body=body)
    assert (response.body, response.headers["connection"]) == (b"hello", "close")


@pytest.mark.parametrize("field", ["Accept: */*", "Connection: close"])
def test_a_client_that_sends_everything_first_gets_a_large_early_answer(server: Server, field: str) -> None:
    """Neither fits into the sockets' buffers: whoever waited for the other first would wait for ever."""
    size = 20_000_000
    with server.connect() as client:
        response = client.ask(f"/large?size={size}", "POST", field, body=b"x" * size)
    assert (len(response.body), response.headers["connection"]) == (size, "close")


def test_a_client_that_leaves_in_its_body_harms_nobody(server: Server) -> None:
    with server.connect() as client:
        client.send(request_bytes("/taken?how=all", "POST", "Content-Length: 1000000") + b"x" * 100_000)
    with server.connect() as client:
        client.send(request_bytes("/taken?how=all", "POST", "Content-Length: 1000000") + b"x" * 100_000)
        client.finish()
        client.socket.settimeout(PATIENCE)
        received = client.read_all()
        assert not received.startswith(b"HTTP/1.1 200")
    assert server.ask("/hello").body == b"hello"


def test_a_client_that_has_closed_its_side_gets_its_answer(server: Server) -> None:
    received = server.exchange(request_bytes("/echo", "POST", body=b"half-closed"))
    assert received.endswith(b"half-closed")


# ---- Expect: 100-continue ----


@pytest.mark.parametrize("chunks", [0, 4])
def test_100_continue_comes_when_the_application_reads(server: Server, chunks: int) -> None:
    data = request_bytes("/echo", "POST", "Expect: 100-continue", body=b"a body", chunks=chunks)
    head, _, body = data.partition(b"\r\n\r\n")
    with server.connect() as client:
        client.send(head + b"\r\n\r\n")
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        response = client.response()
        assert (response.status, response.body, response.interim) == (200, b"a body", [])
        assert goes_on(client)


def test_without_reading_there_is_no_100_continue(server: Server) -> None:
    with server.connect() as client:
        client.send(request_bytes("/hello", "POST", "Expect: 100-continue", "Content-Length: 5"))
        response = client.response()
        assert (response.status, response.interim, response.body) == (200, [], b"hello")
        # Whether the client sends the body now cannot be known, so the connection cannot go on.
        assert response.headers["connection"] == "close"
        assert client.is_closed()


def test_100_continue_is_not_sent_to_a_client_that_sent_the_body_already(server: Server) -> None:
    with server.connect() as client:
        response = client.ask("/echo", "POST", "Expect: 100-continue", body=b"at once")
        assert (response.status, response.body) == (200, b"at once")
        assert goes_on(client)


def test_http_1_0_gets_no_100_continue(server: Server) -> None:
    with server.connect() as client:
        response = client.ask("/echo", "POST", "Expect: 100-continue", body=b"old", version="1.0")
        assert (response.interim, response.body) == ([], b"old")


# ---- HTTP/1.0 ----


def test_http_1_0_closes_unless_asked_not_to(server: Server) -> None:
    with server.connect() as client:
        for _ in range(2):
            response = client.ask("/hello", "GET", "Connection: keep-alive", version="1.0")
            assert response.headers["connection"].lower() == "keep-alive"
            assert response.body == b"hello"
        assert client.ask("/hello", version="1.0").headers["connection"] == "close"
        assert client.is_closed()


@pytest.mark.parametrize("fields", [(), ("Connection: keep-alive",)])
def test_to_http_1_0_a_generator_s_end_is_the_close(server: Server, fields: tuple[str, ...]) -> None:
    with server.connect() as client:
        client.send(request_bytes("/generated", "GET", *fields, version="1.0"))
        head, _, body = client.read_all().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head.lower()
    assert body == b"block 0 block 1 block 2 "


# ---- wsgi.file_wrapper ----


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(os.urandom(300_000))
    return path


@pytest.mark.parametrize("how", ["file", "memory", "unbuffered"])
@pytest.mark.parametrize("offset", [0, 1000, 299_999, 300_000])
def test_files_arrive_whole_from_where_they_stand(server: Server, path: Path, how: str, offset: int) -> None:
    if how == "unbuffered":
        offset = 0
    target = f"/file?path={quote(str(path))}&how={how}&offset={offset}"
    with server.connect() as client:
        assert client.ask(target).body == path.read_bytes()[offset:]
        head = client.ask(target, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert goes_on(client)
    with server.connect() as client:
        client.send(request_bytes(target, version="1.0"))
        assert client.read_all().partition(b"\r\n\r\n")[2] == path.read_bytes()[offset:]


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_packed_files_arrive_unpacked(server: Server, tmp_path: Path, module: Any) -> None:
    """Their fileno() is that of the packed file, which must not be what is sent."""
    path = tmp_path / "packed"
    path.write_bytes(module.compress(LINES))
    assert server.ask(f"/file?path={quote(str(path))}&how={module.__name__}").body == LINES


def test_files_that_do_not_know_their_size(server: Server) -> None:
    assert server.ask("/file?path=/proc/version").body == Path("/proc/version").read_bytes()


def test_a_file_is_not_sent_beyond_its_length(server: Server, path: Path) -> None:
    with server.connect() as client:
        assert client.ask(f"/file?path={quote(str(path))}&length=1000").body == path.read_bytes()[:1000]
        assert goes_on(client)
    with server.connect() as client, pytest.raises(h11.RemoteProtocolError):
        client.ask(f"/file?path={quote(str(path))}&length=300001")


def test_files_are_closed(server: Server, path: Path, key: str) -> None:
    for method in ("GET", "HEAD"):
        server.ask(f"/file?path={quote(str(path))}&key={key}", method)
    wait_until(lambda: server.notes(key) == ["closed None"] * 2)
    wait_until(lambda: str(path) not in server.open_files())


def test_a_large_file_to_a_slow_reader(server: Server, tmp_path: Path) -> None:
    """30 MB byte for byte, held neither in memory nor by a thread; and given up when the client leaves."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1_000_000) * 30)
    before = server.memory("VmHWM")
    with slow_reader(server) as leaving, slow_reader(server) as client:
        for each in (leaving, client):
            each.send(request_bytes(f"/file?path={quote(str(path))}"))
            assert b"content-length: 30000000\r\n" in each.read_until(b"\r\n\r\n")
        leaving.socket.close()
        assert server.ask("/hello").body == b"hello"
        digest = hashlib.sha256(client.buffer)
        size = len(client.buffer)
        client.buffer = b""
        while size < 30_000_000:
            data = client.socket.recv(20_000)
            assert data
            digest.update(data)
            size += len(data)
        assert goes_on(client)
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert server.memory("VmHWM") - before < 20_000_000
    wait_until(lambda: str(path) not in server.open_files())


def slow_reader(server: Server) -> Client:
    """A client whose kernel takes little of an answer that is not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(PATIENCE)
    sock.connect(server.address)
    return Client(sock)
