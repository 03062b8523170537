"""An echo over WebSockets in frameworks: `bottle_app` (WSGI), `starlette_app` and `fastapi_app` (ASGI)."""

from __future__ import annotations

import contextlib

from bottle import Bottle, request
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.routing import WebSocketRoute

from notes import note

bottle_app = Bottle()


@bottle_app.route("/echo")
def echo_in_bottle() -> str:
    socket = request.environ.get("eitherway.websocket")
    if socket is None:
        return "plain"
    for message in socket:
        socket.send(f"bottle: {message}")
    note("closed", socket.close_code)
    return "dropped"


class Echo(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket, data) -> None:  # type: ignore[no-untyped-def]
        await websocket.send_text(f"starlette: {data}")

    async def on_disconnect(self, websocket, close_code) -> None:  # type: ignore[no-untyped-def]
        note("closed", close_code)


starlette_app = Starlette(routes=[WebSocketRoute("/echo", Echo)])
fastapi_app = FastAPI()


@fastapi_app.websocket("/echo")
async def echo_in_fastapi(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(f"fastapi: {await websocket.receive_text()}")
    note("closed", "1001")


@fastapi_app.websocket("/talks")
async def talk_in_fastapi(websocket: WebSocket) -> None:
    """Send without end: who only sends finds out that the client has left."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_bytes(b"x" * 65536)
    except WebSocketDisconnect as error:
        note("left", error.code)
