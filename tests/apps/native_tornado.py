"""A Tornado application for the tests."""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tornado.web import Application, FallbackHandler, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler
from tornado.wsgi import WSGIContainer

from notes import note

number: ContextVar[str] = ContextVar("number", default="none")


class Hello(RequestHandler):
    def get(self) -> None:
        request = self.request
        self.write({"pid": os.getpid(), "remote": request.remote_ip, "scheme": request.protocol})


@stream_request_body
class Upload(RequestHandler):
    def prepare(self) -> None:
        self.size = 0

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)

    def post(self) -> None:
        self.write({"size": self.size})


class Download(RequestHandler):
    async def get(self) -> None:
        for _ in range(16):
            self.write(b"x" * 65536)
            await self.flush()


class Large(RequestHandler):
    def get(self) -> None:
        """More than the kernel takes at once."""
        note("large", "began")
        self.write(b"x" * (8 << 20))


class Drip(RequestHandler):
    async def get(self) -> None:
        """Send a byte every now and then, for about two seconds."""
        for _ in range(20):
            await asyncio.sleep(0.1)
            self.write(b"x")
            await self.flush()


def plain(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]


class Wait(RequestHandler):
    async def get(self) -> None:
        """Until the file of that name is there."""
        note(self.get_argument("key"), "began")
        gate = Path(self.get_argument("gate"))
        while not gate.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.005)
        self.write("waited")


class Echo(RequestHandler):
    async def get(self, value: str) -> None:
        number.set(value)
        await asyncio.sleep(0.005)
        self.write(number.get())


class Fail(RequestHandler):
    def get(self) -> None:
        raise ValueError("no luck")


class Chat(WebSocketHandler):
    def on_message(self, message: Any) -> None:
        self.write_message(message)


app = Application(
    [
        ("/", Hello),
        ("/upload", Upload),
        ("/download", Download),
        ("/large", Large),
        ("/drip", Drip),
        ("/wsgi", FallbackHandler, {"fallback": WSGIContainer(plain)}),
        ("/wait", Wait),
        ("/echo/(.*)", Echo),
        ("/fail", Fail),
        ("/chat", Chat),
    ]
)
