"""Notes on Litestar, with asyncpg and its pool.

    eitherway serve notes_litestar:app --chdir examples --engine uvloop

What it answers stands in notes.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
from litestar import Litestar, Request, Response, delete, get, post, put
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.logging import LoggingConfig
from litestar.params import Parameter
from litestar.response import Stream

import notes


@dataclass
class Draft:
    text: str


@dataclass
class Note(Draft):
    id: int


@asynccontextmanager
async def database(app: Litestar) -> AsyncIterator[None]:
    """A pool belongs to the loop that made it; this runs in the loop of the requests, once, around all of them."""
    async with asyncpg.create_pool(notes.DATABASE_URL, min_size=1, max_size=10) as app.state.pool:
        await app.state.pool.execute(notes.SCHEMA)
        yield


@get("/notes")
async def newest(state: State) -> list[Note]:
    return [Note(**row) for row in await state.pool.fetch("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")]


@post("/notes")
async def create(data: Draft, state: State) -> Response[Note]:
    note = await one(state, "INSERT INTO note (text) VALUES ($1) RETURNING id, text", data.text)
    return Response(note, headers={"Location": f"/notes/{note.id}"})


@get("/notes/{number:int}")
async def read(number: int, state: State) -> Note:
    return await one(state, "SELECT id, text FROM note WHERE id = $1", number)


@put("/notes/{number:int}")
async def update(number: int, data: Draft, state: State) -> Note:
    return await one(state, "UPDATE note SET text = $1 WHERE id = $2 RETURNING id, text", data.text, number)


@delete("/notes/{number:int}")
async def remove(number: int, state: State) -> None:
    await one(state, "DELETE FROM note WHERE id = $1 RETURNING id, text", number)


async def one(state: State, statement: str, *values: object) -> Note:
    row = await state.pool.fetchrow(statement, *values, timeout=10)
    if row is None:
        raise NotFoundException("there is no such note")
    return Note(**row)


@put("/upload")
async def upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    async for part in request.stream():
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


@get("/download")
async def download() -> Stream:
    async def parts() -> AsyncIterator[bytes]:
        for part in notes.download():
            yield part

    return Stream(parts(), media_type="text/plain")


@get("/slow")
async def slow() -> dict[str, float]:
    await asyncio.sleep(notes.SLOW)
    return {"waited": notes.SLOW}


current: ContextVar[int] = ContextVar("current")  # every request is a task, and has its own


@get("/echo/{number:int}")
async def echo(number: Annotated[int, Parameter(ge=0)]) -> dict[str, int]:
    current.set(number)
    await asyncio.sleep(notes.ECHO)
    return {"number": current.get()}


@get("/fail")
async def fail() -> None:
    raise RuntimeError("this is the error of /fail")


app = Litestar(
    [newest, create, read, update, remove, upload, download, slow, echo, fail],
    lifespan=[database],
    logging_config=LoggingConfig(log_exceptions="always"),
    request_max_body_size=None,  # the server's --limit-body decides
)
