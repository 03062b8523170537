"""What must hold for any input: bodies, forwarded fields, bytes on a connection, responses."""

from __future__ import annotations

from itertools import pairwise

import h11
from httptools import HttpParserError, HttpRequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eitherway.config import Config
from eitherway.errors import RequestRefused
from eitherway.http import fields as f
from eitherway.http import h1
from eitherway.http.body import NO_BODY, ChunkedBody, LengthBody
from eitherway.http.exchange import Exchange
from eitherway.http.forwarded import origin, parse_node
from eitherway.http.h1 import parse_head
from eitherway.http.response import compose
from eitherway.net.stream import CLOSED, COLLECTING, LINGERING, READING
from in_process import FakeChannel, InProcess

WORDS = [
    b"GET ", b"POST ", b"HEAD ", b"/", b"/a?b", b"*", b"http://x/", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n",
    b"\n", b"\r", b" ", b"\t", b":", b"\0", b"Host: x\r\n", b"Host: x\r\n\r\n", b"Content-Length: 3\r\n", b"abc",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: x\r\n",
    b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\n", b"A: b\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
]  # fmt: skip
NEARLY_HTTP = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=4)), max_size=12).map(b"".join)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


def decode(body: ChunkedBody | LengthBody, pieces: list[bytes]) -> tuple[bytes, bytes]:
    decoded, behind = b"", b""
    for piece in pieces:
        if body.complete:
            behind += piece
            continue
        data, rest = body.feed(piece)
        decoded += data
        behind += rest
    return decoded, behind


CUTS = st.lists(st.integers(0, 400), max_size=8)
EXTENSION = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"'])


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSION), max_size=6),
    st.binary(max_size=20),
    CUTS,
)
def test_a_chunked_body_is_decoded_however_it_is_cut(
    chunks: list[tuple[bytes, bytes]], behind: bytes, cuts: list[int]
) -> None:
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(data), extension, data) for data, extension in chunks) + b"0\r\n\r\n"
    body = ChunkedBody(0)
    assert decode(body, cut(coded + behind, cuts)) == (b"".join(data for data, _ in chunks), behind)
    assert body.complete


@given(st.binary(max_size=200), st.binary(max_size=20), CUTS)
def test_a_body_with_a_length_is_decoded_however_it_is_cut(data: bytes, behind: bytes, cuts: list[int]) -> None:
    body = LengthBody(len(data))
    assert decode(body, cut(data + behind, cuts)) == (data, behind)
    assert body.complete


@given(st.lists(st.one_of(st.binary(max_size=8), st.sampled_from([b"5\r\n", b"hello", b"\r\n", b"0\r\n"]))))
def test_any_bytes_are_a_chunked_body_or_refused(pieces: list[bytes]) -> None:
    """Whether it is refused does not depend on how the bytes are cut, nor does what is decoded."""
    outcomes = []
    for parts in (pieces, [b"".join(pieces)], [bytes([byte]) for byte in b"".join(pieces)]):
        body = ChunkedBody(1000)
        try:
            outcomes.append((decode(body, parts), body.complete))
        except RequestRefused as refusal:
            assert refusal.status in (400, 413)
            outcomes.append(refusal.status)
    assert outcomes[0] == outcomes[1] == outcomes[2]


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
ENTRIES = st.one_of(ADDRESSES, st.text(max_size=10), st.just("10.0.0.1"))
FORWARDED = st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"a"])
VALUES = st.one_of(
    st.binary(max_size=60),
    st.lists(ENTRIES, max_size=5).map(lambda entries: ", ".join(entries).encode("utf-8", "replace")),
    st.lists(ENTRIES, max_size=5).map(
        lambda entries: ", ".join(f"for={e}" for e in entries).encode("utf-8", "replace")
    ),
)


@given(st.lists(st.tuples(FORWARDED, VALUES), max_size=6))
def test_forwarded_fields_never_raise_and_say_only_what_can_be_true(raw: list[tuple[bytes, bytes]]) -> None:
    found = origin(raw, lambda host: host == "10.0.0.1")
    assert found.scheme in (None, "http", "https")
    assert found.host is None or f.HOST.fullmatch(found.host)
    assert found.client is None or parse_node(found.client[0]) is not None


@given(st.lists(ADDRESSES, max_size=4), ADDRESSES, st.integers(0, 4))
@example(forged=[], client="::ffff:192.0.2.1", proxies=1)  # as Python writes it from 3.13 on
def test_what_an_untrusted_address_says_is_never_believed(forged: list[str], client: str, proxies: int) -> None:
    """Our proxies append what they saw: `client`. All that stands left of it the client has made up."""
    trusted = "10.0.0.1"
    if client == trusted:
        return
    value = ", ".join([*forged, client, *[trusted] * proxies]).encode()
    assert origin([(b"x-forwarded-for", value)], lambda host: host == trusted).client == (client, 0)
    quoted = [f'for="[{each}]"' if ":" in each else f"for={each}" for each in [*forged, client, *[trusted] * proxies]]
    assert origin([(b"forwarded", ", ".join(quoted).encode())], lambda host: host == trusted).client == (
        client,
        0,
    )


SMALL = Config(limit_request_line=64, limit_request_head=256, limit_request_fields=5, limit_body=20)


@settings(deadline=None, max_examples=300)
@given(NEARLY_HTTP, CUTS, st.booleans())
def test_any_bytes_on_a_connection_end_well(data: bytes, cuts: list[int], sync: bool) -> None:
    """It waits, runs an exchange, or answers with an error and closes; and never outlives its client."""
    with InProcess(SMALL, collects=sync, queues=sync) as server:
        server.send(*cut(data, cuts))
        if server.closed:
            assert server.connection.state in (LINGERING, CLOSED)
        elif not server.service.running:
            assert server.connection.state in (READING, COLLECTING)
        statuses = read_statuses(server)
        assert statuses.count(200) == len(server.requests)
        assert all(status == 200 for status in statuses[:-1]), "something was answered behind an error"
        assert server.closed or all(status == 200 for status in statuses), "an error left the connection open"
        server.finish()
        assert server.connection.state == CLOSED
        assert not server.service.running


def read_statuses(server: InProcess) -> list[int]:
    statuses: list[int] = []
    data = server.received
    while data:
        method = server.requests[len(statuses)]["method"] if len(statuses) < len(server.requests) else "GET"
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(data)
        interim = True
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                assert interim, "half an answer"
                return statuses
            if isinstance(event, h11.Response):
                interim = False
                statuses.append(event.status_code)
        data = reader.trailing_data[0]
    return statuses


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.binary(max_size=50), max_size=5),
    st.sampled_from([200, 201, 204, 205, 206, 304, 404, 500, 299, 999]),
    st.sampled_from(["GET", "HEAD", "POST", "BREW"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]),
    st.booleans(),
    st.booleans(),
)
def test_h11_reads_the_body_that_was_sent(
    blocks: list[bytes], status: int, method: str, version: bytes, keep_alive: bool, with_length: bool
) -> None:
    connection = b"Connection: " + (b"keep-alive" if keep_alive else b"close") + b"\r\n"
    head = method.encode() + b" / " + version + b"\r\nHost: x\r\n" + connection + b"\r\n"
    line, fields = parse_head(head, 8190, 100, 65536)
    channel = FakeChannel()
    exchange = Exchange(line, fields, NO_BODY, b"", channel, keep_alive)
    whole = b"".join(blocks)
    length = [f.text_field(("Content-Length", str(len(whole))))] if with_length else []
    exchange.start(compose(status, length))
    for block in blocks[:-1]:
        exchange.send(block, True)
    exchange.send(blocks[-1] if blocks else b"", False)

    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(channel.sent)
    if not channel.keep_alive:
        reader.receive_data(b"")
    body = b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            assert event.status_code == status
        else:
            assert isinstance(event, h11.Data), event
            body += event.data
    assert body == (b"" if method == "HEAD" or status in (204, 304) else whole)
    assert reader.trailing_data[0] == b""
    assert channel.faults == []
    assert channel.keep_alive or not keep_alive or version == b"HTTP/1.0"


# What is most likely to be read in two ways, and what makes up most fields.
FIELD_BYTES = st.lists(
    st.sampled_from([b" ", b"\t", b":", b"-", b"_", b"\0", b"\x7f", b"\x80", b"x", b"Y", b"7", b'"', b","])
)


@given(
    st.one_of(FIELD_BYTES.map(b"".join), st.sampled_from([b"X-Id", b"cookie", b"Host", b"Content-Length", b"TE"])),
    st.sampled_from([b":", b": ", b":\t", b":  ", b" :"]),
    FIELD_BYTES.map(b"".join),
)
def test_a_field_is_read_as_httptools_reads_it(name: bytes, colon: bytes, value: bytes) -> None:
    """Also where it is so plain that httptools is not asked."""
    line = name + colon + value
    found: list[tuple[bytes, bytes]] = []

    class Reader:
        def on_header(self, name: bytes, value: bytes) -> None:
            found.append((name.lower(), value.rstrip(b" \t")))

    try:
        HttpRequestParser(Reader()).feed_data(b"GET / HTTP/1.1\r\n%b\r\n\r\n" % line)
    except HttpParserError:
        found.clear()
    try:
        read = h1.parse_fields(b"\r\n%b\r\n\r\n" % line).raw
    except RequestRefused:
        read = []
    assert read in (found, []) if name.lower() in h1.SPECIAL else read == found
