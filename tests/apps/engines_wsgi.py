"""A WSGI application that waits in every way a real one does, and counts who waits at the same time."""

from __future__ import annotations

import _thread
import io
import select
import selectors
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from flask import Flask, request

from notes import note

flask = Flask(__name__)

green: Any = sys.modules.get("gevent") or sys.modules.get("eventlet")  # the library whose engine runs this, if one does


class Counter:
    """How many are inside, the most there ever were, and in which threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.threads: set[int] = set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.threads.add(true_thread())
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1


def true_thread() -> int:
    """The operating system's number of this thread; a greenlet has none of its own."""
    return threading.get_native_id()


counters: defaultdict[str, Counter] = defaultdict(Counter)


@flask.get("/count/<key>")
def count(key: str) -> dict[str, int]:
    counter = counters[key]
    return {"inside": counter.inside, "most": counter.most, "threads": len(counter.threads)}


@flask.get("/hello")
def hello() -> str:
    return "hello"


@flask.get("/sleep/<key>")
def sleeps(key: str) -> str:
    with counters[key].entered():
        time.sleep(0.1)
    return "slept"


@flask.get("/held/<key>")
def held(key: str) -> str:
    """Wait, with time.sleep, until a file appears."""
    with counters[key].entered():
        while not Path(request.args["gate"]).exists():
            time.sleep(0.05)
    return "released"


@flask.get("/green-sleep/<key>")
def green_sleep(key: str) -> str:
    """The same with the library's own sleep."""
    with counters[key].entered():
        while not Path(request.args["gate"]).exists():
            green.sleep(0.05)
    return "released"


@flask.get("/socket/<key>")
def by_socket(key: str) -> str:
    host, port = request.args["upstream"].split(":")
    with counters[key].entered(), socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.makefile("rb").read().partition(b"\r\n\r\n")[2].decode()


@flask.get("/urllib/<key>")
def by_urllib(key: str) -> str:
    with counters[key].entered(), urllib.request.urlopen(f"http://{request.args['upstream']}/") as response:
        return response.read().decode()


@flask.get("/requests/<key>")
def by_requests(key: str) -> str:
    import requests

    with counters[key].entered():
        return requests.get(f"http://{request.args['upstream']}/", timeout=30).text


@flask.get("/database/<key>")
def by_database(key: str) -> str:
    """Wait for a lock in the database, which the test holds."""
    import psycopg

    with counters[key].entered(), psycopg.connect(request.args["database"]) as connection:
        connection.execute("SELECT pg_advisory_lock_shared(1)")
        return "locked"


local = threading.local()


@flask.get("/child/<key>")
def by_child(key: str) -> str:
    """Wait for a process, which waits for the gate."""
    script = 'while [ ! -e "$0" ]; do sleep 0.05; done; echo opened'
    with counters[key].entered():
        done = subprocess.run(["sh", "-c", script, request.args["gate"]], capture_output=True, check=True)
    return done.stdout.decode()


@flask.get("/selector/<key>")
def by_selector(key: str) -> str:
    """Wait as asyncio's and urllib3's like do: by the selector that the platform offers."""
    host, port = request.args["upstream"].split(":")
    with (
        counters[key].entered(),
        socket.create_connection((host, int(port))) as connection,
        selectors.DefaultSelector() as selector,
    ):
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        selector.register(connection, selectors.EVENT_READ)
        assert selector.select(30)
        return connection.makefile("rb").read().partition(b"\r\n\r\n")[2].decode()


@flask.get("/echo/<key>", websocket=True)
def echoes(key: str) -> str:
    """Give up waiting for a message again and again, as applications do that have other things to do, too."""
    socket = request.environ["eitherway.websocket"]
    with counters[key].entered():
        while not socket.closed:
            with green.Timeout(0.05, False):
                if (message := socket.receive()) is not None:
                    socket.send(message)
    return ""


@flask.get("/local/<key>")
def uses_local(key: str) -> dict[str, Any]:
    """Set a thread-local, let the others run, and see whether it is still ours."""
    mine = request.args["mine"]
    local.mine = mine
    with counters[key].entered():
        while not Path(request.args["gate"]).exists():
            time.sleep(0.05)
    return {"mine": mine, "found": local.mine}


barriers: defaultdict[str, threading.Barrier] = defaultdict(lambda: threading.Barrier(1))


@flask.get("/meet/<key>")
def meets(key: str) -> str:
    """Answer only once so many requests are here at the same time."""
    with lock:
        barrier = barriers.setdefault(key, threading.Barrier(int(request.args["parties"])))
    with counters[key].entered():
        barrier.wait(30)
    return "met"


lock = threading.Lock()


@flask.post("/upload")
def upload() -> dict[str, int]:
    return {"size": len(request.get_data())}


@flask.get("/timed-out-read")
def no_such() -> str:
    return "use POST"


@flask.post("/timed-out-read")
def timed_out_read() -> str:
    """Give up waiting for the body, as applications on greenlets do."""
    with green.Timeout(0.05, False):
        request.environ["wsgi.input"].read()
        return "read"
    return "gave up"


@flask.get("/patched")
def patched() -> dict[str, str]:
    """Whose are the things that wait?"""
    waiting = (socket.socket, ssl.SSLContext, _thread.start_new_thread, threading.local, time.sleep, select.select)
    return {each.__name__: each.__module__.partition(".")[0] for each in waiting}


@flask.get("/leaves-an-exit")
def leaves_an_exit() -> str:
    green.spawn(sys.exit, 3)
    return "left"


@flask.get("/order/<key>")
def order(key: str) -> str:
    note(key, f"begins {request.args['number']}")
    time.sleep(0.01)
    note(key, f"ends {request.args['number']}")
    return "done"


# ---- without a framework ----

BLOCK = b"x" * 65536


def large(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [BLOCK * 128]  # 8 MiB, more than the kernel takes


def large_file(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    path = dict(parse_qsl(environ["QUERY_STRING"]))["path"]
    start("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](io.FileIO(path))


def streams(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """A stream that lasts until the gate opens."""
    asked = dict(parse_qsl(environ["QUERY_STRING"]))
    start("200 OK", [("Content-Type", "text/plain")])
    with counters[asked["key"]].entered():
        yield b"begun"
        while not Path(asked["gate"]).exists():
            time.sleep(0.05)
        yield b" done"


PLAIN = {"/large": large, "/large-file": large_file, "/streams": streams}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    plain = PLAIN.get(environ["PATH_INFO"])
    return plain(environ, start_response) if plain else flask.wsgi_app(environ, start_response)


if green:
    note("imported", time.sleep.__module__.partition(".")[0])
