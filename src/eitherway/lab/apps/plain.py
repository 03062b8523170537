"""The least applications there can be, for claims about models rather than about frameworks.

`wsgi` and `asgi` answer /wait?ms=, /block?ms= (which stops a whole loop, also where calls are patched) and
/compute?rounds=.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from urllib.parse import parse_qsl

from eitherway.lab.apps.loops import sleep
from eitherway.lab.apps.work import compute, seconds_of


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path, number = environ["PATH_INFO"], _number(environ["QUERY_STRING"])
    if path == "/wait":
        time.sleep(seconds_of(number))
    elif path == "/block":
        _unpatched_sleep(seconds_of(number))
    else:
        compute(int(number))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path, number = scope["path"], _number(scope["query_string"].decode())
    if path == "/wait":
        await sleep(seconds_of(number))
    elif path == "/block":
        time.sleep(seconds_of(number))  # noqa: ASYNC251 - what must not be done is what is measured
    else:
        compute(int(number))
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def _number(query: str) -> float:
    return float(parse_qsl(query)[0][1])


def _unpatched_sleep(seconds: float) -> None:
    if monkey := sys.modules.get("gevent.monkey"):
        monkey.get_original("time", "sleep")(seconds)
    elif patcher := sys.modules.get("eventlet.patcher"):
        patcher.original("time").sleep(seconds)
    else:
        time.sleep(seconds)
