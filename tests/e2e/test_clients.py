"""Frameworks on every engine, asked by clients that we did not write: httpx, requests, http.client and libcurl."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pycurl
import pytest
import requests

from serving import ANYIO_ENGINES, WSGI_ENGINES, Server, Start, wait_until

BLOCK = bytes(range(256)) * 64
FLASK, FASTAPI = "clients_flask:app", "clients_fastapi:app"
PAIRS = [(FLASK, engine) for engine in WSGI_ENGINES] + [(FASTAPI, engine) for engine in ANYIO_ENGINES]


@pytest.fixture(params=PAIRS, ids=[f"{app.split(':')[0].split('_')[1]}-{engine}" for app, engine in PAIRS])
def server(request: pytest.FixtureRequest, shared_server: Start) -> Server:
    return shared_server(*request.param)


@pytest.fixture(params=ANYIO_ENGINES)
def fastapi(request: pytest.FixtureRequest, shared_server: Start) -> Server:
    return shared_server(FASTAPI, request.param)


def digest_of(body: bytes) -> dict[str, object]:
    return {"sha": hashlib.sha256(body).hexdigest(), "size": len(body)}


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def test_httpx(server: Server) -> None:
    body = os.urandom(1_500_000)
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.get("/hello", params={"name": "\u00e9 &"}).json() == {"hello": "\u00e9 &"}
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, "/json", json=[1]).json() == {"method": method, "got": [1]}
        if "flask" in server.log:
            form = client.post("/form", data={"a": "1"}, files={"file": ("name", b"x" * 100_000)})
            assert form.json() == {"fields": {"a": "1"}, "files": {"file": 100_000}}
        assert client.post("/digest", content=body).json() == digest_of(body)
        assert client.post("/digest", content=pieces(body, 7777)).json() == digest_of(body)
        assert client.post("/digest", content=b"").json() == digest_of(b"")
        assert client.get("/stream/100").content == BLOCK * 100
        assert client.get("/large/300").content == BLOCK * 300
        assert [client.get("/visits").json()["visits"] for _ in range(3)] == [1, 2, 3]
        assert client.get("/away", follow_redirects=True).json() == {"hello": "moved"}
        assert (client.get("/nothing").status_code, client.get("/nothing").content) == (204, b"")
        assert client.get("/boom").status_code == 500
        assert client.get("/missing").status_code == 404
        assert client.head("/hello").status_code in {
            200,
            405,
        }  # FastAPI answers HEAD only where it is told to
        with client.stream("GET", "/stream/1000") as response:
            assert next(response.iter_raw())
        assert client.get("/hello").status_code == 200


def test_requests(server: Server) -> None:
    body = os.urandom(1_500_000)
    with requests.Session() as client:
        assert client.get(f"{server.url}/hello").json() == {"hello": "you"}
        assert client.post(f"{server.url}/digest", data=body).json() == digest_of(body)
        assert client.post(f"{server.url}/digest", data=pieces(body, 100_000)).json() == digest_of(body)
        assert client.get(f"{server.url}/stream/100").content == BLOCK * 100
        assert [client.get(f"{server.url}/visits").json()["visits"] for _ in range(3)] == [1, 2, 3]
        assert client.get(f"{server.url}/away").json() == {"hello": "moved"}


def test_http_client_keeps_its_connection(server: Server) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=30)

    def ask(method: str, target: str, **more: Any) -> tuple[int, bytes]:
        connection.request(method, target, **more)
        response = connection.getresponse()
        return response.status, response.read()

    assert ask("GET", "/hello") == (200, ask("GET", "/hello")[1])
    first = connection.sock.getsockname()
    assert ask("GET", "/nothing") == (204, b"")
    assert ask("GET", "/boom")[0] == 500
    assert ask("GET", "/stream/10") == (200, BLOCK * 10)
    assert json.loads(ask("POST", "/digest", body=b"x" * 100_000)[1]) == digest_of(b"x" * 100_000)
    chunked = ask(
        "POST",
        "/digest",
        body=iter([b"a", b"bc"]),
        headers={"Transfer-Encoding": "chunked"},
        encode_chunked=True,
    )
    assert json.loads(chunked[1]) == digest_of(b"abc")
    assert connection.sock.getsockname() == first
    connection.close()


def curl(url: str, **options: Any) -> tuple[int, bytes, list[bytes]]:
    """Ask with libcurl: status, body, and all lines of heads."""
    body, lines = io.BytesIO(), []
    handle = pycurl.Curl()
    try:
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.WRITEDATA, body)
        handle.setopt(pycurl.HEADERFUNCTION, lines.append)
        handle.setopt(pycurl.TIMEOUT, 30)
        for name, value in options.items():
            handle.setopt(getattr(pycurl, name), value)
        handle.perform()
        return handle.getinfo(pycurl.RESPONSE_CODE), body.getvalue(), lines
    finally:
        handle.close()


def test_libcurl(server: Server) -> None:
    body = os.urandom(1_500_000)  # libcurl sends Expect: 100-continue before a large one
    assert json.loads(curl(f"{server.url}/hello")[1]) == {"hello": "you"}
    assert json.loads(curl(f"{server.url}/hello", HTTP_VERSION=pycurl.CURL_HTTP_VERSION_1_0)[1]) == {"hello": "you"}
    assert curl(f"{server.url}/stream/50")[1] == BLOCK * 50
    assert curl(f"{server.url}/stream/50", HTTP_VERSION=pycurl.CURL_HTTP_VERSION_1_0)[1] == BLOCK * 50
    assert curl(f"{server.url}/hello", NOBODY=1)[1] == b""
    status, answer, lines = curl(
        f"{server.url}/digest",
        POST=1,
        HTTPHEADER=["Expect: 100-continue"],
        READDATA=io.BytesIO(body),
        POSTFIELDSIZE=len(body),
    )
    assert (status, json.loads(answer)) == (200, digest_of(body))
    assert lines[0] == b"HTTP/1.1 100 Continue\r\n"
    status, answer, _ = curl(
        f"{server.url}/digest",
        POST=1,
        HTTPHEADER=["Transfer-Encoding: chunked", "Content-Length:"],
        READDATA=io.BytesIO(body),
    )
    assert (status, json.loads(answer)) == (200, digest_of(body))


def test_many_clients_at_once(server: Server) -> None:
    body = os.urandom(200_000)

    def ask(number: int) -> bool:
        connection = http.client.HTTPConnection(*server.address, timeout=30)

        def answer(method: str, target: str, body: bytes | None = None) -> bytes:
            connection.request(method, target, body)
            return connection.getresponse().read()

        try:
            return (
                json.loads(answer("GET", f"/hello?name={number}")) == {"hello": str(number)}
                and json.loads(answer("POST", "/digest", body)) == digest_of(body)
                and answer("GET", "/stream/5") == BLOCK * 5
            )
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


# ---- what only ASGI frameworks have ----


def test_plain_functions_run_in_the_framework_s_threads(fastapi: Server) -> None:
    assert fastapi.ask("/in-a-thread").body == b'{"ran":"in a thread"}'


def test_file_response(fastapi: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(os.urandom(2_000_000))
    with httpx.Client(base_url=fastapi.url) as client:
        response = client.get("/file", params={"path": str(path)})
        assert response.content == path.read_bytes()
        part = client.get("/file", params={"path": str(path)}, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, path.read_bytes()[1000:2000])
        again = client.get("/file", params={"path": str(path)}, headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code in {200, 304}
        assert client.get("/hello").status_code == 200


def test_background_tasks_run_behind_the_response(fastapi: Server, tmp_path: Path) -> None:
    key, gate = uuid4().hex, tmp_path / "gate"
    with httpx.Client(base_url=fastapi.url) as client:
        assert client.get(f"/background/{key}", params={"gate": str(gate)}).json() == {"background": "begun"}
        if fastapi.engine != "sync":
            assert client.get("/hello").status_code == 200
        assert fastapi.notes(key) == []
        gate.touch()
        wait_until(lambda: fastapi.notes(key) == ["worked"])


def test_a_stream_ends_when_its_client_leaves(fastapi: Server) -> None:
    key = uuid4().hex
    with httpx.Client(base_url=fastapi.url) as client, client.stream("GET", f"/endless/{key}") as response:
        assert next(response.iter_raw())
    wait_until(lambda: fastapi.notes(key) == ["ended"])
    assert fastapi.ask("/hello").status == 200


@pytest.mark.parametrize("engine", ANYIO_ENGINES)
def test_the_framework_s_lifespan_is_shut_down(engine: str, own_server: Start) -> None:
    server = own_server(FASTAPI, engine)
    assert server.ask("/hello").body == b'{"hello":"you"}'
    assert server.stop() == 0
    assert server.notes("fastapi") == ["shut down"]
