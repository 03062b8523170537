"""Starting the real server as a user does, and talking to it with raw bytes. Used by conftest.py and by tests."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11

APPS = Path(__file__).parent / "apps"
ASYNCIO_ENGINES = ("sync", "threads", "asyncio", "uvloop", "twisted")  # whose ASGI is on a loop of asyncio's kind
OTHER_LOOPS = ("trio", "curio") if sys.version_info < (3, 12) else ("trio",)  # Curio does not know newer ones
# One engine for each way of waiting: for tests that say more of an interface than of an engine.
WSGI_KINDS = ("sync", "threads", "gevent", "eventlet", "asyncio")
ASGI_KINDS = ("sync", "threads", "asyncio", "uvloop", *OTHER_LOOPS)
ANYIO_ENGINES = (*ASYNCIO_ENGINES, "trio")  # on which FastAPI and Starlette run
WSGI_ENGINES = ("sync", "threads", "gevent", "eventlet", "asyncio", "uvloop", "twisted", *OTHER_LOOPS)
ASGI_ENGINES = (*ASYNCIO_ENGINES, *OTHER_LOOPS)
PATIENCE = 20.0  # seconds until a condition that should come true is given up


class Server:
    """`eitherway serve APP --engine ENGINE OPTIONS...` in a process of its own."""

    def __init__(
        self,
        app: str,
        engine: str,
        *options: str,
        bind: str = "127.0.0.1:0",
        env: dict[str, str] | None = None,
    ):
        self.engine = engine
        self.directory = tempfile.TemporaryDirectory(prefix="eitherway-test-")
        command = [sys.executable, "-m", "eitherway", "serve", app, "--engine", engine, "--chdir", str(APPS)]
        command += ["--bind", bind, *options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )
        self._out: list[str] = []
        self._err: list[str] = []
        self._readers = [
            threading.Thread(target=self._follow, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self._out), (self.process.stderr, self._err))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _follow(stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.decode("utf-8", "replace"))

    @property
    def log(self) -> str:
        """What the server has written to stderr."""
        return "".join(self._err)

    @property
    def out(self) -> str:
        return "".join(self._out)

    def wait_ready(self) -> Server:
        wait_until(lambda: " serves " in self.log or self.process.poll() is not None)
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
        return self

    def notes(self, key: str) -> list[str]:
        """What the application has noted under `key` (apps/notes.py), in order."""
        prefix = f"note {key} "
        return [line.removeprefix(prefix).rstrip("\n") for line in list(self._err) if line.startswith(prefix)]

    def memory(self, name: str) -> int:
        """A figure of /proc/PID/status in bytes: VmRSS, or VmHWM for the most there ever was."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert match, status
        return int(match[1]) * 1024

    def open_files(self) -> list[str]:
        """Where the server's descriptors lead."""
        found = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found.append(str(link.readlink()))
            except OSError:
                pass  # closed meanwhile
        return found

    @property
    def address(self) -> tuple[str, int]:
        match = re.search(r"http://(\[[^]]+\]|[^:]+):(\d+)", self.log)
        assert match, self.log
        return match[1].strip("[]"), int(match[2])

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> Client:
        return Client(socket.create_connection(self.address, timeout=PATIENCE))

    def ask(self, target: str, method: str = "GET", *fields: str, **more: Any) -> Response:
        """One request on a connection of its own, and the response to it."""
        with self.connect() as client:
            return client.ask(target, method, *fields, **more)

    def exchange(self, data: bytes) -> bytes:
        """Send raw bytes, close our side, and return everything that comes until the server closes its side."""
        with self.connect() as client:
            client.send(data)
            client.finish()
            return client.read_all()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the server and wait for its end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end:\n{self.log}") from None
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        self.directory.cleanup()


Start = Callable[..., Server]  # what the fixtures `own_server` and `shared_server` give


def request_bytes(
    target: str, method: str = "GET", *fields: str, body: bytes = b"", chunks: int = 0, version: str = "1.1"
) -> bytes:
    """A request as bytes; a body goes with its Content-Length, or in chunks of `chunks` bytes."""
    head = [f"{method} {target} HTTP/{version}", "Host: test", *fields]
    if chunks:
        head.append("Transfer-Encoding: chunked")
        body = chunked(body, chunks)
    elif body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks of `size` bytes (RFC 9112 section 7.1)."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class Client:
    """A socket with the few verbs that tests of raw HTTP need."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, target: str, method: str = "GET", *fields: str, **more: Any) -> Response:
        """Send a request and read the response to it."""
        self.send(request_bytes(target, method, *fields, **more))
        return self.response(method)

    def finish(self) -> None:
        """Close our side only."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has closed already

    def read_all(self) -> bytes:
        """Everything until the server closes its side. A reset raises."""
        while data := self.socket.recv(65536):
            self.buffer += data
        data, self.buffer = self.buffer, b""
        return data

    def read_until(self, marker: bytes) -> bytes:
        while marker not in self.buffer:
            data = self.socket.recv(65536)
            assert data, f"the connection was closed before {marker!r}: {self.buffer!r}"
            self.buffer += data
        end = self.buffer.index(marker) + len(marker)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    def read_exactly(self, size: int) -> bytes:
        """So many bytes; what came behind them stays in `buffer`."""
        parts, have = [self.buffer], len(self.buffer)
        while have < size:
            parts.append(self.socket.recv(65536))
            assert parts[-1], f"the connection was closed with {size - have} bytes missing"
            have += len(parts[-1])
        data = b"".join(parts)
        self.buffer = data[size:]
        return data[:size]

    def response(self, method: str = "GET") -> Response:
        """Read exactly one response (h11 judges every byte of it)."""
        return read_response(self, method)

    def is_closed(self) -> bool:
        """Wait for the server to close its side without another byte."""
        return self.buffer == b"" and self.socket.recv(1) == b""

    def is_quiet(self) -> bool:
        """Whether nothing is there to be read now."""
        return not self.buffer and not select.select([self.socket], [], [], 0)[0]


class Response:
    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, interim: list[Any], trailers: Any):
        self.status = status
        self.raw = headers
        self.headers = {name.decode(): value.decode("latin-1") for name, value in headers}
        self.body = body
        self.interim = interim
        self.trailers = trailers

    @property
    def text(self) -> str:
        return self.body.decode()


def read_response(client: Client, method: str = "GET") -> Response:
    """Read one response with h11 in the client's role; the bytes behind it stay in `client.buffer`."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    body, interim, final = b"", [], None
    if client.buffer:
        reader.receive_data(client.buffer)
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            reader.receive_data(client.socket.recv(65536))
        elif isinstance(event, h11.InformationalResponse):
            interim.append(event)
        elif isinstance(event, h11.Response):
            final = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            client.buffer = reader.trailing_data[0]
            assert final is not None
            return Response(final.status_code, list(final.headers), body, interim, list(event.headers))
        else:
            raise AssertionError(f"unexpected {event!r}")


def wait_until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for a condition, looking often; fail when it does not come true."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)
