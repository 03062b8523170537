"""What a client's socket does with bytes and files that cannot be sent."""

from __future__ import annotations

import os
import socket
import tempfile

import pytest

from eitherway.config import Config
from eitherway.errors import ClientGone
from eitherway.http.exchange import Exchange
from eitherway.http.response import compose
from eitherway.net.poller import Poller
from eitherway.net.stream import Stream
from in_process import InProcess


def test_a_file_for_a_client_that_has_gone_is_closed() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 10)
        file.flush()
        fd = os.dup(file.fileno())
    poller = Poller()
    stream = Stream(ours, Config(), poller, deadline=0.0)
    with pytest.raises(ClientGone):
        stream.write_file(b"head", fd, 0, 10)
    stream.drop_pending()
    with pytest.raises(OSError):
        os.fstat(fd)
    ours.close()
    poller.close()


def test_others_have_their_turn_while_a_client_takes_a_large_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes all as fast as it is sent would otherwise keep the thread that serves everybody."""
    size, sent = 50 << 20, []

    def sendfile(out: int, fd: int, offset: int, count: int) -> int:
        assert offset == sum(sent)
        sent.append(count)
        return count

    monkeypatch.setattr(os, "sendfile", sendfile)
    with InProcess() as server, tempfile.TemporaryFile() as file:

        def answer(exchange: Exchange, body: bytes) -> None:
            exchange.start(compose(200, []))
            exchange.send_file(os.dup(file.fileno()), 0, size)

        monkeypatch.setattr(server, "_answer", answer)
        server.client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for turns in range(1, 1000):
            server.poller.turn(0)
            assert sum(sent) <= turns * (4 << 20)
            if server.connection.idle and sent:
                break
        assert sum(sent) == size
