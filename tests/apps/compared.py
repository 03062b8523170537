"""Applications that a comparison must see through, each one callable; WSGI, but for `coroutine`."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Any]

ENGINE = sys.argv[sys.argv.index("--engine") + 1] if "--engine" in sys.argv else ""
_count = itertools.count()


def answer(start: Start, body: str, status: str = "200 OK", *fields: tuple[str, str]) -> list[bytes]:
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *fields])
    return [body.encode()]


def fine(environ: Environ, start: Start) -> Iterable[bytes]:
    """Waits 20 ms; varies from request to request, in what does not matter."""
    time.sleep(0.02)
    return answer(start, f"request {next(_count)} of process {os.getpid()}: fine")


def wrong_under_threads(environ: Environ, start: Start) -> Iterable[bytes]:
    return answer(start, "four" if ENGINE == "threads" else "five")


def accepting_under_threads(environ: Environ, start: Start) -> Iterable[bytes]:
    return answer(start, "five", "202 Accepted" if ENGINE == "threads" else "200 OK")


def crashing_under_load(environ: Environ, start: Start) -> Iterable[bytes]:
    """On threads only, once two requests run at the same time."""
    global _running
    _running += 1
    try:
        time.sleep(0.01)
        if _running > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(start, "alive")
    finally:
        _running -= 1


_running = 0


def failing_under_load(environ: Environ, start: Start) -> Iterable[bytes]:
    """Not safe in threads: where two meet, one answers 500."""
    if not _lock.acquire(blocking=False):
        return answer(start, "oops", "500 Internal Server Error")
    try:
        time.sleep(0.005)
        return answer(start, "alone")
    finally:
        _lock.release()


_lock = threading.Lock()


def hanging_under_threads(environ: Environ, start: Start) -> Iterable[bytes]:
    if ENGINE == "threads":
        threading.Event().wait(60)
    return answer(start, "here")


def asks_itself(environ: Environ, start: Start) -> Iterable[bytes]:
    """Waits for another request to come in; so it hangs where one runs at a time."""
    if ENGINE == "sync":
        threading.Event().wait(60)
    return answer(start, "both")


def endless(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    while True:
        yield b"tick\n"
        time.sleep(0.02)


def broken(environ: Environ, start: Start) -> Iterable[bytes]:
    raise RuntimeError("no such table: products")


def redirecting(environ: Environ, start: Start) -> Iterable[bytes]:
    return answer(start, "", "302 Found", ("Location", "/login"))


def redirecting_under_threads(environ: Environ, start: Start) -> Iterable[bytes]:
    return redirecting(environ, start) if ENGINE == "threads" else answer(start, "here")


def login(environ: Environ, start: Start) -> Iterable[bytes]:
    if environ.get("HTTP_AUTHORIZATION") != "Bearer key":
        return answer(start, "who are you?", "401 Unauthorized")
    return answer(start, "welcome")


def posted(environ: Environ, start: Start) -> Iterable[bytes]:
    """Takes a POST of JSON only."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if environ["REQUEST_METHOD"] != "POST" or environ.get("CONTENT_TYPE") != "application/json":
        return answer(start, "a POST of JSON, please", "415 Unsupported Media Type")
    return answer(start, f"{len(body)} bytes")


async def coroutine(scope: Environ, receive: Any, send: Any) -> None:
    """ASGI, and no lifespan."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def blocking(scope: Environ, receive: Any, send: Any) -> None:
    """ASGI that calls what blocks, as if it were plain code."""
    assert scope["type"] == "http"
    look_up()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def look_up() -> None:
    time.sleep(0.05)
