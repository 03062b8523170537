"""WSGI and ASGI applications that misbehave on demand, for the tests of the supervisor."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from typing import Any

hoard: list[bytes] = []


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"]
    body = b"ok"
    if path == "/pid":
        body = b"%d" % os.getpid()
    elif path == "/client":
        body = " ".join(environ[key] for key in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")).encode()
    elif path == "/exit":
        os._exit(7)
    elif path == "/crash":
        ctypes.string_at(0)
    elif path == "/hang":
        hang()
    elif path == "/sleep":
        time.sleep(float(environ["QUERY_STRING"]))
    elif path == "/leak":
        hoard.append(b"x" * (int(environ["QUERY_STRING"]) << 20))
    elif path == "/fail":
        raise RuntimeError("asked for")
    elif path == "/close":
        os.closerange(0, 1024)
    elif path == "/fork" and os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)
    start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]


def hang() -> None:
    threading.Event().wait()


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    path = scope["path"]
    body = b"ok"
    if path == "/pid":
        body = b"%d" % os.getpid()
    elif path == "/client":
        body = " ".join([scope["client"][0], scope["scheme"], dict(scope["headers"])[b"host"].decode()]).encode()
    elif path == "/exit":
        os._exit(7)
    elif path == "/hang":
        await never()
    elif path == "/block":
        hang()
    elif path == "/sleep":
        await asyncio.sleep(float(scope["query_string"]))
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def never() -> None:
    await asyncio.Event().wait()
