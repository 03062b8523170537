"""nginx and HAProxy in front of a server of several processes, with the configurations of docs/deploy/."""

from __future__ import annotations

import hashlib
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxying import Proxy, free_port
from serving import PATIENCE, Client, Server, wait_until

HOST = "shop.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with chain.pem, key.pem, and shop.pem that has both."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("certificate")
    names = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "chain.pem")]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    subprocess.run(["openssl", "req", "-x509", *curve, *names, *subject], check=True, capture_output=True)
    text = (directory / "chain.pem").read_text() + (directory / "key.pem").read_text()
    (directory / "shop.pem").write_text(text)
    return directory


class Front(Proxy):
    """The program `name` before two sync workers and their balancer."""

    def __init__(self, name: str, directory: Path, certificate: Path) -> None:
        control = ["--control-socket", str(directory / "control.sock")]
        self.server = Server("balanced:app", "sync", "--workers", "2", *control).wait_ready()
        static = directory / "current" / "static"
        static.mkdir(parents=True)
        (static / "style.css").write_text("body {}")
        self.plain_port, tls_port = free_port(), free_port()
        places = {"127.0.0.1:8000": f"127.0.0.1:{self.server.port}"}
        if name == "nginx":
            places |= {
                "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
                "listen 443 ": f"listen 127.0.0.1:{tls_port} ",
                "/etc/ssl/shop/": f"{certificate}/",
                "/srv/shop/": f"{directory}/",
            }
        else:
            places |= {
                "bind :80\n": f"bind 127.0.0.1:{self.plain_port}\n",
                "bind :443 ": f"bind 127.0.0.1:{tls_port} ",
                "/etc/haproxy/": f"{certificate}/",
            }
        self.trust = ssl.create_default_context(cafile=str(certificate / "chain.pem"))
        super().__init__(name, "in-front", directory, places, tls_port)

    def over_tls(self, source: str = "127.0.0.1") -> Client:
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE, (source, 0))
        return Client(self.trust.wrap_socket(sock, server_hostname=HOST))

    def close(self) -> None:
        super().close()
        self.server.stop()
        self.server.close()


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def front(
    request: pytest.FixtureRequest, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    started = Front(request.param, tmp_path_factory.mktemp(request.param), certificate)
    try:
        started.wait_ready()
        yield started
    finally:
        started.close()


def test_the_application_finds_what_the_client_asked(front: Front) -> None:
    """Its address, scheme and host, through proxy and balancer, and nothing that the client has made up."""
    with front.over_tls(source="127.0.0.7") as client:
        client.send(
            b"GET /environ HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\n"
            b"X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6;proto=http;host=evil.test\r\n\r\n"
        )
        seen = dict(line.split("=", 1) for line in client.response().text.splitlines())
    assert seen["REMOTE_ADDR"] == "127.0.0.7"
    assert seen["HTTP_HOST"] == HOST
    assert seen["wsgi.url_scheme"] == "https"
    assert not [value for value in seen.values() if "evil" in value or "6.6.6.6" in value]


def test_plain_http_is_sent_to_https(front: Front) -> None:
    with Client(socket.create_connection(("127.0.0.1", front.plain_port), PATIENCE)) as client:
        client.send(b"GET /orders?page=2 HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        response = client.response()
    headers = {name.lower(): value for name, value in response.headers.items()}
    assert (response.status, headers["location"]) == (301, "https://shop.example/orders?page=2")


def test_nginx_gives_static_files_itself(front: Front) -> None:
    if "nginx" not in front.process.args[0]:  # type: ignore[index]
        pytest.skip("HAProxy has no files")
    with front.over_tls() as client:
        client.send(b"GET /static/style.css HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        response = client.response()
        assert (response.status, response.body) == (200, b"body {}")
        client.send(b"GET /static/../current HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert client.response().status != 200


def test_large_bodies_pass_both_ways(front: Front) -> None:
    body = bytes(range(256)) * 4000
    with front.over_tls() as client:
        head = b"POST /digest HTTP/1.1\r\nHost: shop.example\r\nContent-Length: %d\r\n\r\n"
        client.send(head % len(body) + body)
        assert client.response().text == f"{hashlib.sha256(body).hexdigest()} {len(body)}"
        client.send(b"GET /chunked?1000000 HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert client.response().body == (body * 2)[:1_000_000]


def test_a_reload_behind_it_is_not_noticed(front: Front) -> None:
    """The last of the module."""
    with front.over_tls() as client:

        def worker() -> str:
            client.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            response = client.response()
            assert response.status == 200
            return response.text

        old = {worker() for _ in range(10)}
        front.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: worker() not in old and "reloaded: all workers are new" in front.server.log)
