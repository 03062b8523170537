"""A client process that opens many keep-alive connections, sends one request on each, then holds them.

It prints `open N` when all have been answered, waits until its stdin is closed, then prints `alive N`: how
many of them the server has kept. Run with the host, the port and the number of connections.
"""

from __future__ import annotations

import re
import socket
import struct
import sys

REQUEST = b"GET / HTTP/1.1\r\nHost: benchmark\r\n\r\n"
LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
SECONDS = 10.0
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER: leave no thousands of ports waiting behind us


def open_one(host: str, port: int) -> socket.socket:
    """One connection, its request sent and its answer read."""
    client = socket.create_connection((host, port), SECONDS)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    client.sendall(REQUEST)
    received = b""
    while not is_complete(received):
        data = client.recv(4096)
        if not data:
            raise ConnectionError("closed before it answered")
        received += data
    client.setblocking(False)
    return client


def is_complete(received: bytes) -> bool:
    """Whether an answer of known length is there whole."""
    head, found, body = received.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return bool(found) and length is not None and len(body) >= int(length.group(1))


def is_alive(client: socket.socket) -> bool:
    """Whether the server has neither closed the connection nor sent anything more."""
    try:
        client.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def main() -> None:
    host, port, wanted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    clients: list[socket.socket] = []
    problem = ""
    for _ in range(wanted):
        try:
            clients.append(open_one(host, port))
        except OSError as error:
            problem = f" {error}"
            break
    print(f"open {len(clients)}{problem}", flush=True)
    sys.stdin.read()
    print(f"alive {sum(map(is_alive, clients))}", flush=True)


if __name__ == "__main__":
    main()
