"""Notes on Flask, with psycopg and its pool.

    eitherway serve notes_flask:app --chdir examples --engine gevent

What it answers stands in notes.py.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import psycopg
from flask import Flask, Response, abort, g, request
from flask.typing import ResponseReturnValue
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

import notes

app = Flask(__name__)

# Right for threads and, patched by the server before this import, for greenlets. Who finds no connection free waits
# up to 10 seconds for one: however many requests there are, the database sees ten connections from each worker.
pool = ConnectionPool(
    notes.DATABASE_URL,
    min_size=1,
    max_size=10,
    timeout=10,
    kwargs={"autocommit": True, "row_factory": dict_row},
    open=False,
)
with psycopg.connect(notes.DATABASE_URL) as connection:
    connection.execute(notes.SCHEMA)


def query(statement: str, *values: object) -> list[dict[str, Any]]:
    """The connection goes back with the last row: nobody holds one while a client takes its time."""
    pool.open()  # does nothing if it is; so each worker opens its own, also one that was forked from this import
    with pool.connection() as connection:
        return connection.execute(statement, values).fetchall()


@app.get("/notes")
def newest() -> ResponseReturnValue:
    return query("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")


@app.post("/notes")
def create() -> ResponseReturnValue:
    [note] = query("INSERT INTO note (text) VALUES (%s) RETURNING id, text", wanted_text())
    return note, 201, {"Location": f"/notes/{note['id']}"}


@app.get("/notes/<int:number>")
def read(number: int) -> ResponseReturnValue:
    return first(query("SELECT id, text FROM note WHERE id = %s", number))


@app.put("/notes/<int:number>")
def update(number: int) -> ResponseReturnValue:
    return first(query("UPDATE note SET text = %s WHERE id = %s RETURNING id, text", wanted_text(), number))


@app.delete("/notes/<int:number>")
def delete(number: int) -> ResponseReturnValue:
    first(query("DELETE FROM note WHERE id = %s RETURNING id, text", number))
    return "", 204


def wanted_text() -> str:
    return notes.text_of(request.get_json()) or abort(400, "send a JSON object with a text")


def first(found: list[dict[str, Any]]) -> dict[str, Any]:
    return found[0] if found else abort(404)


@app.put("/upload")
def upload() -> ResponseReturnValue:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    while part := request.stream.read(65536):
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/download")
def download() -> ResponseReturnValue:
    return Response(notes.download(), mimetype="text/plain")


@app.get("/slow")
def slow() -> ResponseReturnValue:
    """sync: nobody else is served meanwhile. threads: this thread waits. gevent: `time.sleep` is patched, so this
    greenlet gives control back and all others run; the line stays the same."""
    time.sleep(notes.SLOW)
    return {"waited": notes.SLOW}


@app.get("/echo/<int:number>")
def echo(number: int) -> ResponseReturnValue:
    g.number = number  # `g` is this request's, on a thread, a greenlet or a task
    time.sleep(notes.ECHO)
    return {"number": g.number}


@app.get("/fail")
def fail() -> ResponseReturnValue:
    raise RuntimeError("this is the error of /fail")
