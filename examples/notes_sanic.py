"""Notes on Sanic, with asyncpg and its pool.

    eitherway serve notes_sanic:app --chdir examples --engine uvloop

What it answers stands in notes.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import asyncpg
from sanic import BadRequest, HTTPResponse, NotFound, Request, Sanic, empty, json

import notes

app = Sanic("notes")


@app.before_server_start
async def open_pool(app: Sanic) -> None:
    app.ctx.pool = await asyncpg.create_pool(notes.DATABASE_URL, min_size=1, max_size=10)
    await app.ctx.pool.execute(notes.SCHEMA)


@app.after_server_stop
async def close_pool(app: Sanic) -> None:
    await app.ctx.pool.close()


@app.get("/notes")
async def newest(request: Request) -> HTTPResponse:
    return json([dict(row) for row in await app.ctx.pool.fetch("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")])


@app.post("/notes")
async def create(request: Request) -> HTTPResponse:
    note = await one("INSERT INTO note (text) VALUES ($1) RETURNING id, text", wanted_text(request))
    return json(note, status=201, headers={"Location": f"/notes/{note['id']}"})


@app.get("/notes/<number:int>")
async def read(request: Request, number: int) -> HTTPResponse:
    return json(await one("SELECT id, text FROM note WHERE id = $1", number))


@app.put("/notes/<number:int>")
async def update(request: Request, number: int) -> HTTPResponse:
    return json(await one("UPDATE note SET text = $1 WHERE id = $2 RETURNING id, text", wanted_text(request), number))


@app.delete("/notes/<number:int>")
async def delete(request: Request, number: int) -> HTTPResponse:
    await one("DELETE FROM note WHERE id = $1 RETURNING id, text", number)
    return empty()


def wanted_text(request: Request) -> str:
    text = notes.text_of(request.json)
    if text is None:
        raise BadRequest("send a JSON object with a text")
    return text


async def one(statement: str, *values: object) -> dict[str, Any]:
    row = await app.ctx.pool.fetchrow(statement, *values, timeout=10)
    if row is None:
        raise NotFound("there is no such note")
    return dict(row)


@app.put("/upload", stream=True)
async def upload(request: Request) -> HTTPResponse:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    async for part in request.stream:
        size += len(part)
        digest.update(part)
    return json({"size": size, "sha256": digest.hexdigest()})


@app.get("/download")
async def download(request: Request) -> None:
    response = await request.respond(content_type="text/plain")
    for part in notes.download():
        await response.send(part)  # returns when the client has taken it
    await response.eof()


@app.get("/slow")
async def slow(request: Request) -> HTTPResponse:
    await asyncio.sleep(notes.SLOW)
    return json({"waited": notes.SLOW})


@app.get("/echo/<number:int>")
async def echo(request: Request, number: int) -> HTTPResponse:
    request.ctx.number = number
    await asyncio.sleep(notes.ECHO)
    return json({"number": Request.get_current().ctx.number})  # from a context variable: this task's own request


@app.get("/fail")
async def fail(request: Request) -> HTTPResponse:
    raise RuntimeError("this is the error of /fail")
