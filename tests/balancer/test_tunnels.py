"""WebSocket handshakes that pass through the balancer, and the bytes that follow. The worker is the test's."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet import BalancerProcess

from serving import PATIENCE, Client, wait_until

HANDSHAKE = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Worker:
    """Listens on a Unix socket; `accept` gives the next connection and the head that came on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(PATIENCE)
        self.connections: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, bytes]:
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        self.connections.append(connection)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        return connection, head

    def close(self) -> None:
        for each in (self.listener, *self.connections):
            each.close()


Tunnel = Callable[..., tuple[Client, socket.socket, bytes]]


@pytest.fixture
def balancer() -> Iterator[BalancerProcess]:
    process = BalancerProcess(response_buffer=65536)
    yield process
    process.end()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path / "1.sock")
    yield worker
    worker.close()


@contextlib.contextmanager
def connected(balancer: BalancerProcess) -> Iterator[Client]:
    with Client(socket.create_connection(("127.0.0.1", balancer.port), timeout=PATIENCE)) as client:
        yield client


@pytest.fixture
def tunnel(balancer: BalancerProcess, worker: Worker) -> Iterator[Tunnel]:
    """A client and the worker's end of its connection, after the handshake; and the head that the worker got."""
    with contextlib.ExitStack() as stack:

        def open(*, loop: bool = True, slots: int = 1, more: bytes = b"") -> tuple[Client, socket.socket, bytes]:
            balancer.tell(add=1, path=str(worker.path), slots=slots, loop=loop)
            client = stack.enter_context(connected(balancer))
            client.send(HANDSHAKE + more)
            end, head = worker.accept()
            end.sendall(SWITCHED)
            answer = client.read_until(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert answer.lower().count(b"\r\ndate:") == answer.lower().count(b"\r\nconnection: upgrade\r\n") == 1
            assert b"\r\nupgrade: websocket\r\nsec-websocket-accept: " in answer or (
                b"\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nupgrade: websocket\r\n" in answer
            )
            return client, end, head

        yield open


def read(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := end.recv(1 << 20)):
        data += part
    return data


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


def test_the_handshake_and_what_follows_arrive(tunnel: Tunnel) -> None:
    client, end, head = tunnel(more=b"\x81\x80early")
    assert b"\r\nconnection: Upgrade\r\nupgrade: websocket\r\n" in head
    assert head.count(b"Sec-WebSocket-Key") + head.count(b"sec-websocket-key") == 1
    rest = head.partition(b"\r\n\r\n")[2]
    assert rest + read(end, 7 - len(rest)) == b"\x81\x80early"
    blocks = bytes(range(256)) * 16384  # 4 MiB
    writers = [threading.Thread(target=send, args=(blocks,)) for send in (end.sendall, client.send)]
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read(end, len(blocks))))
    for thread in (*writers, reader):
        thread.start()
    assert client.read_exactly(len(blocks)) == blocks
    for thread in (*writers, reader):
        thread.join()
    assert received == [blocks]


def test_a_client_that_closes_its_side_still_gets_the_last_words(tunnel: Tunnel) -> None:
    client, end, _ = tunnel()
    client.send(b"bye")
    client.finish()
    assert read(end, 100) == b"bye"
    end.sendall(b"farewell")
    end.close()
    assert client.read_all() == b"farewell"


def test_a_worker_that_closes_ends_the_connection(tunnel: Tunnel, balancer: BalancerProcess) -> None:
    client, end, _ = tunnel()
    end.sendall(b"last")
    end.close()
    assert client.read_all() == b"last"
    client.__exit__()
    wait_until(lambda: balancer.snapshot()["connections"] == 0)


def test_a_client_that_breaks_off_is_told_to_the_worker(tunnel: Tunnel) -> None:
    client, end, _ = tunnel()
    reset(client)
    assert read(end, 100) == b""


def test_a_tunnel_holds_a_thread_but_no_place_on_a_loop(
    tunnel: Tunnel, balancer: BalancerProcess, worker: Worker
) -> None:
    _, end, _ = tunnel(loop=False)
    with connected(balancer) as other:
        other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: balancer.snapshot()["queued"] == 1)
        end.close()
        worker.accept()[0].sendall(PLAIN)
        assert other.response().body == b"ok"


def test_on_a_loop_requests_go_on_beside_tunnels(tunnel: Tunnel, balancer: BalancerProcess, worker: Worker) -> None:
    client, end, _ = tunnel(loop=True)
    with connected(balancer) as other:
        other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        worker.accept()[0].sendall(PLAIN)
        assert other.response().body == b"ok"
    balancer.tell(remove=1)
    assert balancer.hear("removed") == {"removed": 1}
    end.sendall(b"still here")
    assert client.read_exactly(10) == b"still here"
    end.close()
    assert client.read_all() == b""
    assert balancer.snapshot()["running"] == 0


def test_a_slow_client_holds_the_worker_up_and_no_memory(tunnel: Tunnel, balancer: BalancerProcess) -> None:
    _, end, _ = tunnel()
    end.setblocking(False)
    sent, quiet = 0, 0
    while quiet < 20 and sent < 64 << 20:
        try:
            sent += end.send(b"x" * 65536)
            quiet = 0
        except BlockingIOError:
            balancer.snapshot()  # a turn of the balancer
            quiet += 1
    assert sent < 32 << 20


@pytest.mark.parametrize(
    "request_",
    [
        HANDSHAKE.replace(b"WebSocket", b"h2c", 1),
        HANDSHAKE.replace(b", Upgrade", b"", 1),
        HANDSHAKE.replace(b"Upgrade: WebSocket\r\n", b"", 1),
        HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        HANDSHAKE.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nab"),
        HANDSHAKE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
    ids=["another protocol", "not for this hop", "no protocol", "HTTP/1.0", "a body", "an empty body"],
)
def test_no_other_upgrade_is_passed_on(request_: bytes, balancer: BalancerProcess, worker: Worker) -> None:
    balancer.tell(add=1, path=str(worker.path), slots=1)
    with connected(balancer) as client:
        client.send(request_)
        for _ in range(2):  # it is run again once
            end, head = worker.accept()
            assert b"upgrade:" not in head.lower()
            end.sendall(SWITCHED)
        assert client.response().status == 502


def test_a_handshake_that_is_refused_is_an_answer_like_others(balancer: BalancerProcess, worker: Worker) -> None:
    balancer.tell(add=1, path=str(worker.path), slots=1)
    with connected(balancer) as client:
        client.send(HANDSHAKE)
        end, _ = worker.accept()
        end.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        response = client.response()
        assert (response.status, response.body) == (403, b"no")
