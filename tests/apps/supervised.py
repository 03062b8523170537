"""WSGI and ASGI applications that misbehave on demand, for the tests of the supervisor."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

hoard: list[bytes] = []


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    misbehave(path, query)
    body = b"ok"
    if path == "/pid":
        body = b"%d" % os.getpid()
    elif path == "/client":
        body = " ".join(environ[key] for key in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")).encode()
    elif path == "/hang":
        hang()
    elif path == "/sleep":
        time.sleep(float(query))
    elif path == "/fail":
        raise RuntimeError("asked for")
    start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]


def misbehave(path: str, query: str) -> None:
    """What brings a worker down, whatever its engine."""
    if path == "/exit":
        os._exit(7)
    elif path == "/crash":
        ctypes.string_at(0)
    elif path == "/block":
        block()
    elif path == "/leak":
        hoard.append(b"x" * (int(query) << 20))
    elif path == "/close":
        os.closerange(0, 1024)
    elif path == "/fork" and os.fork() == 0:
        ctypes.CDLL(None).usleep(int(float(query or "0.2") * 1_000_000))
        os._exit(0)
    elif path == "/fork-and-return":
        os.fork()


def hang() -> None:
    threading.Event().wait()


def block() -> None:
    """Hold the thread, and with it a loop, in a way that no patch turns into waiting."""
    ctypes.CDLL(None).sleep(3600)


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    path, query = scope["path"], scope["query_string"].decode()
    misbehave(path, query)
    body = b"ok"
    if path == "/pid":
        body = b"%d" % os.getpid()
    elif path == "/client":
        body = " ".join([scope["client"][0], scope["scheme"], dict(scope["headers"])[b"host"].decode()]).encode()
    elif path == "/hang":
        await never()
    elif path == "/sleep":
        from loops import sleep  # here: tests copy this file to where nothing stands beside it

        await sleep(float(query))
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def never() -> None:
    from loops import event

    await event().wait()
