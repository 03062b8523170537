"""What a client's socket does with bytes and files that cannot be sent."""

from __future__ import annotations

import os
import socket
import tempfile

import pytest

from eitherway.config import Config
from eitherway.errors import ClientGone
from eitherway.net.poller import Poller
from eitherway.net.stream import Stream


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
