"""An ASGI application that waits, and counts who waits at the same time."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from engines_wsgi import Counter
from loops import event, happen, sleep

from notes import note

BLOCK = b"x" * 65536
counters: defaultdict[str, Counter] = defaultdict(Counter)
events: defaultdict[str, Any] = defaultdict(event)


async def app(scope: dict[str, Any], receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    assert scope["type"] == "http"
    asked = dict(parse_qsl(scope["query_string"].decode()))
    key = asked.get("key", "")
    counter = counters[key]
    kind = scope["path"]
    body: object = kind
    if kind == "/count":
        body = {"inside": counter.inside, "most": counter.most, "threads": len(counter.threads)}
    elif kind == "/held":  # in the loop's own way
        with counter.entered():
            await events[key].wait()
    elif kind == "/open":
        await happen(events[key])
    elif kind == "/blocked":  # a call that blocks its thread, as it should not
        with counter.entered():
            while not Path(asked["gate"]).exists():  # noqa: ASYNC240
                time.sleep(0.02)  # noqa: ASYNC251
    elif kind == "/meet":
        with counter.entered():
            barriers.setdefault(key, threading.Barrier(int(asked["parties"]))).wait(30)
    elif kind == "/order":
        note(key, f"begins {asked['number']}")
        await sleep(0.01)
        note(key, f"ends {asked['number']}")
    elif kind == "/loop":
        body = type(asyncio.get_running_loop()).__module__
    elif kind == "/large":
        body = BLOCK * 128  # 8 MiB, more than the kernel takes
    elif kind == "/upload":
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        body = {"size": size}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(data))]})
    await send({"type": "http.response.body", "body": data})


barriers: dict[str, threading.Barrier] = {}
