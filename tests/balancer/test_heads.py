"""What passes through the balancer's translation of heads, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eitherway.balancer.heads import parse_response_head, request_head
from eitherway.config import Config
from eitherway.errors import BackendError
from eitherway.http.body import NO_BODY
from eitherway.http.exchange import Exchange
from eitherway.http.fields import bytes_field, status_line
from eitherway.http.h1 import parse_head
from eitherway.supervisor.front import behind


class FakeChannel:
    client = ("192.0.2.1", 4711)
    server = ("203.0.113.9", 8000)
    scheme = "http"


def translate(head: bytes, length: int | None = 0) -> bytes:
    line, fields = parse_head(head, 8190, 100, 65536)
    return request_head(Exchange(line, fields, NO_BODY, b"", FakeChannel(), True), length)  # type: ignore[arg-type]


def test_the_backend_is_told_of_the_client() -> None:
    head = translate(b"GET /a?b=1 HTTP/1.1\r\nHost: shop.test\r\nAccept: */*\r\n\r\n")
    assert head == (
        b"GET /a?b=1 HTTP/1.1\r\nhost: shop.test\r\naccept: */*\r\n"
        b"x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\n\r\n"
    )


@pytest.mark.parametrize(
    "field",
    [
        b"X-Forwarded-For: 6.6.6.6",
        b"x-forwarded-for: 6.6.6.6, 7.7.7.7",
        b"X-Forwarded-Proto: gopher",
        b"X-Forwarded-Host: evil.test",
        b"Forwarded: for=6.6.6.6;host=evil.test",
        b"Keep-Alive: evil.test",
        b"Proxy-Connection: evil.test",
        b"TE: gopher",
        b"Trailer: evil.test",
        b"Connection: X-Hop, close\r\nX-Hop: evil.test",
        b"Expect: 100-continue",
    ],
)
def test_fields_of_the_hop_and_forged_ones_stay_behind(field: bytes) -> None:
    plain = translate(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    assert translate(b"GET / HTTP/1.1\r\nHost: shop.test\r\n" + field + b"\r\n\r\n") == plain


def test_framing_is_written_anew() -> None:
    start = b"POST / HTTP/1.1\r\nHost: x\r\n"
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
    assert b"content-length: 5\r\n" in translate(start + b"Content-Length: 5\r\n\r\n", 5)
    assert b"transfer-encoding: chunked\r\n" in translate(chunked, None)
    assert b"content-length: 7\r\n" in translate(chunked, 7)
    assert b"transfer-encoding" not in translate(chunked, 7)


def test_of_a_list_of_protocols_websocket_is_passed_on() -> None:
    handshake = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n\r\n"
    assert translate(handshake).count(b"pgrade") == 2
    assert b"connection: Upgrade\r\nupgrade: websocket\r\n" in translate(handshake)


def test_absolute_form_and_a_missing_host() -> None:
    assert translate(b"GET http://shop.test/a?b HTTP/1.1\r\nHost: shop.test\r\n\r\n").startswith(
        b"GET /a?b HTTP/1.1\r\nhost: shop.test\r\n"
    )
    old = translate(b"GET / HTTP/1.0\r\n\r\n")
    assert old.startswith(b"GET / HTTP/1.1\r\n")
    assert b"host: 203.0.113.9:8000\r\n" in old


def test_connection_cannot_take_the_host_away() -> None:
    assert b"host: shop.test\r\n" in translate(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: host\r\n\r\n")


@pytest.mark.parametrize(
    "fields",
    [
        b"Host:x\r\n" + b"a:b\r\n" * 9,
        b"Host:x\r\n" + b"a:b\r\n" * 7 + b"X-Forwarded-Host:z\r\nForwarded:host=y\r\n",
        b"a:b\r\n" * 9 + b"c:%b\r\n" % (b"d" * 900),
    ],
)
def test_what_is_within_the_limits_is_within_a_workers(fields: bytes) -> None:
    version = b"1.1" if b"Host" in fields else b"1.0"
    head = b"GET http://%b/ HTTP/%b\r\n%b\r\n" % (b"x" if b"Host" in fields else b"h" * 200, version, fields)
    clients = Config(limit_request_fields=10, limit_request_head=len(head))
    line, parsed = parse_head(head, 8190, clients.limit_request_fields, clients.limit_request_head)
    exchange = Exchange(line, parsed, NO_BODY, b"", FakeChannel(), True)  # type: ignore[arg-type]
    exchange.client = ("2001:db8:1111:2222:3333:4444:5555:6666", 0)
    exchange.host, exchange.scheme = b"shop.test", "https"
    workers = behind(clients)
    _, fields_there = parse_head(
        request_head(exchange, 0), 8190, workers.limit_request_fields, workers.limit_request_head
    )
    assert len(fields_there.raw) > clients.limit_request_fields


def test_a_response_is_passed_on_without_the_hop() -> None:
    head = parse_response_head(
        b"HTTP/1.1 200 Fine\r\nDate: now\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\r\n"
    )
    assert head.encoded == (
        b"HTTP/1.1 200 Fine\r\ndate: now\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 3\r\n"
    )
    assert (head.status, head.length, head.chunked, head.persistent, head.dated) == (200, 3, False, False, True)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ],
)
def test_malformed_responses_are_refused(head: bytes) -> None:
    with pytest.raises(BackendError):
        parse_response_head(head)


def test_what_a_worker_lets_pass_passes() -> None:
    """RFC 9110 section 5.5: CR, LF and NUL are dangerous, other control characters may be kept."""
    line = bytes_field((b"x", b"a\x01\x0b\x7f\xffb"))[1]
    head = parse_response_head(status_line(200, b"All\x1bright") + line + b"\r\n")
    assert head.encoded == b"HTTP/1.1 200 All\x1bright\r\n" + line


@given(st.binary(max_size=200))
def test_no_response_head_smuggles_a_line(noise: bytes) -> None:
    try:
        head = parse_response_head(b"HTTP/1.1 200 OK\r\nx: " + noise.split(b"\r\n\r\n")[0] + b"\r\n\r\n")
    except BackendError:
        return
    assert b"\0" not in head.encoded
    assert head.encoded.count(b"\n") == head.encoded.count(b"\r\n") == head.encoded.count(b"\r")
