"""net/connection.py over a socket pair: states, time-outs, limits, clients that leave."""

from __future__ import annotations

import socket
import struct

import pytest

from eitherway.config import Config
from eitherway.errors import ClientGone
from eitherway.http.exchange import READ, WRITE, Exchange
from eitherway.http.response import compose
from eitherway.net.stream import CLOSED, COLLECTING, LINGERING, NEVER, READING
from in_process import InProcess

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
RESET = struct.pack("ii", 1, 0)


def get(path: str = "") -> bytes:
    return GET % path.encode()


def paths(server: InProcess) -> list[str]:
    return [request["path"] for request in server.requests]


def expire(server: InProcess) -> None:
    """Let the connection's time-out pass now."""
    assert server.connection.deadline != NEVER, "no time-out is running"
    server.connection.deadline = 0.0
    server.service.sweep()
    server.settle()


def unsettled(server: InProcess, data: bytes) -> None:
    """Send, and let the server see it in one turn only."""
    server.client.sendall(data)
    server.poller.turn(0)


def test_an_answer_and_the_next_request() -> None:
    with InProcess() as server:
        server.send(get("a"))
        assert server.received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.connection.state == READING
        server.send(get("b"))
        assert paths(server) == ["/a", "/b"]
        assert server.connection.idle


def test_a_reader_on_a_unix_socket_does_not_wake_the_server_with_every_read() -> None:
    """A balancer reads every answer; what it wakes with that would cost as much as a request."""
    with InProcess() as server:
        unsettled(server, get())
        while server._has_work():
            server.poller.turn(0)
        assert server.client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        assert not server._has_work()


class Large(InProcess):
    """Answers with more than a socket holds, twice: the second time the first wait for room is over."""

    BODY = b"x" * 1_000_000

    def _answer(self, exchange: Exchange, body: bytes) -> None:
        exchange.start(compose(200, []))
        exchange.send(self.BODY, False)


def test_an_answer_goes_on_when_the_reader_has_made_room() -> None:
    with Large() as server:
        for _ in range(2):
            server.received = b""
            server.send(get())
            assert server.received.endswith(b"\r\n\r\n" + Large.BODY)
            assert server.connection.idle


@pytest.mark.parametrize("size", range(1, len(get()) + 1))
def test_a_start_of_any_size_is_waited_for(size: int) -> None:
    with InProcess() as server:
        server.send(get()[:size], get()[size:])
        assert paths(server) == ["/"]


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_pipeline_is_cut_into_the_same_requests_when_more_comes_meanwhile(pieces: int) -> None:
    """More bytes come after a request was answered and before the next, received already, is looked at."""
    with InProcess(queues=True, collects=True) as server:
        unsettled(server, get("1") + get("2") + get("3")[:9])
        server._run(server._queue.popleft())
        rest = get("3")[9:] + get("4")
        for start in range(0, len(rest), len(rest) // pieces):
            server.client.sendall(rest[start : start + len(rest) // pieces])
            server.poller.turn(0)
        server.settle()
        assert paths(server) == ["/1", "/2", "/3", "/4"]
        assert [request["fields"]["host"] for request in server.requests] == ["x"] * 4


def test_an_end_behind_a_pipeline_does_not_hide_what_was_received() -> None:
    """The client's end comes after a request was answered and before the next, received already, is looked at."""
    with InProcess(queues=True, collects=True) as server:
        unsettled(server, get("1") + get("2"))
        server._run(server._queue.popleft())
        server.finish()
        assert paths(server) == ["/1", "/2"]


def test_a_client_that_closes_its_side_behind_its_request_is_answered() -> None:
    with InProcess() as server:
        server.client.sendall(get("a") + get("b"))
        server.finish()
        assert paths(server) == ["/a", "/b"]
        assert server.received.count(b"HTTP/1.1 200 OK") == 2
        assert server.connection.state == CLOSED


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe",
        b"\r\n",
    ],
)
@pytest.mark.parametrize("collects", [False, True])
def test_a_client_that_closes_its_side_too_early_is_let_go(start: bytes, collects: bool) -> None:
    with InProcess(collects=collects) as server:
        server.client.sendall(start)
        server.finish()
        assert server.requests == []
        assert server.connection.state == CLOSED
        assert server.logged == ([("/", 499 if collects else 400)] if start.startswith(b"POST") else [])
        assert not server.service.connections
        assert not server.service.running


@pytest.mark.parametrize("size", [8192, 16384, 32768])
def test_a_request_behind_many_empty_lines(size: int) -> None:
    with InProcess() as server:
        server.client.sendall(b"\r\n" * (size // 2) + get("a"))
        server.settle()
        assert paths(server) == ["/a"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhe",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
@pytest.mark.parametrize("collects", [False, True])
def test_a_reset_in_every_state(sent: bytes, collects: bool) -> None:
    with InProcess(collects=collects) as server:
        server.send(sent)
        server.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.client.close()
        server.closed = True
        server.settle()
        assert server.connection.state == CLOSED
        assert not server.service.running


# ---- time-outs ----


def test_a_client_that_never_sends_is_closed_without_a_word() -> None:
    with InProcess() as server:
        expire(server)
        assert (server.received, server.closed) == (b"", True)


def test_a_head_that_takes_too_long() -> None:
    with InProcess() as server:
        server.send(b"GET / HTTP/1.1\r\n")
        deadline = server.connection.deadline
        server.send(b"A: b\r\n", b"C: d\r\n")
        assert server.connection.deadline == deadline, "a byte now and then must not prolong the time"
        expire(server)
        assert server.received.startswith(b"HTTP/1.1 408 ")
        assert server.closed


def test_a_body_that_takes_too_long_to_collect() -> None:
    with InProcess(collects=True) as server:
        server.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhe")
        assert server.connection.state == COLLECTING
        expire(server)
        assert server.received.startswith(b"HTTP/1.1 408 ")
        assert (server.closed, server.requests) == (True, [])


def test_a_body_that_takes_too_long_to_read() -> None:
    with InProcess() as server:
        server.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhe")
        expire(server)
        assert server.received.startswith(b"HTTP/1.1 408 ")
        assert (server.closed, server.requests) == (True, [])
        assert not server.service.running


def test_an_idle_connection() -> None:
    with InProcess() as server:
        server.send(get())
        answered = server.received
        expire(server)
        assert (server.received, server.closed) == (answered, True)


def test_a_client_that_does_not_close_behind_the_last_answer() -> None:
    with InProcess() as server:
        server.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert server.connection.state == LINGERING
        expire(server)
        assert server.connection.state == CLOSED
        assert not server.service.connections


def test_what_comes_behind_the_last_answer_is_dropped() -> None:
    with InProcess() as server:
        server.send(b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", get("never") * 5000, get("never"))
        assert paths(server) == ["/1"]
        assert server.connection.state == LINGERING
        server.finish()
        assert server.connection.state == CLOSED


# ---- another protocol ----


class Switched(InProcess):
    """A server that switches protocols; the test is what speaks the other one."""

    exchange: Exchange

    def _run(self, exchange: Exchange, body: bytes = b"") -> None:
        self.exchange = exchange
        exchange.switch([(b"upgrade", b"test")])

    def ask(self, behind: bytes = b"") -> None:
        self.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n" + behind)
        assert self.received.startswith(b"HTTP/1.1 101 ")
        self.received = b""

    def fill(self) -> None:
        """Send until the client's side is full, as it takes nothing; then wait for room."""
        while self.exchange.send(b"x" * 65536, True):
            pass
        while self.exchange.park(WRITE, lambda: self.events.append("writer")) is False:
            assert not self.exchange.flush()

    def park_reader(self) -> None:
        assert self.exchange.park(READ, lambda: self.events.append("reader"))

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self.events: list[str] = []


def test_bytes_behind_the_head_of_a_switch_are_the_other_protocols() -> None:
    with Switched() as server:
        server.ask(behind=b"GET /never HTTP/1.1\r\n\r\n")
        assert server.exchange.read() == b"GET /never HTTP/1.1\r\n\r\n"
        assert server.exchange.read() is None


def test_a_reader_and_a_writer_wait_at_once_and_only_the_writer_has_a_time_out() -> None:
    with Switched(Config(write_timeout=30)) as server:
        server.ask()
        server.park_reader()
        assert server.connection.deadline == NEVER
        server.exchange.wake_reader()
        server.fill()
        deadline = server.connection.deadline
        server.exchange.read()
        server.park_reader()
        assert server.connection.deadline == deadline != NEVER, "a reader leaves the writer's time alone"
        server.client.send(b"from a client that takes nothing")
        server.poller.turn(0)
        assert server.events[1:] == ["reader"]
        assert server.exchange.read() == b"from a client that takes nothing"
        assert server.connection.deadline == deadline, "sending is not taking"
        server.park_reader()
        server.exchange.unpark(READ)
        assert server.connection.deadline == deadline
        server.park_reader()
        server.connection.deadline = 0.0
        server.service.sweep()
        assert sorted(server.events[2:]) == ["reader", "writer"], "both learn that the connection is given up"
        with pytest.raises(ClientGone):
            server.exchange.flush()
        with pytest.raises(ClientGone):
            server.exchange.read()


def test_a_switched_connection_may_be_half_closed() -> None:
    with Switched() as server:
        server.ask()
        server.park_reader()
        server.finish()
        assert server.events == ["reader"]
        assert server.exchange.read() == b""
        assert server.exchange.send(b"still here", True)
        server.settle()
        assert (server.received, server.closed) == (b"still here", False)
        server.exchange.send(b", gone", False)
        server.settle()
        assert (server.received, server.closed) == (b"still here, gone", True)
        assert server.connection.state == CLOSED


# ---- limits ----


def test_requests_on_one_connection() -> None:
    with InProcess(Config(limit_keep_alive_requests=2)) as server:
        server.send(get("1") + get("2") + get("never"))
        assert paths(server) == ["/1", "/2"]
        assert server.received.count(b"connection: close") == 1
        assert server.closed


def test_requests_running_at_once() -> None:
    with InProcess(Config(limit_concurrency=1)) as server:
        server.service.running.add(object())  # type: ignore[arg-type]
        server.send(get("never"))
        assert server.received.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in server.received
        assert not server.closed
        server.service.running.clear()
        server.send(get("a"))
        assert paths(server) == ["/a"]


def test_turned_away() -> None:
    with InProcess() as server:
        server.connection.turn_away()
        server.settle()
        assert server.received.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in server.received
        assert server.closed


@pytest.mark.parametrize("collects", [False, True])
def test_a_body_larger_than_allowed(collects: bool) -> None:
    with InProcess(Config(limit_body=10), collects=collects) as server:
        server.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"6\r\nhello!\r\n",
        )
        assert server.received.startswith(b"HTTP/1.1 413 ")
        assert (server.closed, server.requests) == (True, [])


def test_a_refused_head_has_no_body() -> None:
    with InProcess() as server:
        server.send(b"HEAD / HTTP/1.1\r\n\r\n")
        assert server.received.startswith(b"HTTP/1.1 400 ")
        assert server.received.endswith(b"\r\n\r\n")


# ---- draining ----


def test_draining_closes_idle_connections_and_finishes_the_others() -> None:
    with InProcess() as server:
        server.send(get("a"))
        server.service.drain()
        server.settle()
        assert server.closed


def test_a_request_that_has_arrived_when_draining_begins_is_answered() -> None:
    with InProcess() as server:
        server.settle()
        server.client.sendall(get("a"))
        server.service.drain()
        server.settle()
        assert paths(server) == ["/a"]
        assert b"connection: close" in server.received
        assert server.closed
