"""Notes on FastAPI: `def` where the database blocks, `async def` where one awaits.

    eitherway serve notes_fastapi:app --chdir examples --engine uvloop

FastAPI runs a plain `def` in one of the threads that it keeps for that, 40 by default. The pool is smaller: what the
database can bear decides, and who finds no connection free waits in a thread. It runs on Trio's loop too.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated, Any, TypedDict

import anyio
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from pydantic import BaseModel, Field

import notes


class Draft(BaseModel):
    text: str = Field(min_length=1)


class Note(Draft):
    id: int


class State(TypedDict):
    pool: ConnectionPool


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Runs once, around all requests of a worker. What it yields is `request.state` in every one of them."""
    settings = {"autocommit": True, "row_factory": dict_row}
    with ConnectionPool(notes.DATABASE_URL, min_size=1, max_size=20, timeout=10, kwargs=settings, open=False) as pool:
        with pool.connection() as connection:
            connection.execute(notes.SCHEMA)
        yield {"pool": pool}


def connected(request: Request) -> Iterator[Connection[dict[str, Any]]]:
    with request.state.pool.connection() as connection:
        yield connection


# Given back when the function has returned; the default would keep it until the client has taken the answer.
Database = Annotated[Connection[dict[str, Any]], Depends(connected, scope="function")]

app = FastAPI(title="Notes", lifespan=lifespan)


@app.get("/notes")
def newest(database: Database) -> list[Note]:
    found = database.execute("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")
    return [Note(**row) for row in found]


@app.post("/notes", status_code=201)
def create(draft: Draft, database: Database, response: Response) -> Note:
    note = one(database, "INSERT INTO note (text) VALUES (%s) RETURNING id, text", draft.text)
    response.headers["Location"] = f"/notes/{note.id}"
    return note


@app.get("/notes/{number}")
def read(number: int, database: Database) -> Note:
    return one(database, "SELECT id, text FROM note WHERE id = %s", number)


@app.put("/notes/{number}")
def update(number: int, draft: Draft, database: Database) -> Note:
    return one(database, "UPDATE note SET text = %s WHERE id = %s RETURNING id, text", draft.text, number)


@app.delete("/notes/{number}", status_code=204)
def delete(number: int, database: Database) -> None:
    one(database, "DELETE FROM note WHERE id = %s RETURNING id, text", number)


def one(database: Connection[dict[str, Any]], statement: str, *values: object) -> Note:
    row = database.execute(statement, values).fetchone()
    if row is None:
        raise HTTPException(404, "there is no such note")
    return Note(**row)


@app.put("/upload")
async def upload(request: Request) -> dict[str, Any]:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    async for part in request.stream():
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/download")
async def download() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for part in notes.download():
            yield part

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/slow")
async def slow() -> dict[str, float]:
    await anyio.sleep(notes.SLOW)
    return {"waited": notes.SLOW}


current: ContextVar[int] = ContextVar("current")  # every request is a task, and has its own


@app.get("/echo/{number}")
async def echo(number: int) -> dict[str, int]:
    current.set(number)
    await anyio.sleep(notes.ECHO)
    return {"number": current.get()}


@app.get("/fail")
async def fail() -> None:
    raise RuntimeError("this is the error of /fail")
