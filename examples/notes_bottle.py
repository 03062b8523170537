"""Notes on Bottle, with psycopg and its pool.

    eitherway serve notes_bottle:app --chdir examples --engine threads

What it answers stands in notes.py.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from bottle import Bottle, HTTPError, request, response
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

import notes

app = Bottle()

# As many connections as the engine has threads: then none of them ever waits for another's.
pool = ConnectionPool(
    notes.DATABASE_URL,
    min_size=1,
    max_size=8,
    timeout=10,
    kwargs={"autocommit": True, "row_factory": dict_row},
    open=False,
)
with psycopg.connect(notes.DATABASE_URL) as connection:
    connection.execute(notes.SCHEMA)


def query(statement: str, *values: object) -> list[dict[str, Any]]:
    pool.open()  # does nothing if it is; so each worker opens its own, also one that was forked from this import
    with pool.connection() as connection:
        return connection.execute(statement, values).fetchall()


@app.get("/notes")
def newest() -> str:
    response.content_type = "application/json"  # Bottle makes JSON of a dictionary, not of a list
    return json.dumps(query("SELECT id, text FROM note ORDER BY id DESC LIMIT 100"))


@app.post("/notes")
def create() -> dict[str, Any]:
    [note] = query("INSERT INTO note (text) VALUES (%s) RETURNING id, text", wanted_text())
    response.status = 201
    response.set_header("Location", f"/notes/{note['id']}")
    return note


@app.get("/notes/<number:int>")
def read(number: int) -> dict[str, Any]:
    return first(query("SELECT id, text FROM note WHERE id = %s", number))


@app.put("/notes/<number:int>")
def update(number: int) -> dict[str, Any]:
    return first(query("UPDATE note SET text = %s WHERE id = %s RETURNING id, text", wanted_text(), number))


@app.delete("/notes/<number:int>")
def delete(number: int) -> None:
    first(query("DELETE FROM note WHERE id = %s RETURNING id, text", number))
    response.status = 204


def wanted_text() -> str:
    text = notes.text_of(request.json)
    if text is None:
        raise HTTPError(400, "send a JSON object with a text")
    return text


def first(found: list[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        raise HTTPError(404, "there is no such note")
    return found[0]


@app.put("/upload")
def upload() -> dict[str, Any]:
    """Reads the body as it arrives. `request.body` would first store all of it, and decode chunks once more; the
    server's own stream ends where the body ends, and says so with `wsgi.input_terminated`."""
    stream = request.environ["wsgi.input"]
    size, digest = 0, hashlib.sha256()
    while part := stream.read(65536):
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/download")
def download() -> Iterator[bytes]:
    response.content_type = "text/plain"
    return notes.download()


@app.get("/slow")
def slow() -> dict[str, Any]:
    time.sleep(notes.SLOW)
    return {"waited": notes.SLOW}


@app.get("/echo/<number:int>")
def echo(number: int) -> dict[str, Any]:
    request.number = number  # Bottle's `request` is one global name for each thread's or greenlet's own request
    time.sleep(notes.ECHO)
    return {"number": request.number}


@app.get("/fail")
def fail() -> None:
    raise RuntimeError("this is the error of /fail")
