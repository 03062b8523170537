"""Notes on Quart, with asyncpg and its pool.

    eitherway serve notes_quart:app --chdir examples --engine uvloop

What it answers stands in notes.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
from quart import Quart, abort, g, request
from quart.typing import ResponseReturnValue

import notes

app = Quart(__name__)


@app.while_serving
async def database() -> AsyncIterator[None]:
    """A pool belongs to the loop that made it; this runs in the loop of the requests, once, around all of them."""
    async with asyncpg.create_pool(notes.DATABASE_URL, min_size=1, max_size=10) as app.pool:
        await app.pool.execute(notes.SCHEMA)
        yield


@app.get("/notes")
async def newest() -> ResponseReturnValue:
    return [dict(row) for row in await app.pool.fetch("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")]


@app.post("/notes")
async def create() -> ResponseReturnValue:
    note = await one("INSERT INTO note (text) VALUES ($1) RETURNING id, text", await wanted_text())
    return note, 201, {"Location": f"/notes/{note['id']}"}


@app.get("/notes/<int:number>")
async def read(number: int) -> ResponseReturnValue:
    return await one("SELECT id, text FROM note WHERE id = $1", number)


@app.put("/notes/<int:number>")
async def update(number: int) -> ResponseReturnValue:
    return await one("UPDATE note SET text = $1 WHERE id = $2 RETURNING id, text", await wanted_text(), number)


@app.delete("/notes/<int:number>")
async def delete(number: int) -> ResponseReturnValue:
    await one("DELETE FROM note WHERE id = $1 RETURNING id, text", number)
    return "", 204


async def wanted_text() -> str:
    return notes.text_of(await request.get_json()) or abort(400, "send a JSON object with a text")


async def one(statement: str, *values: object) -> dict[str, Any]:
    row = await app.pool.fetchrow(statement, *values, timeout=10)
    return dict(row) if row else abort(404)


@app.put("/upload")
async def upload() -> ResponseReturnValue:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    async for part in request.body:
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/download")
async def download() -> ResponseReturnValue:
    async def parts() -> AsyncIterator[bytes]:
        for part in notes.download():
            yield part

    return parts(), {"Content-Type": "text/plain"}


@app.get("/slow")
async def slow() -> ResponseReturnValue:
    await asyncio.sleep(notes.SLOW)
    return {"waited": notes.SLOW}


@app.get("/echo/<int:number>")
async def echo(number: int) -> ResponseReturnValue:
    g.number = number  # kept in a context variable, so it is this task's own
    await asyncio.sleep(notes.ECHO)
    return {"number": g.number}


@app.get("/fail")
async def fail() -> ResponseReturnValue:
    raise RuntimeError("this is the error of /fail")
