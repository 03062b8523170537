"""nginx and HAProxy can stand in the balancer's place, with the configurations that docs/deploy/ gives."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxying import Proxy, free_port
from serving import Server, wait_until

NAMES = ("nginx", "haproxy")


class Balancing(Proxy):
    """The program `name` before two sync workers."""

    def __init__(self, name: str) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="eitherway-proxy-")
        path = self.directory.name
        self.workers = [
            Server("balanced:app", "sync", "--forwarded-allow-ips", "unix", bind=f"unix:{path}/{id}.sock")
            for id in (1, 2)
        ]
        for worker in self.workers:
            worker.wait_ready()
        port = free_port()
        places = {"/run/eitherway/": f"{path}/", "127.0.0.1:8000": f"127.0.0.1:{port}"}
        super().__init__(name, "as-balancer", Path(path), places, port)

    def close(self) -> None:
        super().close()
        for worker in self.workers:
            worker.close()
        self.directory.cleanup()


@contextmanager
def balancing(name: str) -> Iterator[Balancing]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    started = Balancing(name)
    try:
        started.wait_ready()
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module", params=NAMES)
def proxy(request: pytest.FixtureRequest) -> Iterator[Balancing]:
    with balancing(request.param) as started:
        yield started


def test_requests_reach_all_workers(proxy: Balancing) -> None:
    seen = set()
    with proxy.connect() as client:

        def ask() -> int:
            client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            response = client.response()
            assert response.status == 200
            seen.add(int(response.body))
            return len(seen)

        for _ in range(20):
            ask()
        wait_until(lambda: ask() >= 2)  # where the machine is busy a proxy may take a worker for dead for a moment
    assert seen == {worker.process.pid for worker in proxy.workers}


def test_large_bodies_pass_both_ways(proxy: Balancing) -> None:
    body = bytes(range(256)) * 4000
    with proxy.connect() as client:
        client.send(b"POST /digest HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.response().text == f"{hashlib.sha256(body).hexdigest()} {len(body)}"
        client.send(b"GET /chunked?1000000 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert client.response().body == (body * 2)[:1_000_000]


def test_the_client_is_known_and_cannot_forge(proxy: Balancing) -> None:
    with proxy.connect() as client:
        client.send(
            b"GET /environ HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6;proto=https;host=evil.test\r\n\r\n"
        )
        seen = dict(line.split("=", 1) for line in client.response().text.splitlines())
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["HTTP_HOST"] == "shop.test"
    assert seen["wsgi.url_scheme"] == "http"
    assert not [value for value in seen.values() if "evil" in value or "6.6.6.6" in value]


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_worker_costs_no_get(name: str) -> None:
    with balancing(name) as proxy, proxy.connect() as client:
        proxy.workers[0].stop(9)
        for _ in range(20):
            client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            assert client.response().status == 200
