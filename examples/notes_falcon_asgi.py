"""Notes on Falcon's ASGI side, with psycopg's asynchronous pool. Its WSGI side: notes_falcon_wsgi.py.

    eitherway serve notes_falcon_asgi:app --chdir examples --engine asyncio

What it answers stands in notes.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import falcon
import falcon.asgi
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

import notes

Request, Response = falcon.asgi.Request, falcon.asgi.Response

pool = AsyncConnectionPool(
    notes.DATABASE_URL,
    min_size=1,
    max_size=10,
    timeout=10,
    kwargs={"autocommit": True, "row_factory": dict_row},
    open=False,
)


class Lifespan:
    """Falcon calls it when the server starts and stops, in the loop of the requests, to which the pool belongs."""

    async def process_startup(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        await pool.open()
        async with pool.connection() as connection:
            await connection.execute(notes.SCHEMA)

    async def process_shutdown(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        await pool.close()


async def query(statement: str, *values: object) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        return await (await connection.execute(statement, values)).fetchall()


class Notes:
    async def on_get(self, request: Request, response: Response) -> None:
        response.media = await query("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")

    async def on_post(self, request: Request, response: Response) -> None:
        [note] = await query("INSERT INTO note (text) VALUES (%s) RETURNING id, text", await wanted_text(request))
        response.status = falcon.HTTP_CREATED
        response.location = f"/notes/{note['id']}"
        response.media = note


class Note:
    async def on_get(self, request: Request, response: Response, number: int) -> None:
        response.media = first(await query("SELECT id, text FROM note WHERE id = %s", number))

    async def on_put(self, request: Request, response: Response, number: int) -> None:
        text = await wanted_text(request)
        response.media = first(await query("UPDATE note SET text = %s WHERE id = %s RETURNING id, text", text, number))

    async def on_delete(self, request: Request, response: Response, number: int) -> None:
        first(await query("DELETE FROM note WHERE id = %s RETURNING id, text", number))
        response.status = falcon.HTTP_NO_CONTENT


async def wanted_text(request: Request) -> str:
    text = notes.text_of(await request.get_media())
    if text is None:
        raise falcon.HTTPBadRequest(description="send a JSON object with a text")
    return text


def first(found: list[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        raise falcon.HTTPNotFound
    return found[0]


class Upload:
    async def on_put(self, request: Request, response: Response) -> None:
        """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
        size, digest = 0, hashlib.sha256()
        async for part in request.stream:
            size += len(part)
            digest.update(part)
        response.media = {"size": size, "sha256": digest.hexdigest()}


class Download:
    async def on_get(self, request: Request, response: Response) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for part in notes.download():
                yield part

        response.content_type = falcon.MEDIA_TEXT
        response.stream = parts()


class Slow:
    async def on_get(self, request: Request, response: Response) -> None:
        await asyncio.sleep(notes.SLOW)
        response.media = {"waited": notes.SLOW}


class Echo:
    """Falcon hands the request around and has no global one. What must be global is a context variable: a task's."""

    current: ContextVar[int] = ContextVar("current")

    async def on_get(self, request: Request, response: Response, number: int) -> None:
        self.current.set(number)
        await asyncio.sleep(notes.ECHO)
        response.media = {"number": self.current.get()}


class Fail:
    async def on_get(self, request: Request, response: Response) -> None:
        raise RuntimeError("this is the error of /fail")


app = falcon.asgi.App(middleware=[Lifespan()])
app.add_route("/notes", Notes())
app.add_route("/notes/{number:int}", Note())
app.add_route("/upload", Upload())
app.add_route("/download", Download())
app.add_route("/slow", Slow())
app.add_route("/echo/{number:int}", Echo())
app.add_route("/fail", Fail())
