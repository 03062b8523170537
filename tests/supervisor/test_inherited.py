"""Listening sockets that systemd, or somebody else, has opened."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from supervising import eitherway

from serving import APPS

ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
if "fd://3" not in sys.argv:
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "eitherway", "serve", "supervised:app", *sys.argv[2:]])
"""


def answer(address: str | tuple[str, int]) -> bytes:
    """The status line of one request."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(20)
        client.connect(address)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(1000).partition(b"\r\n")[0]


@pytest.mark.parametrize("bind", [(), ("--bind", "fd://3")])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("workers", [1, 2])
def test_sockets_as_systemd_passes_them(tmp_path: Path, family: int, workers: int, bind: tuple[str, ...]) -> None:
    """They are not ours: when the server has ended the next connection starts it anew, and must find the file."""
    with socket.socket(family) as sock:
        sock.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "a.sock"))
        sock.listen(16)
        options = ["--chdir", str(APPS), "-w", str(workers), "--engine", "sync", *bind]
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(sock.fileno()), *options],
            pass_fds=[sock.fileno()], stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert answer(sock.getsockname()) == b"HTTP/1.1 200 OK"
        finally:
            process.terminate()
            assert process.stderr is not None
            log = process.stderr.read()
            assert process.wait(20) == 0, log
        with socket.socket(family) as client:
            client.connect(sock.getsockname())


def test_a_descriptor_as_bind() -> None:
    run = eitherway("serve", "supervised:app", "--bind", "fd://77")
    assert run.returncode == 5
    assert "fd://77" in run.stderr
