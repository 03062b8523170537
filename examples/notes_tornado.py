"""Notes on Tornado, with psycopg's asynchronous pool.

    eitherway serve notes_tornado:app --chdir examples --engine asyncio

What it answers stands in notes.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextvars import ContextVar
from functools import cache
from typing import Any

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

import notes


@cache
def database() -> asyncio.Task[AsyncConnectionPool]:
    """Tornado knows no hook for the start, and a pool belongs to the loop of the requests: the first one opens it."""

    async def opened() -> AsyncConnectionPool:
        settings = {"autocommit": True, "row_factory": dict_row}
        pool = AsyncConnectionPool(notes.DATABASE_URL, min_size=1, max_size=10, timeout=10, kwargs=settings, open=False)
        try:
            await pool.open()
            async with pool.connection() as connection:
                await connection.execute(notes.SCHEMA)
        except BaseException:
            database.cache_clear()  # the next request tries again
            await pool.close()
            raise
        return pool

    return asyncio.create_task(opened())


class Handler(RequestHandler):
    async def query(self, statement: str, *values: object) -> list[dict[str, Any]]:
        pool = await asyncio.shield(database())
        async with pool.connection() as connection:
            return await (await connection.execute(statement, values)).fetchall()

    def wanted_text(self) -> str:
        try:
            text = notes.text_of(json.loads(self.request.body))
        except ValueError:
            text = None
        if text is None:
            raise HTTPError(400, "send a JSON object with a text")
        return text

    def first(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        if not found:
            raise HTTPError(404)
        return found[0]


class Notes(Handler):
    async def get(self) -> None:
        found = await self.query("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(found))  # Tornado makes JSON of a dictionary, not of a list

    async def post(self) -> None:
        [note] = await self.query("INSERT INTO note (text) VALUES (%s) RETURNING id, text", self.wanted_text())
        self.set_status(201)
        self.set_header("Location", f"/notes/{note['id']}")
        self.write(note)


class Note(Handler):
    async def get(self, number: str) -> None:
        self.write(self.first(await self.query("SELECT id, text FROM note WHERE id = %s", int(number))))

    async def put(self, number: str) -> None:
        statement = "UPDATE note SET text = %s WHERE id = %s RETURNING id, text"
        self.write(self.first(await self.query(statement, self.wanted_text(), int(number))))

    async def delete(self, number: str) -> None:
        self.first(await self.query("DELETE FROM note WHERE id = %s RETURNING id, text", int(number)))
        self.set_status(204)


@stream_request_body
class Upload(RequestHandler):
    """Gets the body as it arrives. It is never whole in memory, with a length or in chunks."""

    def prepare(self) -> None:
        self.size, self.digest = 0, hashlib.sha256()

    def data_received(self, part: bytes) -> None:
        self.size += len(part)
        self.digest.update(part)

    def put(self) -> None:
        self.write({"size": self.size, "sha256": self.digest.hexdigest()})


class Download(RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/plain")
        try:
            for part in notes.download():
                self.write(part)
                await self.flush()  # returns when the client has taken it
        except StreamClosedError:
            pass  # the client has left


class Slow(RequestHandler):
    async def get(self) -> None:
        await asyncio.sleep(notes.SLOW)
        self.write({"waited": notes.SLOW})


class Echo(RequestHandler):
    """Tornado has no global request. What must be global is a context variable: a task's."""

    current: ContextVar[int] = ContextVar("current")

    async def get(self, number: str) -> None:
        self.current.set(int(number))
        await asyncio.sleep(notes.ECHO)
        self.write({"number": self.current.get()})


class Fail(RequestHandler):
    def get(self) -> None:
        raise RuntimeError("this is the error of /fail")


app = Application(
    [
        ("/notes", Notes),
        (r"/notes/(\d+)", Note),
        ("/upload", Upload),
        ("/download", Download),
        ("/slow", Slow),
        (r"/echo/(\d+)", Echo),
        ("/fail", Fail),
    ]
)
