"""An ASGI application for the balancer's tests: it waits for its client to leave, and writes that to $BALANCED_LOG."""

from __future__ import annotations

from typing import Any

from balanced import note


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("http only")
    note(scope["method"], scope["path"])
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        note("disconnect")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})
