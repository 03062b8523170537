"""Notes on aiohttp, with asyncpg and its pool.

    eitherway serve notes_aiohttp:app --chdir examples --engine uvloop

What it answers stands in notes.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import asyncpg
from aiohttp import web

import notes

POOL = web.AppKey("pool", asyncpg.Pool)
routes = web.RouteTableDef()


async def database(app: web.Application) -> AsyncIterator[None]:
    """A pool belongs to the loop that made it; this runs in the loop of the requests, once, around all of them."""
    async with asyncpg.create_pool(notes.DATABASE_URL, min_size=1, max_size=10) as pool:
        await pool.execute(notes.SCHEMA)
        app[POOL] = pool
        yield


@routes.get("/notes")
async def newest(request: web.Request) -> web.Response:
    rows = await request.app[POOL].fetch("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")
    return web.json_response([dict(row) for row in rows])


@routes.post("/notes")
async def create(request: web.Request) -> web.Response:
    note = await one(request, "INSERT INTO note (text) VALUES ($1) RETURNING id, text", await wanted_text(request))
    return web.json_response(note, status=201, headers={"Location": f"/notes/{note['id']}"})


@routes.get(r"/notes/{number:\d+}")
async def read(request: web.Request) -> web.Response:
    return web.json_response(await one(request, "SELECT id, text FROM note WHERE id = $1", number_of(request)))


@routes.put(r"/notes/{number:\d+}")
async def update(request: web.Request) -> web.Response:
    text, number = await wanted_text(request), number_of(request)
    note = await one(request, "UPDATE note SET text = $1 WHERE id = $2 RETURNING id, text", text, number)
    return web.json_response(note)


@routes.delete(r"/notes/{number:\d+}")
async def delete(request: web.Request) -> web.Response:
    await one(request, "DELETE FROM note WHERE id = $1 RETURNING id, text", number_of(request))
    return web.Response(status=204)


def number_of(request: web.Request) -> int:
    return int(request.match_info["number"])


async def wanted_text(request: web.Request) -> str:
    try:
        text = notes.text_of(await request.json())
    except json.JSONDecodeError:
        text = None
    if text is None:
        raise web.HTTPBadRequest(text="send a JSON object with a text")
    return text


async def one(request: web.Request, statement: str, *values: object) -> dict[str, Any]:
    row = await request.app[POOL].fetchrow(statement, *values, timeout=10)
    if row is None:
        raise web.HTTPNotFound
    return dict(row)


@routes.put("/upload")
async def upload(request: web.Request) -> web.Response:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    async for part in request.content.iter_any():
        size += len(part)
        digest.update(part)
    return web.json_response({"size": size, "sha256": digest.hexdigest()})


@routes.get("/download")
async def download(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    for part in notes.download():
        await response.write(part)  # returns when the client has taken enough of it
    await response.write_eof()
    return response


@routes.get("/slow")
async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(notes.SLOW)
    return web.json_response({"waited": notes.SLOW})


current: ContextVar[int] = ContextVar("current")  # every request is a task, and has its own


@routes.get(r"/echo/{number:\d+}")
async def echo(request: web.Request) -> web.Response:
    current.set(number_of(request))
    await asyncio.sleep(notes.ECHO)
    return web.json_response({"number": current.get()})


@routes.get("/fail")
async def fail(request: web.Request) -> web.Response:
    raise RuntimeError("this is the error of /fail")


app = web.Application()
app.cleanup_ctx.append(database)
app.add_routes(routes)
