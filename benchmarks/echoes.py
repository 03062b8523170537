"""The load generator for WebSockets: every client sends a message, waits for its echo, and sends the next.

Run with the URL, the number of clients and the seconds; prints one JSON object. All frames are made before the start,
and of what comes back only the length is looked at, save for the first: so that this program costs less than a server.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

SIZE = 64  # bytes of a message
PATIENCE = 10.0  # seconds for the opening handshakes
MASK = b"\x17\x2a\x3f\x80"
MESSAGE = b"x" * SIZE
FRAME = bytes((0x81, 0x80 | SIZE)) + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(MESSAGE))
ECHO = bytes((0x81, SIZE)) + MESSAGE
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: benchmark\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass
class Client:
    socket: socket.socket
    sent_at: float = 0.0

    def open(self) -> None:
        """Shake hands, and see that an echo is one. Raises OSError."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(HANDSHAKE)
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = self.socket.recv(4096)
            if not received:
                raise ConnectionError("the server closed the connection in the handshake")
            answer += received
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"the server does not open a WebSocket: {answer[:80]!r}")
        self.socket.sendall(FRAME)
        if self.socket.recv(len(ECHO), socket.MSG_WAITALL) != ECHO:
            raise ConnectionError("the server sends something else back")
        self.socket.setblocking(False)


def echo(clients: list[Client], seconds: float) -> tuple[list[float], int, int]:
    """Run for some seconds; latencies in seconds, echoes of another length, and connections that were lost."""
    poll = select.epoll()
    by_fd = {client.socket.fileno(): client for client in clients}
    for fd, client in by_fd.items():
        poll.register(fd, select.EPOLLIN)
        client.sent_at = time.monotonic()
        client.socket.send(FRAME)
    times: list[float] = []
    wrong = lost = 0
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end and by_fd:
        for fd, _ in poll.poll(end - now):
            client = by_fd[fd]
            received = client.socket.recv(4096)
            now = time.monotonic()
            if len(received) == len(ECHO):
                times.append(now - client.sent_at)
                client.sent_at = now
                client.socket.send(FRAME)
                continue
            wrong, lost = wrong + bool(received), lost + (not received)
            poll.unregister(fd)
            del by_fd[fd]
    return times, wrong, lost


def main() -> None:
    parts, count, seconds = urlsplit(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    clients = []
    for _ in range(count):
        client = Client(socket.create_connection((parts.hostname, parts.port or 80), PATIENCE))
        client.open()
        clients.append(client)
    times, wrong, lost = echo(clients, seconds)
    ordered = [each * 1000 for each in sorted(times)] or [0.0]
    print(
        json.dumps(
            {
                "rate": len(times) / seconds,
                "p50_ms": ordered[len(ordered) // 2],
                "p99_ms": ordered[len(ordered) * 99 // 100],
                "requests": len(times),
                "errors": {"read": lost, "status": wrong},
            }
        )
    )


if __name__ == "__main__":
    main()
