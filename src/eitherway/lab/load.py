"""The load generator: puts HTTP/1.1 requests on a server, from processes of its own, and counts what comes back.

Closed loop: so many clients, each with one request at a time. Open loop: so many requests a second on a schedule, and
their latency counts from when they should have begun, so that a server that stalls cannot hide its queue (no
coordinated omission). The clients themselves are in generator.py.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import eitherway
from eitherway.errors import LabError
from eitherway.lab.histogram import Histogram

Address = tuple[int, Any]  # family, and what a socket connects to

CLIENT_LIMIT = 0.9  # of a CPU: a generator that uses more is taken for the limit

_LOOK = 0.02  # seconds between two calls of `while_running`
_HEAD_START = 0.02  # seconds from "go" to the first request
_SLACK = 10.0  # seconds beyond the time it should take, after which a generator is given up
_TRIAL = 1.0  # seconds that one of a name's several addresses gets to answer
_OTHER_FILES = 16  # that a generator has open beside its clients' sockets

# What is imported must be this package, and the standard library: the user's files, in the working directory, are not.
_START = "import sys; sys.path.append(sys.argv[1]); from eitherway.lab.generator import main; main()"
_PACKAGES = str(Path(eitherway.__file__).parent.parent)


@dataclass(frozen=True, slots=True)
class Request:
    method: str = "GET"
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encode(self, host: str) -> bytes:
        """The request as bytes. Host and Content-Length are added where they are missing."""
        given = {name.lower() for name, _ in self.headers}
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if "host" not in given:
            lines.append(f"Host: {host}")
        if "content-length" not in given and (self.body or self.method in ("POST", "PUT", "PATCH")):
            lines.append(f"Content-Length: {len(self.body)}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


@dataclass(frozen=True, slots=True)
class Load:
    """What is put on a server. Times in seconds."""

    host: str  # or "unix:/path", and then the port does not matter
    port: int
    requests: tuple[Request, ...]  # in turns
    clients: int = 1  # connections; in an open loop the most
    rate: float | None = None  # requests a second: an open loop
    duration: float = 5.0
    warm_up: float = 0.5
    timeout: float = 30.0
    processes: int = 1


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came back in the measured time; in an open loop, of the requests that were due in it."""

    seconds: float
    good: int  # answers of 2xx and 3xx
    statuses: Mapping[int, int]
    errors: Mapping[str, int]  # "refused", "unreachable", "reset", "closed", "timeout", "malformed", "endless"
    bytes: int  # that came, heads included
    histogram: Histogram = field(repr=False)  # of good answers
    cpu: float  # the share of a CPU that the busiest generator used
    client_limited: bool

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds


def run_load(load: Load, while_running: Callable[[], None] | None = None) -> LoadResult:
    """Put a load on a server, and wait for its end. `while_running` is called some fifty times a second.

    Raises LabError where there is no such host, or a generator fails; whatever is raised, no generator is left behind.
    """
    _check_files(load)
    address = _address(load)
    generators: list[Generator] = []
    try:
        for number in range(_processes(load)):
            generators.append(Generator(load, address, number))
        for generator in generators:
            generator.wait_ready()
        begin = monotonic() + _HEAD_START
        for generator in generators:
            generator.go(begin)
        deadline = begin + load.warm_up + load.duration + load.timeout + _SLACK
        waiting = list(generators)
        while waiting:
            ready, _, _ = select.select([each.output for each in waiting], [], [], _LOOK)
            waiting = [each for each in waiting if each.output not in ready or not each.hear()]
            if while_running is not None:
                while_running()
            if monotonic() > deadline:
                raise LabError("the load generator does not come to its end")
        return _together(load, [generator.result() for generator in generators])
    finally:
        for generator in generators:
            generator.end()


class Generator:
    """A process that holds a share of the clients."""

    def __init__(self, load: Load, address: Address, number: int) -> None:
        shares = _processes(load)
        order = {
            **asdict(load),
            "requests": [
                [each.method, each.encode(_host(load)).decode("latin-1")] for each in load.requests
            ],
            "address": address,
            "clients": load.clients // shares + (number < load.clients % shares),
            "rate": load.rate / shares if load.rate else None,
            "phase": number / shares,  # of an interval of the schedule
        }  # fmt: skip
        self._heard = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, _PACKAGES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # a terminal's Ctrl-C is for us; a generator ends when we do
        )
        self._write(order)

    @property
    def output(self) -> Any:
        return self._process.stdout

    def _write(self, value: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LabError("the load generator could not start") from None

    def wait_ready(self) -> None:
        if self.output.readline() != b"ready\n":
            raise LabError("the load generator could not start")

    def go(self, begin: float) -> None:
        self._write(begin)

    def hear(self) -> bool:
        """Take what it says; whether that was all."""
        data: bytes = self.output.read1(1 << 20)
        self._heard += data
        return not data

    def result(self) -> dict[str, Any]:
        try:
            said: dict[str, Any] = json.loads(self._heard)
        except ValueError:
            raise LabError(f"the load generator ended with {self._process.wait()}") from None
        return said

    def end(self) -> None:
        """It is gone when this returns."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass
        self._process.wait()


def _processes(load: Load) -> int:
    return max(1, min(load.processes, load.clients))


def _check_files(load: Load) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    clients = -(-load.clients // _processes(load))
    if most != resource.RLIM_INFINITY and clients + _OTHER_FILES > most:
        raise LabError(
            f"{clients} clients in a process are too many for {most} files (`ulimit -Hn`): "
            "raise that, take fewer clients, or more --processes"
        )


def _address(load: Load) -> Address:
    """Where the server is. Of several addresses of a name (localhost has two) the first that answers."""
    if load.host.startswith("unix:"):
        return socket.AF_UNIX, load.host.removeprefix("unix:")
    try:
        found = socket.getaddrinfo(load.host, load.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a name"
        raise LabError(f"there is no host {load.host!r}: {reason}") from None
    addresses = [(family, address) for family, _, _, _, address in found]
    for family, address in addresses[:-1]:
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.settimeout(_TRIAL)
            trial.connect(address)
            return family, address
    return addresses[-1]


def _host(load: Load) -> str:
    if load.host.startswith("unix:"):
        return "localhost"
    return f"[{load.host}]:{load.port}" if ":" in load.host else f"{load.host}:{load.port}"


def _together(load: Load, parts: list[dict[str, Any]]) -> LoadResult:
    histogram = Histogram()
    statuses: Counter[int] = Counter()
    errors: Counter[str] = Counter()
    for part in parts:
        histogram.merge(Histogram.unpack(part["histogram"]))
        statuses.update({int(status): count for status, count in part["statuses"].items()})
        errors.update(part["errors"])
    cpu = max(part["cpu"] for part in parts)
    return LoadResult(
        seconds=load.duration,
        good=sum(count for status, count in statuses.items() if 200 <= status < 400),
        statuses=dict(sorted(statuses.items())),
        errors=dict(sorted(errors.items())),
        bytes=sum(part["bytes"] for part in parts),
        histogram=histogram,
        cpu=cpu,
        client_limited=cpu > CLIENT_LIMIT,
    )
