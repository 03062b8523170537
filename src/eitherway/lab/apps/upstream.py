"""The slow service that the workload `upstream` asks: it waits as long as it is told to, however many ask."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from eitherway.lab.apps.work import seconds_of


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: GET /?ms=50 is answered after 50 ms."""
    if scope["type"] != "http":
        return
    query = parse_qs(scope["query_string"].decode())
    ms = float(query.get("ms", ["0"])[0])
    await asyncio.sleep(seconds_of(ms))
    body = json.dumps({"waited": ms}).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
