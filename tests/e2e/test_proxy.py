"""Behind a proxy: whose word about a client is taken, and which of several addresses is the client's."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from serving import PATIENCE, Client, Server, Start

WSGI, ASGI = "wsgi_routes:app", "asgi_routes:app"
PAIRS = [(WSGI, "threads"), (WSGI, "gevent"), (ASGI, "uvloop"), (ASGI, "sync")]
every_pair = pytest.mark.parametrize(("app", "engine"), PAIRS, ids=[f"{app[:4]}-{engine}" for app, engine in PAIRS])


def seen(answerer: Server | Client, *fields: str) -> dict[str, str | None]:
    """Client, scheme and host as the application sees them."""
    said = json.loads(answerer.ask("/environ", "GET", *fields).body)
    if "headers" not in said:
        return {"client": said["REMOTE_ADDR"], "scheme": said["wsgi.url_scheme"], "host": said["HTTP_HOST"]}
    hosts = [value for name, value in said["headers"] if name == "host"]
    assert len(hosts) == 1
    return {"client": said["client"] and said["client"][0], "scheme": said["scheme"], "host": hosts[0]}


PLAIN = {"client": "127.0.0.1", "scheme": "http", "host": "test"}


@every_pair
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), {}),
        (("X-Forwarded-For: 203.0.113.7",), {"client": "203.0.113.7"}),
        (("X-Forwarded-For: 203.0.113.7:4711",), {"client": "203.0.113.7"}),
        (("X-Forwarded-For: [2001:db8::1]:4711",), {"client": "2001:db8::1"}),
        (("X-Forwarded-For: 2001:db8::1",), {"client": "2001:db8::1"}),
        (("X-Forwarded-For: 6.6.6.6, 203.0.113.7, 127.0.0.9",), {"client": "203.0.113.7"}),
        (("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.7"), {"client": "203.0.113.7"}),
        (("X-Forwarded-For: 127.0.0.8, 127.0.0.9",), {"client": "127.0.0.8"}),
        (("X-Forwarded-For: 6.6.6.6, unknown",), {}),
        (("X-Forwarded-For: 6.6.6.6, <script>",), {}),
        (("X-Forwarded-For:",), {}),
        (("X-Forwarded-Proto: https",), {"scheme": "https"}),
        (("X-Forwarded-Proto: HTTPS",), {"scheme": "https"}),
        (("X-Forwarded-Proto: javascript",), {}),
        (("X-Forwarded-Host: shop.example:8443",), {"host": "shop.example:8443"}),
        (("X-Forwarded-Host: shop.example/evil",), {}),
        (
            ("Forwarded: for=6.6.6.6, for=203.0.113.7;proto=https;host=shop.example",),
            {"client": "203.0.113.7", "scheme": "https", "host": "shop.example"},
        ),
        (('Forwarded: for="[2001:db8::1]:4711";proto=https',), {"client": "2001:db8::1", "scheme": "https"}),
        (("Forwarded: for=203.0.113.7", "X-Forwarded-For: 6.6.6.6"), {"client": "203.0.113.7"}),
        (("Forwarded: nonsense", "X-Forwarded-For: 6.6.6.6"), {}),
        (("Forwarded: for=_hidden;proto=https",), {"scheme": "https"}),
        (("X-Forwarded-For: " + "6.6.6.6, " * 500 + "203.0.113.7",), {"client": "203.0.113.7"}),
    ],
)
def test_a_trusted_proxy_is_believed(
    app: str, engine: str, fields: tuple[str, ...], expected: dict[str, str], shared_server: Start
) -> None:
    """The default trusts loopback, and so us. The client is the rightmost address that is no trusted proxy's."""
    server = shared_server(app, engine)
    with server.connect() as client:
        assert seen(client, *fields) == PLAIN | expected
        assert seen(client) == PLAIN


FORGED = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "Forwarded: for=6.6.6.6;proto=https;host=evil.example",
)


@every_pair
def test_anybody_else_is_not(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine, "--forwarded-allow-ips", "10.0.0.0/8")
    assert seen(server, *FORGED) == PLAIN


@every_pair
def test_a_star_trusts_everybody(app: str, engine: str, shared_server: Start) -> None:
    server = shared_server(app, engine, "--forwarded-allow-ips", "*")
    assert seen(server, "X-Forwarded-For: 203.0.113.7, 198.51.100.1")["client"] == "203.0.113.7"


@every_pair
@pytest.mark.parametrize("trusted", [True, False])
def test_peers_on_a_unix_socket(app: str, engine: str, trusted: bool, own_server: Start, tmp_path: Path) -> None:
    options = () if trusted else ("--forwarded-allow-ips", "127.0.0.1")
    own_server(app, engine, *options, bind=f"unix:{tmp_path / 's'}")
    with Client(socket.socket(socket.AF_UNIX)) as client:
        client.socket.settimeout(PATIENCE)
        client.socket.connect(str(tmp_path / "s"))
        said = seen(client, "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    if trusted:
        assert said == {"client": "203.0.113.7", "scheme": "https", "host": "test"}
    else:
        assert said == {"client": "" if app == WSGI else None, "scheme": "http", "host": "test"}


def test_the_log_names_the_client_that_the_proxy_named(own_server: Start) -> None:
    server = own_server(WSGI, "threads", "--access-log", "-")
    server.ask("/hello", "GET", "X-Forwarded-For: 203.0.113.7")
    server.stop()
    assert server.out.startswith("203.0.113.7 - - [")
