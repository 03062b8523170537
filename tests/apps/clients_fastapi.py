"""The same application with FastAPI, and what only ASGI frameworks have."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
from fastapi import BackgroundTasks, FastAPI, Request, Response
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from starlette.middleware.sessions import SessionMiddleware

from notes import note

BLOCK = bytes(range(256)) * 64


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"greeting": "hello"}
    note("fastapi", "shut down")


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key="only for tests")


@app.get("/hello")
async def hello(request: Request, name: str = "you") -> dict[str, str]:
    return {request.state.greeting: name}


@app.api_route("/json", methods=["POST", "PUT", "PATCH", "DELETE"])
async def json(request: Request) -> dict[str, object]:
    return {"method": request.method, "got": await request.json()}


@app.post("/digest")
async def digest(request: Request) -> dict[str, object]:
    found, size = hashlib.sha256(), 0
    async for block in request.stream():
        found.update(block)
        size += len(block)
    return {"sha": found.hexdigest(), "size": size}


@app.get("/stream/{blocks}")
async def stream(blocks: int) -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield BLOCK

    return StreamingResponse(body(), media_type="application/octet-stream")


@app.get("/large/{blocks}")
async def large(blocks: int) -> Response:
    return Response(BLOCK * blocks)


@app.get("/visits")
async def visits(request: Request) -> dict[str, int]:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return {"visits": request.session["visits"]}


@app.get("/away")
async def away() -> RedirectResponse:
    return RedirectResponse("/hello?name=moved")


@app.get("/nothing", status_code=204)
async def nothing() -> None:
    return None


@app.get("/boom")
async def boom() -> str:
    raise ValueError("boom")


@app.get("/in-a-thread")
def in_a_thread() -> dict[str, str]:
    """A plain function: the framework runs it in a thread of its own."""
    return {"ran": "in a thread"}


@app.get("/background/{key}")
async def background(key: str, gate: str, tasks: BackgroundTasks) -> dict[str, str]:
    async def work() -> None:
        while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - the test's signal
            await anyio.sleep(0.02)
        note(key, "worked")

    tasks.add_task(work)
    return {"background": "begun"}


@app.get("/file")
async def file(path: str) -> FileResponse:
    return FileResponse(path)


@app.get("/endless/{key}")
async def endless(key: str) -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield BLOCK
                await anyio.lowlevel.checkpoint()
        finally:
            note(key, "ended")

    return StreamingResponse(body())
