"""A tree of twisted.web resources for the tests."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from notes import note


class Hello(Resource):
    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        scheme = "https" if request.isSecure() else "http"
        said = {"pid": os.getpid(), "remote": getattr(request.client, "host", None), "scheme": scheme}
        return json.dumps(said).encode()


class Upload(Resource):
    def render_POST(self, request: Any) -> bytes:  # noqa: N802
        return json.dumps({"size": len(request.content.read())}).encode()


class Download(Resource):
    def render_GET(self, request: Any) -> int:  # noqa: N802
        def more(left: int) -> None:
            request.write(b"x" * 65536)
            if left == 1:
                request.finish()
            else:
                reactor.callLater(0, more, left - 1)  # type: ignore[attr-defined]

        more(16)
        return NOT_DONE_YET


class Large(Resource):
    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        """More than the kernel takes at once."""
        note("large", "began")
        return b"x" * (8 << 20)


class Drip(Resource):
    def render_GET(self, request: Any) -> int:  # noqa: N802
        """Send a byte every now and then, for about two seconds."""

        def more(left: int) -> None:
            if left:
                request.write(b"x")
                reactor.callLater(0.1, more, left - 1)  # type: ignore[attr-defined]
            else:
                request.finish()

        more(20)
        return NOT_DONE_YET


class Chat:
    """The protocol of one WebSocket."""

    def negotiationStarted(self, transport: Any) -> None:  # noqa: N802
        self.transport = transport

    def negotiationFinished(self) -> None:  # noqa: N802
        """Nothing is said first."""

    def textMessageReceived(self, message: str) -> None:  # noqa: N802
        self.transport.sendTextMessage(message)

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        note("chat", "ended")


class Chats:
    def buildProtocol(self, request: Any) -> Chat:  # noqa: N802
        return Chat()


class Wait(Resource):
    def render_GET(self, request: Any) -> int:  # noqa: N802
        """Until the file of that name is there."""
        note(request.args[b"key"][0].decode(), "began")

        def look() -> None:
            if Path(request.args[b"gate"][0].decode()).exists():
                request.write(b"waited")
                request.finish()
            else:
                reactor.callLater(0.005, look)  # type: ignore[attr-defined]

        look()
        return NOT_DONE_YET


class Fail(Resource):
    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        raise ValueError("no luck")


root = Resource()
for path, resource in {
    b"": Hello(),
    b"upload": Upload(),
    b"download": Download(),
    b"large": Large(),
    b"drip": Drip(),
    b"wait": Wait(),
    b"fail": Fail(),
}.items():
    root.putChild(path, resource)
if find_spec("wsproto") and find_spec("twisted.web.websocket"):
    from twisted.web.websocket import WebSocketResource

    root.putChild(b"chat", WebSocketResource(Chats()))  # type: ignore[arg-type]
site = Site(root)
odd = Site(root)
odd.requestFactory = lambda *arguments: Request(*arguments)
