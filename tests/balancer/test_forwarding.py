"""Requests and responses on their way through the real balancer to real workers."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from typing import Any

import pytest
from fleet import Fleet

from serving import Client, wait_until

BLOCK = bytes(range(256)) * 4096  # 1 MiB


def variables(fleet: Fleet, request: bytes) -> dict[str, str]:
    with fleet.connect() as client:
        client.send(request)
        return dict(line.split("=", 1) for line in client.response().text.splitlines())


def test_keep_alive_goes_on_across_workers(fleet: Fleet) -> None:
    with fleet.connect() as client:
        seen = set()
        for _ in range(6):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            response = client.response()
            assert response.status == 200
            seen.add(int(response.body))
        assert seen == fleet.pids


def test_connections_to_workers_are_used_again(fleet: Fleet) -> None:
    with fleet.connect() as client:
        for _ in range(20):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            client.response()
    assert all(backend["idle_connections"] == 1 for backend in fleet.balancer.snapshot()["backends"])


def test_pipelined_requests_are_answered_in_order(fleet: Fleet) -> None:
    with fleet.connect() as client:
        for size in range(20):
            client.send(f"GET /large?{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert [len(client.response().body) for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 65537, 5_000_000])
@pytest.mark.parametrize("path", ["/large", "/chunked"])
def test_answers_arrive_byte_for_byte(fleet: Fleet, path: str, size: int) -> None:
    with fleet.get(f"{path}?{size}") as client:
        assert client.response().body == (BLOCK * (size // len(BLOCK) + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3_000_000])
def test_bodies_arrive_byte_for_byte(fleet: Fleet, size: int) -> None:
    body = (BLOCK * 3)[:size]
    expected = f"{hashlib.sha256(body).hexdigest()} {size}"
    with fleet.get("/digest", method="POST", body=body) as client:
        assert client.response().text == expected
    with fleet.connect() as client:
        client.send(b"POST /digest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, size, 50_000):
            part = body[start : start + 50_000]
            client.send(b"%x\r\n%b\r\n" % (len(part), part))
        client.send(b"0\r\n\r\n")
        assert client.response().text == expected
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 200


def test_a_worker_whose_application_breaks_an_answer_off_is_used_on(fleet: Fleet) -> None:
    waited = fleet.balancer.snapshot()["waits"]
    for _ in fleet.pids:
        with fleet.get("/short") as client:
            assert client.read_until(b"short").endswith(b"short")
            assert client.is_closed()
    with fleet.get("/") as client:
        assert client.response().status == 200
    assert fleet.balancer.snapshot()["waits"] == waited


def test_an_answer_streams(fleet: Fleet) -> None:
    with fleet.get(f"/ticks?{fleet.file('tick')}") as client:
        client.read_until(b"first ")
        fleet.open("tick")
        assert client.read_until(b"0\r\n\r\n").endswith(b"second\r\n0\r\n\r\n")


def test_an_answer_streams_to_http_10(fleet: Fleet) -> None:
    with fleet.connect() as client:
        client.send(b"GET /chunked?100000 HTTP/1.0\r\n\r\n")
        head, _, body = client.read_all().partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert len(body) == 100_000


def test_a_large_body_streams_while_it_comes(fleet: Fleet) -> None:
    """The worker has the request before its body is whole."""
    before = len(fleet.log())
    with fleet.connect() as client:
        client.send(b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)
        wait_until(lambda: len(fleet.log()) > before)
        client.send(b"x" * 500_000)
        assert client.response().text.endswith(" 1000000")


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"x" * 300_000])
def test_continue(fleet: Fleet, body: bytes) -> None:
    with fleet.connect() as client:
        client.send(
            b"POST /digest HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        if body:
            assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        response = client.response()
        assert response.text.endswith(f" {len(body)}")
        assert response.interim == []


def test_a_client_that_waits_for_continue_costs_no_worker(fleet: Fleet) -> None:
    clients = [fleet.connect() for _ in range(4)]
    for client in clients:
        client.send(b"POST /digest HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        client.read_until(b"\r\n\r\n")
    with fleet.get("/") as other:
        assert other.response().status == 200
    for client in clients:
        client.send(b"123456789")
        assert client.response().text.endswith(" 9")
        client.socket.close()


def test_head_has_the_length_and_no_body(fleet: Fleet) -> None:
    with fleet.get("/large?1000", method="HEAD") as client:
        response = client.response("HEAD")
        assert response.headers["content-length"] == "1000"
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert int(client.response().body) in fleet.pids


@pytest.mark.parametrize("status", [204, 304, 299, 404, 503])
def test_statuses(fleet: Fleet, status: int) -> None:
    with fleet.get(f"/status?{status}") as client:
        assert client.response().status == status
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 200


def test_half_closed_clients_are_answered(fleet: Fleet) -> None:
    with fleet.get("/large?200000") as client:
        client.finish()
        assert len(client.read_all().partition(b"\r\n\r\n")[2]) == 200_000


def test_dates_are_not_doubled(fleet: Fleet) -> None:
    with fleet.get("/") as client:
        names = [name for name, _ in client.response().raw]
    assert names.count(b"date") == names.count(b"server") == 1


# -- what the worker knows of the client ------------------------------------------------------------------------


def test_the_client_is_known(fleet: Fleet) -> None:
    seen = variables(fleet, b"GET /environ?a=1 HTTP/1.1\r\nHost: shop.test:81\r\nX-One: 1\r\nX-One: 2\r\n\r\n")
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["HTTP_HOST"] == "shop.test:81"
    assert seen["HTTP_X_ONE"] == "1, 2"
    assert seen["REQUEST_URI"] == "/environ?a=1"
    assert seen["wsgi.url_scheme"] == "http"


FORGED = (
    b"GET /environ HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6;proto=https;host=evil.test\r\n\r\n"
)


def test_a_client_cannot_forge_who_it_is(start_fleet: Any) -> None:
    fleet = start_fleet(1, forwarded_allow_ips=["192.0.2.0/24"])
    seen = variables(fleet, FORGED)
    assert seen["REMOTE_ADDR"] == seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert seen["HTTP_X_FORWARDED_PROTO"] == seen["wsgi.url_scheme"] == "http"
    assert seen["HTTP_HOST"] == "shop.test"
    assert not {name for name, value in seen.items() if "evil" in value or "6.6.6.6" in value}


def test_a_trusted_proxy_is_believed(fleet: Fleet) -> None:
    seen = variables(fleet, FORGED)
    assert seen["REMOTE_ADDR"] == "6.6.6.6"
    assert seen["wsgi.url_scheme"] == "https"
    assert seen["HTTP_HOST"] == "evil.test"


# -- other servers as workers ---------------------------------------------------------------------------------


class ScriptedWorker:
    """Listens on a Unix socket, reads one request's head for each answer, and sends the answer's bytes as given."""

    def __init__(self, fleet: Fleet, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(fleet.file("scripted.sock"))
        self.socket.listen(8)
        self.thread = threading.Thread(target=self._serve, args=(answers,), daemon=True)
        self.thread.start()
        fleet.balancer.tell(add=99, path=fleet.file("scripted.sock"), slots=1)

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            connection, _ = self.socket.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (data := connection.recv(65536)):
                        break
                    head += data
                self.requests.append(head)
                connection.sendall(answer)
        self.socket.close()


def ask(fleet: Fleet, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> Client:
    client = fleet.connect()
    client.send(request)
    return client


def test_early_hints_pass_and_trailers_are_dropped(start_fleet: Any) -> None:
    fleet = start_fleet(0)
    ScriptedWorker(
        fleet,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    with ask(fleet) as client:
        response = client.response()
    assert [event.status_code for event in response.interim] == [103]
    assert (response.body, response.trailers) == (b"abc", [])
    assert "date" in response.headers


def test_a_body_that_ends_with_the_connection(start_fleet: Any) -> None:
    fleet = start_fleet(0)
    ScriptedWorker(fleet, b"HTTP/1.0 200 OK\r\n\r\nabc")
    with ask(fleet) as client:
        assert client.response().body == b"abc"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        b"",
    ],
)
def test_nonsense_from_a_worker_is_a_502(start_fleet: Any, answer: bytes) -> None:
    fleet = start_fleet(0)
    ScriptedWorker(fleet, *[answer] * 3)
    with ask(fleet, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx") as client:
        assert client.response().status == 502


def test_an_answer_that_breaks_off_is_seen_to(start_fleet: Any) -> None:
    fleet = start_fleet(0)
    ScriptedWorker(
        fleet,
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    )
    with ask(fleet) as client:
        assert re.search(rb"content-length: 10\r\n(.|\n)*abc$", client.read_all())
    with ask(fleet) as client:
        assert client.read_all().endswith(b"3\r\nabc\r\n")
    assert fleet.balancer.snapshot()["tally"]["bad_gateways"] == 2
