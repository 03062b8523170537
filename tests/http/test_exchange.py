"""http/exchange.py over a channel of memory: bodies in, framing out."""

from __future__ import annotations

import h11
import pytest

from eitherway.errors import ClientGone, RequestRefused, ResponseError
from eitherway.http import fields as f
from eitherway.http.body import NO_BODY, Body, ChunkedBody, LengthBody
from eitherway.http.exchange import CLOSE, READ, WRITE, Exchange
from eitherway.http.h1 import parse_head
from eitherway.http.response import ResponseHead, compose
from in_process import FakeChannel


def exchange(
    *received: bytes,
    head: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n",
    body: Body = NO_BODY,
    collected: bytes = b"",
    keep_alive: bool = True,
) -> tuple[Exchange, FakeChannel]:
    line, fields = parse_head(head + b"\r\n", 8190, 100, 65536)
    channel = FakeChannel(*received)
    return Exchange(line, fields, body, collected, channel, keep_alive), channel


def composed(status: int, *pairs: tuple[str, str], reason: bytes = b"") -> ResponseHead:
    return compose(status, [f.text_field(pair) for pair in pairs], reason)


def understood(channel: FakeChannel, method: str = "GET") -> tuple[h11.Response, bytes]:
    """The one response that h11 finds in what was sent; a channel that was ended without keep-alive is closed."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(channel.sent)
    if channel.keep_alive is False:
        reader.receive_data(b"")
    response, body = None, b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.InformationalResponse), event
    assert reader.trailing_data[0] == b""
    assert response is not None
    return response, body


def headers(response: h11.Response) -> dict[bytes, bytes]:
    return dict(response.headers)


# ---- the request's body ----


def test_what_was_collected_comes_first() -> None:
    ex, _ = exchange(b"loGET", body=LengthBody(2), collected=b"hel")
    assert [ex.read(), ex.read(), ex.read()] == [b"hel", b"lo", b""]
    assert ex.channel.unused == b"GET"  # type: ignore[attr-defined]


def test_nothing_there_yet() -> None:
    ex, channel = exchange(body=LengthBody(2))
    assert ex.read() is None
    channel.incoming.append(b"ab")
    assert [ex.read(), ex.read()] == [b"ab", b""]


def test_a_piece_without_data_is_read_past() -> None:
    ex, _ = exchange(b"2\r", b"\na", b"b\r\n0\r\n\r\n", body=ChunkedBody(0))
    assert [ex.read(), ex.read(), ex.read()] == [b"a", b"b", b""]


@pytest.mark.parametrize("body", [LengthBody(2), ChunkedBody(0)])
def test_a_client_that_leaves_in_the_body(body: Body) -> None:
    ex, _ = exchange(b"", body=body)
    with pytest.raises(ClientGone):
        ex.read()


def test_a_broken_body_becomes_the_answer() -> None:
    ex, channel = exchange(b"zz\r\n", body=ChunkedBody(0))
    for _ in range(2):
        with pytest.raises(RequestRefused):
            ex.read()
    ex.start(composed(200))
    assert ex.send(b"hello", False)
    response, body = understood(channel)
    assert response.status_code == 400
    assert b"hello" not in body
    assert channel.keep_alive is False


def test_continue_is_said_once_when_the_body_is_first_read() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
    ex, channel = exchange(head=head, body=LengthBody(2))
    assert channel.sent == b""
    assert [ex.read(), ex.read()] == [None, None]
    assert channel.sent == f.CONTINUE


def test_continue_is_not_said_behind_the_head_nor_in_http_10() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
    ex, channel = exchange(head=head, body=LengthBody(2))
    ex.start(composed(200))
    ex.send(b"x", True)
    before = channel.sent
    assert ex.read() is None
    assert channel.sent == before
    ex, channel = exchange(head=head.replace(b"HTTP/1.1", b"HTTP/1.0"), body=LengthBody(2))
    assert ex.read() is None
    assert channel.sent == b""


def test_an_expected_body_that_was_never_asked_for_closes() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
    ex, channel = exchange(head=head, body=LengthBody(2))
    ex.start(composed(200))
    ex.send(b"", False)
    assert channel.keep_alive is False
    assert headers(understood(channel)[0])[b"connection"] == b"close"


# ---- waiting ----


def test_parking() -> None:
    ex, channel = exchange(body=LengthBody(2))
    resumed: list[str] = []
    assert ex.park(READ, lambda: resumed.append("read"))
    assert ex.park(WRITE, lambda: resumed.append("write"))
    ex.wake_reader()
    ex.wake_reader()
    assert resumed == ["read"]
    ex.wake_writer()
    ex.wake_writer()
    assert resumed == ["read", "write"]
    channel.wait = False
    for direction in (READ, WRITE, CLOSE):
        assert not ex.park(direction, lambda: resumed.append("never"))
    ex.wake_reader()
    ex.wake_writer()
    assert len(resumed) == 2


def test_unparking() -> None:
    ex, channel = exchange(body=LengthBody(2))
    for direction in (READ, WRITE):
        assert ex.park(direction, lambda: pytest.fail("resumed"))
        ex.unpark(direction)
    ex.wake_reader()
    ex.wake_writer()
    assert channel.stopped_waiting == 2


def test_nobody_parks_once_all_is_over() -> None:
    ex, _ = exchange()
    assert not ex.disconnected
    ex.start(composed(204))
    ex.send(b"", False)
    assert ex.disconnected
    assert not ex.park(CLOSE, lambda: None)


def test_behind_a_refused_body_only_writers_wait() -> None:
    """Whoever could not park would try again at once, for as long as its client takes nothing."""
    ex, _ = exchange(body=LengthBody(2))
    ex.refuse(RequestRefused(408, "too late"))
    assert not ex.park(READ, lambda: None)
    assert not ex.park(CLOSE, lambda: None)
    assert ex.park(WRITE, lambda: None)


# ---- another protocol ----

UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"


def test_switching_answers_101_and_carries_raw_bytes_both_ways() -> None:
    ex, channel = exchange(b"one", b"two", b"", head=UPGRADE)
    ex.switch([(b"upgrade", b"echo"), (b"content-length", b"5"), (b"connection", b"close")])
    head, _, rest = channel.sent.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 101 Switching Protocols"
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert sorted(names) == [b"connection", b"date", b"server", b"upgrade"]
    assert b"connection: Upgrade" in head
    assert (rest, ex.switched, channel.endless) == (b"", True, True)
    assert [ex.read(), ex.read(), ex.read(), ex.read()] == [b"one", b"two", b"", b""]
    assert ex.send(b"three", True)
    assert ex.send(b"", True)
    assert ex.send(b"four", False)
    assert channel.sent == head + b"\r\n\r\nthreefour"
    assert (channel.keep_alive, ex.complete, ex.bytes_sent) == (False, True, 9)
    with pytest.raises(ClientGone):
        ex.send(b"five", True)


def test_a_switched_connection_that_breaks_is_no_end() -> None:
    ex, channel = exchange(head=UPGRADE)
    ex.switch([])
    assert ex.read() is None
    channel.broken = True
    with pytest.raises(ClientGone):
        ex.read()


def test_giving_up_behind_a_switch_is_a_reset() -> None:
    ex, channel = exchange(head=UPGRADE)
    ex.switch([])
    before = channel.sent
    ex.fail(500, "not said")
    assert (channel.sent, channel.aborted) == (before, True)


@pytest.mark.parametrize("what", ["answered", "with a body", "in HTTP/1.0"])
def test_what_cannot_switch(what: str) -> None:
    head = UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0") if what == "in HTTP/1.0" else UPGRADE
    ex, channel = exchange(head=head, body=LengthBody(2 if what == "with a body" else 0))
    if what == "answered":
        ex.start(composed(200))
    with pytest.raises(ResponseError):
        ex.switch([])
    assert (channel.sent, ex.switched) == (b"", False)


def test_no_field_of_a_switch_can_hold_another() -> None:
    ex, channel = exchange(head=UPGRADE)
    with pytest.raises(ResponseError):
        ex.switch([(b"upgrade", b"echo\r\nset-cookie: a=b")])
    assert (channel.sent, ex.status) == (b"", 0)


# ---- framing ----


def test_one_block_gets_its_length() -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("X-A", "b")))
    assert ex.send(b"hello", False)
    response, body = understood(channel)
    assert (response.status_code, body) == (200, b"hello")
    assert headers(response)[b"content-length"] == b"5"
    assert headers(response)[b"x-a"] == b"b"
    assert b"connection" not in headers(response)
    assert (channel.keep_alive, ex.complete, ex.bytes_sent) == (True, True, 5)


def test_several_blocks_are_chunked() -> None:
    ex, channel = exchange()
    ex.start(composed(200))
    for block in (b"he", b"", b"llo"):
        ex.send(block, True)
    ex.send(b"", False)
    response, body = understood(channel)
    assert body == b"hello"
    assert headers(response)[b"transfer-encoding"] == b"chunked"
    assert (channel.keep_alive, ex.bytes_sent) == (True, 5)


def test_http_10_has_no_chunks() -> None:
    ex, channel = exchange(head=b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n")
    ex.start(composed(200))
    ex.send(b"he", True)
    ex.send(b"llo", False)
    response, body = understood(channel)
    assert body == b"hello"
    assert b"transfer-encoding" not in headers(response)
    assert channel.keep_alive is False


@pytest.mark.parametrize("fail", [False, True])
def test_http_10_is_told_that_the_connection_stays(fail: bool) -> None:
    ex, channel = exchange(head=b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n")
    if fail:
        ex.fail(503, "busy")
    else:
        ex.start(composed(200))
        ex.send(b"hello", False)
    said = headers(understood(channel)[0]).get(b"connection", b"close")
    assert (said, channel.keep_alive) in [(b"keep-alive", True), (b"close", False)]


def test_the_framing_is_ours() -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Transfer-Encoding", "gzip"), ("Connection", "keep-alive"), ("Content-Length", "5")))
    ex.send(b"hello", False)
    response, body = understood(channel)
    assert body == b"hello"
    assert b"transfer-encoding" not in headers(response)
    assert b"connection" not in headers(response)


def test_the_application_may_close() -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Connection", "Close")))
    ex.send(b"hello", False)
    assert headers(understood(channel)[0])[b"connection"] == b"close"
    assert channel.keep_alive is False


def test_date_and_server_of_the_application_replace_ours() -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Date", "today"), ("Server", "mine")))
    ex.send(b"", False)
    assert channel.sent.lower().count(b"\r\ndate:") == 1
    assert channel.sent.lower().count(b"\r\nserver:") == 1
    assert b"eitherway" not in channel.sent


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 304)])
@pytest.mark.parametrize("more", [False, True])
def test_answers_without_a_body(method: str, status: int, more: bool) -> None:
    ex, channel = exchange(head=f"{method} / HTTP/1.1\r\nHost: x\r\n".encode())
    ex.start(composed(status, ("Content-Length", "5")))
    if more:
        ex.send(b"he", True)
        ex.send(b"llo", False)
    else:
        ex.send(b"hello", False)
    assert channel.sent.endswith(b"\r\n\r\n")
    response, body = understood(channel, method)
    assert (response.status_code, body) == (status, b"")
    assert (b"content-length" in headers(response)) == (status != 204)
    assert (channel.keep_alive, ex.bytes_sent, channel.faults) == (True, 0, [])


def test_head_without_a_length() -> None:
    ex, channel = exchange(head=b"HEAD / HTTP/1.1\r\nHost: x\r\n")
    ex.start(composed(200))
    ex.send(b"hello", False)
    assert understood(channel, "HEAD")[1] == b""
    assert channel.keep_alive is True


@pytest.mark.parametrize("blocks", [[b"hello world"], [b"hello", b" world"], [b"hell", b"o", b" wor", b"l", b"d"]])
def test_a_body_longer_than_its_length_is_cut(blocks: list[bytes]) -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Content-Length", "5")))
    for block in blocks:
        ex.send(block, True)
    ex.send(b"", False)
    assert understood(channel)[1] == b"hello"
    assert len(channel.faults) == 1  # though more than one block was cut off
    assert "longer" in channel.faults[0]
    assert (channel.keep_alive, ex.bytes_sent) == (True, 5)


@pytest.mark.parametrize("blocks", [[], [b"hel"], [b"h", b"el"]])
@pytest.mark.parametrize("more", [False, True])
def test_a_body_shorter_than_its_length_closes(blocks: list[bytes], more: bool) -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Content-Length", "5")))
    for block in blocks[: None if more else -1]:
        ex.send(block, True)
    ex.send(b"" if more or not blocks else blocks[-1], False)
    assert channel.keep_alive is False
    assert "shorter" in channel.faults[0]
    with pytest.raises(h11.RemoteProtocolError):
        understood(channel)


@pytest.mark.parametrize(
    "pairs",
    [
        [("Content-Length", "-5")],
        [("Content-Length", "five")],
        [("Content-Length", "")],
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("content-length", "5, 5")],
    ],
)
def test_a_bad_length_of_the_application(pairs: list[tuple[str, str]]) -> None:
    ex, channel = exchange()
    with pytest.raises(ResponseError):
        ex.start(composed(200, *pairs))
    assert (channel.sent, ex.begun) == (b"", False)
    ex.fail(500, "failed")
    assert understood(channel)[0].status_code == 500


def test_the_same_length_twice_is_sent_once() -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Content-Length", "5"), ("Content-Length", "5")))
    ex.send(b"hello", False)
    assert channel.sent.lower().count(b"content-length") == 1
    assert understood(channel)[1] == b"hello"


@pytest.mark.parametrize("status", [-1, 0, 100, 101, 103, 199, 1000])
def test_a_response_starts_with_a_final_status(status: int) -> None:
    ex, channel = exchange()
    with pytest.raises(ResponseError):
        ex.start(composed(status))
    assert channel.sent == b""


def test_a_reason_cannot_smuggle_a_field() -> None:
    ex, channel = exchange()
    with pytest.raises(ResponseError):
        ex.start(composed(200, reason=b"OK\r\nX-Evil: 1"))
    ex.fail(500, "failed")
    assert b"Evil" not in channel.sent


def test_a_body_needs_a_start_and_an_end_is_the_end() -> None:
    ex, channel = exchange()
    with pytest.raises(ResponseError):
        ex.send(b"hello", True)
    ex.start(composed(200))
    ex.send(b"hello", False)
    with pytest.raises(ClientGone):
        ex.send(b"more", False)
    assert understood(channel)[1] == b"hello"


def test_large_blocks_are_not_lost() -> None:
    ex, channel = exchange()
    ex.start(composed(200))
    ex.send(b"a" * 200_000, False)
    assert understood(channel)[1] == b"a" * 200_000


def test_a_client_that_does_not_take_its_answer() -> None:
    ex, channel = exchange()
    channel.room = False
    ex.start(composed(200))
    assert not ex.send(b"a", True)
    assert not ex.flush()
    channel.room = True
    assert ex.flush()


# ---- unread bodies ----


@pytest.mark.parametrize(
    ("body", "stays"),
    [
        (LengthBody(100), True),
        (LengthBody(65536), True),
        (LengthBody(65537), False),
        (ChunkedBody(0), False),
    ],
)
@pytest.mark.parametrize("answer", ["send", "stream", "fail"])
def test_an_early_answer_keeps_the_connection_only_behind_a_small_body(body: Body, stays: bool, answer: str) -> None:
    ex, channel = exchange(head=b"POST / HTTP/1.1\r\nHost: x\r\n", body=body)
    if answer == "fail":
        ex.fail(413, "too large")
    else:
        ex.start(composed(200))
        if answer == "stream":
            ex.send(b"a", True)
        ex.send(b"b", False)
    response, _ = understood(channel)
    assert channel.keep_alive is stays
    if answer != "stream":
        assert (headers(response).get(b"connection") == b"close") is not stays


# ---- failing ----


def test_fail_before_the_start_and_before_the_head_went_out() -> None:
    for started in (False, True):
        ex, channel = exchange()
        if started:
            ex.start(composed(200, ("X-A", "secret")))
        ex.fail(500, "the application failed")
        response, body = understood(channel)
        assert response.status_code == 500
        assert b"the application failed" in body
        assert b"secret" not in channel.sent
        assert (ex.status, ex.complete, channel.keep_alive) == (500, True, True)


def test_fail_of_head_has_no_body() -> None:
    ex, channel = exchange(head=b"HEAD / HTTP/1.1\r\nHost: x\r\n")
    ex.fail(500, "the application failed")
    response, body = understood(channel, "HEAD")
    assert (response.status_code, body) == (500, b"")


@pytest.mark.parametrize("pairs", [[], [("Content-Length", "10")]])
def test_fail_in_the_middle_is_seen_by_the_client(pairs: list[tuple[str, str]]) -> None:
    ex, channel = exchange()
    ex.start(composed(200, *pairs))
    ex.send(b"hello", True)
    ex.fail(500, "the application failed")
    assert ex.complete
    assert channel.keep_alive is False
    with pytest.raises(h11.RemoteProtocolError):
        understood(channel)


def test_fail_in_the_middle_of_a_body_without_an_end_resets() -> None:
    ex, channel = exchange(head=b"GET / HTTP/1.0\r\n", keep_alive=False)
    ex.start(composed(200))
    ex.send(b"hello", True)
    ex.fail(500, "the application failed")
    assert channel.aborted


def test_fail_twice_and_fail_behind_the_end_do_nothing() -> None:
    ex, channel = exchange()
    ex.start(composed(200))
    ex.send(b"hello", False)
    sent = channel.sent
    ex.fail(500, "late")
    ex.fail(500, "later")
    assert channel.sent == sent


# ---- interim answers, trailers, files ----


def test_early_hints() -> None:
    ex, channel = exchange()
    ex.inform(103, [(b"link", b"</a.css>; rel=preload")])
    ex.start(composed(200))
    ex.send(b"", False)
    assert channel.sent.startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
    )
    assert understood(channel)[0].status_code == 200


def test_no_early_hints_in_http_10_nor_behind_the_head() -> None:
    ex, channel = exchange(head=b"GET / HTTP/1.0\r\n")
    ex.inform(103, [(b"link", b"<a>")])
    assert channel.sent == b""
    ex, channel = exchange()
    ex.start(composed(200))
    ex.send(b"a", True)
    sent = channel.sent
    ex.inform(103, [(b"link", b"<a>")])
    assert channel.sent == sent


def test_early_hints_cannot_smuggle() -> None:
    ex, channel = exchange()
    with pytest.raises(ResponseError):
        ex.inform(103, [(b"link", b"<a>\r\n\r\nHTTP/1.1 200 OK")])
    assert channel.sent == b""


ASKS_FOR_TRAILERS = b"GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n"


def test_trailers() -> None:
    ex, channel = exchange(head=ASKS_FOR_TRAILERS)
    ex.start(composed(200))
    ex.send(b"hello", True)
    ex.send_trailers([(b"x-sum", b"1")])
    assert channel.sent.endswith(b"\r\n0\r\nx-sum: 1\r\n\r\n")
    assert understood(channel)[1] == b"hello"


def test_trailers_nobody_asked_for_are_dropped() -> None:
    ex, channel = exchange()
    ex.start(composed(200))
    ex.send(b"hello", True)
    ex.send_trailers([(b"x-sum", b"1")])
    assert channel.sent.endswith(b"\r\n0\r\n\r\n")


def test_trailers_cannot_smuggle() -> None:
    ex, _ = exchange(head=ASKS_FOR_TRAILERS)
    ex.start(composed(200))
    ex.send(b"hello", True)
    with pytest.raises(ResponseError):
        ex.send_trailers([(b"x", b"1\r\n\r\nHTTP/1.1 200 OK")])


def test_trailers_without_chunks_are_dropped() -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Content-Length", "5")))
    ex.send(b"hello", True)
    ex.send_trailers([(b"x-sum", b"1")])
    assert understood(channel)[1] == b"hello"
    assert b"x-sum" not in channel.sent
    assert channel.keep_alive is True


@pytest.mark.parametrize(
    ("method", "pairs", "size", "sent"),
    [("GET", [], 10, 10), ("GET", [("Content-Length", "4")], 10, 4), ("HEAD", [], 10, 0), ("GET", [], 0, 0)],
)
def test_files(method: str, pairs: list[tuple[str, str]], size: int, sent: int) -> None:
    ex, channel = exchange(head=f"{method} / HTTP/1.1\r\nHost: x\r\n".encode())
    ex.start(composed(200, *pairs))
    ex.send_file(7, 3, size)
    assert channel.files == [(7, 3, sent)]
    assert (ex.bytes_sent, channel.keep_alive) == (sent, True)


def test_a_file_shorter_than_its_length() -> None:
    ex, channel = exchange()
    ex.start(composed(200, ("Content-Length", "100")))
    ex.send_file(7, 0, 10)
    assert channel.keep_alive is False
    assert "shorter" in channel.faults[0]
