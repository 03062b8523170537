"""Notes on Starlette, on whatever loop there is: all that it awaits is anyio's.

    eitherway serve notes_starlette:app --chdir examples --engine asyncio

psycopg's plain pool, called from threads, belongs to no loop. So the application runs on every engine that runs ASGI at
all, Trio's loop included, where drivers made for asyncio (asyncpg, psycopg's own asynchronous side) cannot go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypedDict

import anyio
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import notes


class State(TypedDict):
    pool: ConnectionPool


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[State]:
    """Runs once, around all requests of a worker. What it yields is `request.state` in every one of them."""
    settings = {"autocommit": True, "row_factory": dict_row}
    pool = ConnectionPool(notes.DATABASE_URL, min_size=1, max_size=10, timeout=10, kwargs=settings, open=False)
    with pool:
        await run_in_threadpool(query, pool, notes.SCHEMA)
        yield {"pool": pool}


def query(pool: ConnectionPool, statement: str, *values: object) -> list[dict[str, Any]]:
    with pool.connection() as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


async def rows(request: Request, statement: str, *values: object) -> list[dict[str, Any]]:
    return await run_in_threadpool(query, request.state.pool, statement, *values)


async def newest(request: Request) -> Response:
    return JSONResponse(await rows(request, "SELECT id, text FROM note ORDER BY id DESC LIMIT 100"))


async def create(request: Request) -> Response:
    text = await wanted_text(request)
    [note] = await rows(request, "INSERT INTO note (text) VALUES (%s) RETURNING id, text", text)
    return JSONResponse(note, 201, headers={"Location": f"/notes/{note['id']}"})


async def read(request: Request) -> Response:
    number = request.path_params["number"]
    return first(await rows(request, "SELECT id, text FROM note WHERE id = %s", number))


async def update(request: Request) -> Response:
    text, number = await wanted_text(request), request.path_params["number"]
    return first(await rows(request, "UPDATE note SET text = %s WHERE id = %s RETURNING id, text", text, number))


async def delete(request: Request) -> Response:
    first(await rows(request, "DELETE FROM note WHERE id = %s RETURNING id, text", request.path_params["number"]))
    return Response(status_code=204)


async def wanted_text(request: Request) -> str:
    try:
        text = notes.text_of(await request.json())
    except json.JSONDecodeError:
        text = None
    if text is None:
        raise HTTPException(400, "send a JSON object with a text")
    return text


def first(found: list[dict[str, Any]]) -> Response:
    if not found:
        raise HTTPException(404, "there is no such note")
    return JSONResponse(found[0])


async def upload(request: Request) -> Response:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    async for part in request.stream():
        size += len(part)
        digest.update(part)
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def download(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for part in notes.download():
            yield part  # goes on when the client has taken it

    return StreamingResponse(parts(), media_type="text/plain")


async def slow(request: Request) -> Response:
    await anyio.sleep(notes.SLOW)  # gives control back: one loop holds thousands of these
    return JSONResponse({"waited": notes.SLOW})


current: ContextVar[int] = ContextVar("current")  # every request is a task, and has its own


async def echo(request: Request) -> Response:
    current.set(request.path_params["number"])
    await anyio.sleep(notes.ECHO)
    return JSONResponse({"number": current.get()})


async def fail(request: Request) -> Response:
    raise RuntimeError("this is the error of /fail")


put, post, remove = (partial(Route, methods=[method]) for method in ("PUT", "POST", "DELETE"))

app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/notes", newest),
        post("/notes", create),
        Route("/notes/{number:int}", read),
        put("/notes/{number:int}", update),
        remove("/notes/{number:int}", delete),
        put("/upload", upload),
        Route("/download", download),
        Route("/slow", slow),
        Route("/echo/{number:int}", echo),
        Route("/fail", fail),
    ],
)
