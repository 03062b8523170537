"""Clients that send a byte a second, by the thousand: half of them at their head, half at their body."""

from __future__ import annotations

import resource
import socket
import threading
from itertools import cycle
from time import monotonic

_HEAD = b"GET /pid HTTP/1.1\r\nHost: x\r\nX-Slow: "
_BODY = b"POST /pid HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
_SPARE = 512  # descriptors for everything else


class SlowClients:
    """`with SlowClients(address, 1000): ...`. One that is answered or cut off is followed by another."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.address = address
        self.answered = 0  # or cut off, as the server may
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count + _SPARE:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + _SPARE, hard), hard))
        self._ended = threading.Event()
        self._sockets = [self._connect(number) for number in range(count)]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _connect(self, number: int) -> socket.socket:
        sock = socket.create_connection(self.address, 20)
        sock.sendall(_BODY if number % 2 else _HEAD)
        sock.setblocking(False)
        return sock

    def __enter__(self) -> SlowClients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)
        for sock in self._sockets:
            sock.close()

    def _run(self) -> None:
        """Spread over the second, so that they are no crowd of their own making."""
        began = monotonic()
        for sent, number in enumerate(cycle(range(len(self._sockets)))):
            if self._ended.wait(max(0.0, began + sent / len(self._sockets) - monotonic())):
                return
            if _is_answered(self._sockets[number]):
                self._follow(number)
            try:
                self._sockets[number].send(b"x")
            except OSError:
                self._follow(number)

    def _follow(self, number: int) -> None:
        self.answered += 1
        self._sockets[number].close()
        self._sockets[number] = self._connect(number)


def _is_answered(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a reset is an answer too
    return True
