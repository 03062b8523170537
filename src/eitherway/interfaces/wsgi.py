"""WSGI (PEP 3333): an exchange as environ and start_response."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from eitherway.config import Config
from eitherway.errors import ResponseError
from eitherway.http.exchange import READ, WRITE, Address, Exchange
from eitherway.interfaces.base import Colour, Suspend, report, split_root

_STATUSES_REMEMBERED = 256
_statuses: dict[str, tuple[int, bytes]] = {}


class WSGIInterface:
    """Runs a WSGI application. `ended` is told of every exchange whose call has ended."""

    colour: Colour = "sync"
    suspend: Suspend

    def __init__(
        self, application: Callable[..., Any], config: Config, ended: Callable[[Exchange], None], *, multithread: bool
    ) -> None:
        self._application = application
        self._ended = ended
        self._root = config.root_path.rstrip("/")
        self._multithread = multithread
        self._bases: dict[Address | None, dict[str, Any]] = {}

    async def startup(self) -> None:
        """WSGI has no lifespan."""

    async def shutdown(self) -> None:
        """WSGI has no lifespan."""

    def __call__(self, exchange: Exchange) -> None:
        try:
            response = _Response(exchange, self.suspend)
            result = self._application(self._environ(exchange), response.start_response)
            try:
                response.deliver(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # SystemExit too: one request must not end the server
            report(exchange, error)
        finally:
            self._ended(exchange)

    def _environ(self, exchange: Exchange) -> dict[str, Any]:
        server = exchange.channel.server
        base = self._bases.get(server)
        if base is None:
            base = self._bases[server] = self._base(server)
        environ = base.copy()
        line = exchange.line
        environ.update(exchange.fields.environ)
        environ["REQUEST_METHOD"] = line.method
        environ["PATH_INFO"] = split_root(line.path_info, self._root) if self._root else line.path_info
        environ["QUERY_STRING"] = line.query_string
        environ["RAW_URI"] = environ["REQUEST_URI"] = line.target.decode("ascii")
        if not line.http_11:
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        if exchange.scheme != "http":
            environ["wsgi.url_scheme"] = exchange.scheme
        if exchange.client is not None:
            environ["REMOTE_ADDR"], port = exchange.client
            environ["REMOTE_PORT"] = str(port)
        if exchange.host is not exchange.fields.host and exchange.host is not None:
            environ["HTTP_HOST"] = exchange.host.decode("latin-1")
        if exchange.collected or not exchange.body.complete:
            environ["wsgi.input"] = io.BufferedReader(_Body(exchange, self.suspend), 65536)
            if exchange.body.complete:
                # A chunked body that has come whole has a length; frameworks that need one then find it.
                environ["CONTENT_LENGTH"] = str(len(exchange.collected))
        return environ

    def _base(self, server: Address | None) -> dict[str, Any]:
        host, port = server or ("localhost", 80)
        return {
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "eitherway",
            "SCRIPT_NAME": self._root,
            "REMOTE_ADDR": "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": _NO_BODY,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self._multithread,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }


class FileWrapper:
    """`wsgi.file_wrapper`: an iterable over a file-like object, which the server sends by os.sendfile if it can."""

    def __init__(self, file: Any, block_size: int = 65536) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        while block := self.file.read(self.block_size):
            yield block

    def part(self) -> tuple[int, int, int] | None:
        """Descriptor, offset and size of what is left of a regular file; None for anything else."""
        try:
            fd = self.file.fileno()
            status = os.fstat(fd)
            offset = self.file.tell()
        except (AttributeError, OSError, io.UnsupportedOperation):
            return None
        if not stat.S_ISREG(status.st_mode) or isinstance(self.file, io.TextIOBase):
            return None
        return fd, offset, max(0, status.st_size - offset)


class _Body(io.RawIOBase):
    """The request's body as it comes; io.BufferedReader over it makes `wsgi.input`."""

    def __init__(self, exchange: Exchange, suspend: Suspend) -> None:
        self._exchange = exchange
        self._suspend = suspend
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._left or self._receive()
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        self._left = data[size:]
        return size

    def _receive(self) -> bytes:
        while (data := self._exchange.read()) is None:
            self._suspend(self._exchange, READ)
        return data


class _NoBody(io.BytesIO):
    """The body of a request without one: always empty, so all requests can share it."""

    def close(self) -> None:
        """Stay open for the others."""


_NO_BODY = _NoBody()


class _Response:
    """start_response, write, and the delivery of what the application returns."""

    __slots__ = ("_exchange", "_headers", "_status", "_suspend", "start_response")

    def __init__(self, exchange: Exchange, suspend: Suspend) -> None:
        self._exchange = exchange
        self._suspend = suspend
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self.start_response = self._start

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._exchange.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._status:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        self._status = status
        self._headers = headers
        return self._write

    def _write(self, data: bytes) -> None:
        self._begin()
        self._send(data)

    def _begin(self) -> None:
        """Hand status and fields over, when the first bytes go out: until then they may be replaced."""
        exchange = self._exchange
        if exchange.status:
            return
        if not self._status:
            raise ResponseError("the application returned before it called start_response")
        status, reason = _statuses.get(self._status) or _parse_status(self._status)
        try:
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers]
        except (AttributeError, UnicodeEncodeError, ValueError, TypeError) as error:
            raise ResponseError(f"a header of the response is not a pair of latin-1 strings: {error}") from None
        exchange.start(status, headers, reason)

    def _send(self, data: bytes) -> None:
        exchange = self._exchange
        if not exchange.send(data, True):
            while not exchange.flush():
                self._suspend(exchange, WRITE)

    def deliver(self, result: Iterable[bytes]) -> None:
        """Send what the application returned, block by block, and complete the response."""
        if type(result) is list or type(result) is tuple:
            # All of it is there: one block, so that its length is known and one system call sends it.
            data = result[0] if len(result) == 1 else b"".join(result)
            self._begin()
            self._exchange.send(data, False)
            return
        if isinstance(result, FileWrapper) and self._deliver_file(result):
            return
        for block in result:
            if block:
                self._begin()
                self._send(block)
        self._begin()
        self._exchange.send(b"", False)

    def _deliver_file(self, result: FileWrapper) -> bool:
        part = None if self._exchange.status else result.part()
        if part is None:
            return False
        self._begin()
        fd, offset, count = part
        # A descriptor of our own: the application may close its file as soon as it has returned.
        self._exchange.send_file(os.dup(fd), offset, count)
        return True


def _parse_status(status: str) -> tuple[int, bytes]:
    number, _, reason = status.partition(" ")
    if len(number) != 3 or not number.isdigit():
        raise ResponseError(f"the response's status {status!r} is not like '200 OK'")
    try:
        parsed = int(number), reason.encode("latin-1")
    except UnicodeEncodeError:
        raise ResponseError(f"the response's status {status!r} is not latin-1") from None
    if len(_statuses) < _STATUSES_REMEMBERED:
        _statuses[status] = parsed
    return parsed
