"""A tree of twisted.web resources for the tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

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
    b"wait": Wait(),
    b"fail": Fail(),
}.items():
    root.putChild(path, resource)
site = Site(root)
