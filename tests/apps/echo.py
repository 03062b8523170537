"""Applications that answer with JSON of what they received: `wsgi` and `asgi`. A few paths do more than that:

/seen            the targets of all requests that were run so far
/wait?file       is answered when that file exists
/large?count     so many bytes, in blocks of 64 KiB
/ignore          is answered without the body being read
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from loops import sleep

SEEN: list[str] = []
BLOCK = b"x" * 65536
LOOK = 0.01  # seconds between two looks whether the file is there
LONGEST = 4096  # a longer body is described by its length and digest only


def _answer(request: dict[str, Any], body: bytes) -> bytes:
    request["length"] = len(body)
    request["sha256"] = hashlib.sha256(body).hexdigest()
    request["body"] = body[:LONGEST].decode("latin-1")
    return json.dumps(request).encode()


def _blocks(count: int) -> Iterator[bytes]:
    while count > 0:
        yield BLOCK[:count]
        count -= len(BLOCK)


# ---- WSGI ----


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    SEEN.append(environ["REQUEST_URI"])
    if path == "/large":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _blocks(int(query))
    if path == "/wait":
        while not Path(query).exists():
            time.sleep(LOOK)
    if path == "/seen":
        answer = json.dumps(SEEN).encode()
    elif path == "/ignore":
        answer = b"{}"
    else:
        answer = _answer(_from_environ(environ), environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


def _from_environ(environ: dict[str, Any]) -> dict[str, Any]:
    fields = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if key in environ:
            fields[key.replace("_", "-").lower()] = environ[key]
    return {
        "method": environ["REQUEST_METHOD"],
        "target": environ["REQUEST_URI"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "version": environ["SERVER_PROTOCOL"][5:],
        "scheme": environ["wsgi.url_scheme"],
        "client": environ["REMOTE_ADDR"],
        "fields": fields,
        "keys": sorted(key for key in environ if key.isupper()),
        "script_name": environ["SCRIPT_NAME"],
    }


# ---- ASGI ----


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] == "websocket":
        scope = scope | {"method": "GET", "scheme": "http"}
        receive, send = await _refuse(receive, send)
    elif scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path, query = scope["path"], scope["query_string"].decode()
    target = (scope["raw_path"] + (b"?" + scope["query_string"] if query else b"")).decode()
    SEEN.append(target)
    if path == "/large":
        await _start(send, b"text/plain")
        for block in _blocks(int(query)):
            await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body"})
        return
    if path == "/wait":
        while not Path(query).exists():  # noqa: ASYNC240 - the test's signal
            await sleep(LOOK)
    if path == "/seen":
        answer = json.dumps(SEEN).encode()
    elif path == "/ignore":
        answer = b"{}"
    else:
        body = await _read_body(receive)
        if body is None:
            return
        answer = _answer({**_from_scope(scope), "target": target}, body)
    await _start(send, b"application/json", (b"content-length", str(len(answer)).encode()))
    await send({"type": "http.response.body", "body": answer})


async def _refuse(receive: Callable[[], Any], send: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A WebSocket handshake as the request it would be without: receive and send of one."""
    assert (await receive())["type"] == "websocket.connect"

    async def no_body() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    return no_body, lambda message: send({**message, "type": f"websocket.{message['type']}"})


async def _start(send: Callable[[Any], Any], kind: bytes, *more: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *more]})


async def _read_body(receive: Callable[[], Any]) -> bytes | None:
    """The whole body; None when the client left before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


def _from_scope(scope: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return {
        "method": scope["method"],
        "path": scope["path"].encode().decode("latin-1"),
        "query": scope["query_string"].decode(),
        "version": scope["http_version"],
        "scheme": scope["scheme"],
        "client": scope["client"][0] if scope["client"] else "",
        "fields": fields,
        "script_name": scope["root_path"],
    }
