"""A WSGI application for the balancer's tests. Every request that is run is written to $BALANCED_LOG, a line each."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LOG = os.environ.get("BALANCED_LOG", "")
TEXT = ("Content-Type", "text/plain")


def note(*words: object) -> None:
    if LOG:
        with open(LOG, "a") as log:
            log.write(" ".join(map(str, words)) + "\n")


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    note(environ["REQUEST_METHOD"], path, query)
    return ROUTES[path](environ, start_response, query)


def pid(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    return [str(os.getpid()).encode()]


def gate(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    """Wait until the file that the query names exists."""
    wait_for(query)
    return pid(environ, start_response, query)


def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.002)


def digest(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    """The SHA-256 and size of the request's body."""
    total, seen = hashlib.sha256(), 0
    while block := environ["wsgi.input"].read(65536):
        total.update(block)
        seen += len(block)
    start_response("200 OK", [TEXT])
    return [f"{total.hexdigest()} {seen}".encode()]


def large(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    """A body of so many bytes, with its length; `large_chunked` without."""
    size = int(query)
    start_response("200 OK", [TEXT, ("Content-Length", str(size))])
    return blocks(size)


def large_chunked(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    return blocks(int(query))


def blocks(size: int) -> Iterator[bytes]:
    block = bytes(range(256)) * 64
    while size > 0:
        yield block[:size]
        size -= len(block)
    note("sent")


def ticks(environ: dict[str, Any], start_response: Any, query: str) -> Iterator[bytes]:
    """A first part at once, a second one when the file exists."""
    start_response("200 OK", [TEXT])
    yield b"first "
    wait_for(query)
    yield b"second"


def environ_text(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    names = sorted(name for name in environ if name.isupper() and isinstance(environ[name], str))
    lines = [f"{name}={environ[name]}" for name in [*names, "wsgi.url_scheme"]]
    return ["\n".join(lines).encode("latin-1")]


def status(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    start_response(f"{query} Whatever", [TEXT, ("X-Kept", "yes")] if query != "304" else [("ETag", '"1"')])
    return []


def short(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    """An answer that promises more than it holds."""
    start_response("200 OK", [TEXT, ("Content-Length", "10")])
    return [b"short"]


def die(environ: dict[str, Any], start_response: Any, query: str) -> Iterable[bytes]:
    os._exit(1)


def die_late(environ: dict[str, Any], start_response: Any, query: str) -> Iterator[bytes]:
    start_response("200 OK", [TEXT, ("Content-Length", "1000000")])
    yield b"x" * 100_000
    wait_for(query)
    os._exit(1)


ROUTES = {
    "/": pid,
    "/gate": gate,
    "/digest": digest,
    "/large": large,
    "/chunked": large_chunked,
    "/ticks": ticks,
    "/environ": environ_text,
    "/status": status,
    "/short": short,
    "/die": die,
    "/die-late": die_late,
}
