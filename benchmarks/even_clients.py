"""A client process with many keep-alive connections, each of which asks again as soon as it has an answer.

Run with the host, the port, the number of connections and the seconds. Prints one JSON object: how many answers and how
many connections each of the server's processes had, as the field X-Worker of the answers names them.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter

from apps import WORKER_FIELD
from idle_clients import REQUEST, SECONDS, is_complete

WORKER = re.compile(rf"^{WORKER_FIELD}:\s*(\d+)".encode(), re.IGNORECASE | re.MULTILINE)
RECEIVE = 65536


def main() -> None:
    host, port, wanted, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    answers: Counter[str] = Counter()
    workers: dict[socket.socket, str] = {}
    lost = 0
    with selectors.DefaultSelector() as selector:
        received = {}
        for _ in range(wanted):
            client = socket.create_connection((host, port), SECONDS)
            received[client] = b""
            selector.register(client, selectors.EVENT_READ)
        for client in received:
            client.sendall(REQUEST)
        deadline = time.monotonic() + seconds
        while received and time.monotonic() < deadline:
            for key, _ in selector.select(SECONDS):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                data = client.recv(RECEIVE)
                if not data:
                    selector.unregister(client)
                    del received[client]
                    lost += 1
                    continue
                received[client] += data
                if is_complete(received[client]):
                    found = WORKER.search(received[client])
                    assert found is not None, received[client]
                    workers[client] = found[1].decode()
                    answers[workers[client]] += 1
                    received[client] = b""
                    client.sendall(REQUEST)
    print(json.dumps({"answers": answers, "connections": Counter(workers.values()), "lost": lost}))


if __name__ == "__main__":
    main()
