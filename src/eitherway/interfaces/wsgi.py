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
from eitherway.http.fields import REASONS, Fields, text_fields
from eitherway.http.h1 import RequestLine
from eitherway.http.memory import Memory
from eitherway.http.response import Heads, ResponseHead, compose
from eitherway.http.sessions import Sessions
from eitherway.interfaces.base import Colour, Loop, Suspend, opens_websocket, report, split_root

_statuses = Memory(entries=256, largest=64)


class WSGIInterface:
    """Runs a WSGI application. `ended` is told of every exchange whose call has ended.

    `sessions` is where open WebSockets are kept; None where a request must not last.
    """

    colour: Colour = "sync"
    suspend: Suspend

    def __init__(
        self,
        application: Callable[..., Any],
        config: Config,
        ended: Callable[[Exchange], None],
        *,
        multithread: bool,
        sessions: Sessions | None,
    ) -> None:
        self._application = application
        self._ended = ended
        self._sessions = sessions
        self._root = config.root_path.rstrip("/")
        self._multithread = multithread
        self._multiprocess = config.workers != 1
        self._bases: dict[Address | None, dict[str, Any]] = {}

    async def startup(self, loop: Loop) -> None:
        """WSGI has no lifespan."""

    async def shutdown(self) -> None:
        """WSGI has no lifespan."""

    def __call__(self, exchange: Exchange) -> None:
        try:
            response = _Response(exchange, self.suspend)
            if exchange.fields.websocket:
                result = self._call_with_websocket(exchange, response)
                if exchange.switched:
                    return
            else:
                result = self._application(self._environ(exchange), response.start)
            if type(result) is list:
                response.deliver_whole(result)
                return
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

    def _call_with_websocket(self, exchange: Exchange, response: _Response) -> Any:
        environ = self._environ(exchange)
        if self._sessions is None or not opens_websocket(exchange):
            return self._application(environ, response.start)
        from eitherway.interfaces.wsgi_websocket import run

        return run(self._application, environ, response.start, exchange, self.suspend, self._sessions)

    def _environ(self, exchange: Exchange) -> dict[str, Any]:
        server = exchange.channel.server
        fields = exchange.fields
        template = fields.derived.get(server)
        if template is None:
            base = self._bases.get(server) or self._base(server)
            template = fields.derived[server] = base | _field_variables(fields.raw)
        line = exchange.line
        variables = line.derived.get("wsgi")
        if variables is None:
            variables = line.derived["wsgi"] = self._line_variables(line)
        environ: dict[str, Any] = template | variables
        client = exchange.client
        if client is not None:
            environ["REMOTE_ADDR"] = client[0]
            environ["REMOTE_PORT"] = str(client[1])
        if exchange.collected or not exchange.body.complete:
            environ["wsgi.input"] = io.BufferedReader(_Body(exchange, self.suspend), 65536)
            if exchange.body.complete:
                # A chunked body that has come whole has a length; frameworks that need one then find it.
                environ["CONTENT_LENGTH"] = str(len(exchange.collected))
        if exchange.scheme != "http":
            environ["wsgi.url_scheme"] = exchange.scheme
        if exchange.host is not None and exchange.host is not fields.host:
            environ["HTTP_HOST"] = exchange.host.decode("latin-1")
        return environ

    def _line_variables(self, line: RequestLine) -> dict[str, str]:
        return {
            "REQUEST_METHOD": line.method,
            "PATH_INFO": split_root(line.path_info, self._root) if self._root else line.path_info,
            "QUERY_STRING": line.query_string,
            "REQUEST_URI": line.uri,
            "SERVER_PROTOCOL": "HTTP/1.1" if line.http_11 else "HTTP/1.0",
        }

    def _base(self, server: Address | None) -> dict[str, Any]:
        """All that is the same for every request to one of the addresses.

        The keys that differ are there too, so that copies need not grow.
        """
        host, port = server or ("localhost", 80)
        base = self._bases[server] = {
            "REQUEST_METHOD": "",
            "SCRIPT_NAME": self._root,
            "PATH_INFO": "",
            "QUERY_STRING": "",
            "REQUEST_URI": "",
            "REMOTE_ADDR": "",
            "REMOTE_PORT": "",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "eitherway",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": _NO_BODY,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self._multithread,
            "wsgi.multiprocess": self._multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }
        return base


_DROPPED = frozenset({b"proxy", b"transfer-encoding"})
_UNPREFIXED = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
_variables = Memory(entries=1024, largest=512)
_names = Memory(entries=1024, largest=64)


def _field_variables(raw: Fields) -> dict[str, str]:
    """The fields as WSGI names them (PEP 3333, RFC 3875 section 4.1.18)."""
    known = _variables.get
    variables = [known(pair) or _variable(pair) for pair in raw]
    environ = dict(variables)
    if len(environ) != len(variables):
        environ = {}
        for key, text in variables:
            separator = "; " if key == "HTTP_COOKIE" else ", "
            environ[key] = environ[key] + separator + text if key in environ else text
    environ.pop("", None)
    return environ


def _variable(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    """One field's variable and text."""
    name, value = pair
    variable = _names.get(name) or _name(name), value.decode("latin-1")
    _variables.remember(pair, len(value), variable)
    return variable


def _name(name: bytes) -> str:
    """A field's variable; empty where it is dropped.

    Names with an underscore are dropped, as nginx does: beside their hyphenated twin they would be one key, and
    alone they would pass for a field that a proxy in front removes. `Proxy` would become HTTP_PROXY ("httpoxy").
    Transfer-Encoding has been undone: frameworks that find it would undo it again.
    """
    if b"_" in name or name in _DROPPED:
        return ""
    key = name.decode("ascii").upper().replace("-", "_")
    if key not in _UNPREFIXED:
        key = "HTTP_" + key
    _names.remember(name, len(name), key)
    return key


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
        # Others may have the descriptor of a file whose bytes they translate: gzip, bz2 and lzma do.
        if not isinstance(getattr(self.file, "raw", self.file), io.FileIO):
            return None
        try:
            fd = self.file.fileno()
            status = os.fstat(fd)
            offset = self.file.tell()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) or not status.st_size:  # those in /proc do not know their size
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

    def write(self, *data: Any) -> int:
        """What one request wrote others would read."""
        raise io.UnsupportedOperation("not writable")

    writelines = truncate = write  # type: ignore[assignment]


_NO_BODY = _NoBody()


class _Response:
    """start_response, write, and the delivery of what the application returns."""

    __slots__ = ("_exchange", "_headers", "_status", "_suspend")

    def __init__(self, exchange: Exchange, suspend: Suspend) -> None:
        self._exchange = exchange
        self._suspend = suspend
        self._status = ""
        self._headers: list[tuple[str, str]] = []

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
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
        if self._exchange.switched:
            raise RuntimeError("the request has become a WebSocket; send messages to it")
        self._begin()
        self._send(data)

    def _begin(self) -> None:
        """Hand status and fields over, when the first bytes go out: until then they may be replaced."""
        exchange = self._exchange
        if exchange.status:
            return
        if not self._status:
            raise ResponseError("the application returned before it called start_response")
        exchange.start(_heads.get(self._status, self._headers))

    def _send(self, data: bytes) -> None:
        exchange = self._exchange
        if type(data) is not bytes:
            raise _not_bytes(data)
        if not exchange.send(data, True):
            while not exchange.flush():
                self._suspend(exchange, WRITE)

    def deliver_whole(self, result: list[bytes]) -> None:
        """All blocks are there: send them as one, so that its length is known and one system call does it."""
        data = result[0] if len(result) == 1 else b"".join(result)
        if type(data) is not bytes:
            raise _not_bytes(data)
        self._begin()
        self._exchange.send(data, False)

    def deliver(self, result: Iterable[bytes]) -> None:
        """Send what the application returned, block by block, and complete the response."""
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


def _not_bytes(data: object) -> ResponseError:
    return ResponseError(f"the response's body holds {type(data).__name__}, not bytes")


def _compose(status: str, headers: tuple[tuple[str, str], ...]) -> ResponseHead:
    number, reason = _statuses.get(status) or _parse_status(status)
    return compose(number, text_fields(headers), reason)


_heads = Heads(_compose)


def _parse_status(status: str) -> tuple[int, bytes]:
    number, _, reason = status.partition(" ")
    if len(number) != 3 or not number.isdigit():
        raise ResponseError(f"the response's status {status!r} is not like '200 OK'")
    try:
        parsed = int(number), reason.encode("latin-1")
        if parsed[1] == REASONS.get(parsed[0]):
            parsed = parsed[0], b""  # the usual one
    except UnicodeEncodeError:
        raise ResponseError(f"the response's status {status!r} is not latin-1") from None
    _statuses.remember(status, len(status), parsed)
    return parsed
