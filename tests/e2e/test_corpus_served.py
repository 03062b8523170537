"""The corpus against the real server over real sockets, whole and cut; every answer is read by h11."""

from __future__ import annotations

import json
import socket
from itertools import pairwise

import pytest

from corpus_format import Case, check_request, load
from serving import Client, Server, Start

CASES = load()
SERVED = [("sync", "wsgi"), ("threads", "wsgi"), ("gevent", "wsgi"), ("uvloop", "asgi"), ("asyncio", "asgi")]
PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"


def pieces(data: bytes) -> list[bytes]:
    """The message in four parts; the last is one byte."""
    cuts = sorted({0, len(data) // 3, 2 * len(data) // 3, max(0, len(data) - 1), len(data)})
    return [data[start:end] for start, end in pairwise(cuts)]


def replay(server: Server, case: Case, parts: list[bytes]) -> None:
    with server.connect() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.send(part)
        for expected in case.expected:
            response = client.response(expected.method or "GET")
            assert response.status in expected.statuses, response.body
            if expected.method and expected.method != "HEAD":
                check_request(json.loads(response.body), expected)
        check_end(client, case)


def check_end(client: Client, case: Case) -> None:
    if case.then == "closed":
        assert client.is_closed()
    elif case.then == "open":
        client.send(PROBE)
        assert json.loads(client.response().body)["target"] == "/probe"
    else:
        client.finish()
        left = client.read_all()
        assert not left or left.startswith(b"HTTP/1.1 400 "), left


@pytest.mark.parametrize(
    ("case", "engine", "interface"),
    [pytest.param(case, engine, interface, id=f"{case}-{engine}") for case in CASES for engine, interface in SERVED],
)
def test_replay(shared_server: Start, case: Case, engine: str, interface: str) -> None:
    server = shared_server(f"echo:{interface}", engine)
    begin = len(server.log)
    replay(server, case, [case.data])
    replay(server, case, pieces(case.data))
    if b"GET /evil" in case.data or b"GET /never" in case.data:  # behind a request that closes
        assert not [target for target in json.loads(server.ask("/seen").body) if target in ("/evil", "/never")]
    assert "Traceback" not in server.log[begin:]
    assert " ERROR " not in server.log[begin:]
