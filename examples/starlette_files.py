"""A file store on Starlette: uploads go to the disk as they arrive, downloads come from it.

    eitherway serve starlette_files:app --chdir examples --engine asyncio

Try: curl localhost:8000/files/tea.bin -T some-file      curl localhost:8000/files/tea.bin -o back
     curl localhost:8000/api/files --json '{"name": "hello.txt", "text": "hello"}'
     curl localhost:8000/api/files      curl -N localhost:8000/ticks
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

DIRECTORY = Path(os.environ.get("FILES_DIR") or Path(__file__).with_name("files"))


class State(TypedDict):
    directory: Path


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[State]:
    """Runs once, around all requests of a worker; `request.state.directory` is what it yields here."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nobody is served yet
    yield {"directory": DIRECTORY}
    for unfinished in DIRECTORY.glob(".*.part"):  # noqa: ASYNC240 - uploads cut off; nobody is served any more
        unfinished.unlink(missing_ok=True)


def file_of(request: Request, name: str) -> Path:
    if name != Path(name).name or name.startswith("."):
        raise HTTPException(400, "a file's name has no slash and does not begin with a dot")
    directory: Path = request.state.directory
    return directory / name


def describe(file: Path) -> dict[str, Any]:
    return {"name": file.name, "size": file.stat().st_size, "url": f"/files/{file.name}"}


async def index(request: Request) -> Response:
    count = len(await run_in_threadpool(lambda: list(request.state.directory.glob("[!.]*"))))
    return JSONResponse({"application": "Starlette files", "files": count, "see": "/api/files"})


async def list_files(request: Request) -> Response:
    def described() -> list[dict[str, Any]]:
        return [describe(file) for file in sorted(request.state.directory.glob("[!.]*"))]

    return JSONResponse(await run_in_threadpool(described))


async def create_file(request: Request) -> Response:
    """A small text file, given as JSON."""
    try:
        wanted = await request.json()
        name, text = str(wanted["name"]), str(wanted["text"])
    except (ValueError, KeyError, TypeError):
        raise HTTPException(400, "send a JSON object with a name and a text") from None
    file = file_of(request, name)
    await run_in_threadpool(file.write_text, text, "utf-8")
    return JSONResponse(describe(file), 201, headers={"Location": f"/api/files/{name}"})


async def fetch_file(request: Request) -> Response:
    file = file_of(request, request.path_params["name"])
    try:
        return JSONResponse(await run_in_threadpool(describe, file))
    except FileNotFoundError:
        raise HTTPException(404, f"no file {file.name}") from None


async def upload(request: Request) -> Response:
    """Stores the body as it arrives, under a name nobody sees until all of it is there.

    A disk can block, so it is written from a thread. And while that thread writes, nothing more is read from
    the client: a fast client cannot fill the memory.
    """
    file = file_of(request, request.path_params["name"])
    unfinished = file.with_name(f".{uuid.uuid4().hex}.part")
    size, digest = 0, hashlib.sha256()
    output = await run_in_threadpool(unfinished.open, "wb")
    try:
        async for chunk in request.stream():
            size += len(chunk)
            digest.update(chunk)
            await run_in_threadpool(output.write, chunk)
        await run_in_threadpool(output.close)
        await run_in_threadpool(unfinished.replace, file)
    finally:
        output.close()
        unfinished.unlink(missing_ok=True)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()}, 201)


async def download(request: Request) -> Response:
    """A server with the extension `http.response.pathsend` lets the kernel send the file; others read it."""
    file = file_of(request, request.path_params["name"])
    if not await run_in_threadpool(file.is_file):
        raise HTTPException(404, f"no file {file.name}")
    return FileResponse(file)


async def zeros(request: Request) -> Response:
    """A stream of known size and no length in its head, for measuring a line (`?mb=`)."""
    parts = min(int(request.query_params.get("mb", 4)), 1024) * 16

    async def body() -> AsyncIterator[bytes]:
        part = bytes(65536)
        for _ in range(parts):
            yield part

    return StreamingResponse(body(), media_type="application/octet-stream")


async def ticks(request: Request) -> Response:
    """Server-sent events. An open stream costs one waiting task on a loop, a whole thread under threads, the
    whole server under sync. When the client leaves, the server says so and Starlette ends the generator."""
    count = min(int(request.query_params.get("count", 10)), 10_000)
    pause = min(int(request.query_params.get("ms", 100)), 10_000) / 1000

    async def events() -> AsyncIterator[str]:
        for number in range(count):
            yield f"data: {json.dumps({'tick': number})}\n\n"
            await asyncio.sleep(pause)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def slow(request: Request) -> Response:
    """`await` gives control back, so one loop holds thousands of these. `time.sleep` would stop them all."""
    ms = min(int(request.query_params.get("ms", 100)), 10_000)
    await asyncio.sleep(ms / 1000)
    return JSONResponse({"slept": ms})


async def boom(request: Request) -> Response:
    raise RuntimeError("this is the deliberate error of /boom")


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", index),
        Route("/api/files", list_files),
        Route("/api/files", create_file, methods=["POST"]),
        Route("/api/files/{name}", fetch_file),
        Route("/files/{name}", upload, methods=["PUT"]),
        Route("/files/{name}", download),
        Route("/zeros", zeros),
        Route("/ticks", ticks),
        Route("/slow", slow),
        Route("/boom", boom),
    ],
)
