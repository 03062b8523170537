"""Notes on Falcon's WSGI side, with psycopg and its pool. Its ASGI side: notes_falcon_asgi.py.

    eitherway serve notes_falcon_wsgi:app --chdir examples --engine threads

What it answers stands in notes.py.
"""

from __future__ import annotations

import hashlib
import threading
import time
from typing import Any

import falcon
import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

import notes

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


class Notes:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = query("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        [note] = query("INSERT INTO note (text) VALUES (%s) RETURNING id, text", wanted_text(request))
        response.status = falcon.HTTP_CREATED
        response.location = f"/notes/{note['id']}"
        response.media = note


class Note:
    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        response.media = first(query("SELECT id, text FROM note WHERE id = %s", number))

    def on_put(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        response.media = first(
            query("UPDATE note SET text = %s WHERE id = %s RETURNING id, text", wanted_text(request), number)
        )

    def on_delete(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        first(query("DELETE FROM note WHERE id = %s RETURNING id, text", number))
        response.status = falcon.HTTP_NO_CONTENT


def wanted_text(request: falcon.Request) -> str:
    text = notes.text_of(request.get_media())
    if text is None:
        raise falcon.HTTPBadRequest(description="send a JSON object with a text")
    return text


def first(found: list[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        raise falcon.HTTPNotFound
    return found[0]


class Upload:
    def on_put(self, request: falcon.Request, response: falcon.Response) -> None:
        """Reads the body as it arrives. `bounded_stream` would be empty for a body in chunks; the server's own stream
        ends where the body ends, with a length or in chunks."""
        size, digest = 0, hashlib.sha256()
        while part := request.stream.read(65536):
            size += len(part)
            digest.update(part)
        response.media = {"size": size, "sha256": digest.hexdigest()}


class Download:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = falcon.MEDIA_TEXT
        response.stream = notes.download()


class Slow:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        time.sleep(notes.SLOW)
        response.media = {"waited": notes.SLOW}


class Echo:
    """Falcon hands the request around and has no global one. What must be global is a `threading.local`: a thread's
    own, and a greenlet's own where the server has patched it."""

    local = threading.local()

    def on_get(self, request: falcon.Request, response: falcon.Response, number: int) -> None:
        self.local.number = number
        time.sleep(notes.ECHO)
        response.media = {"number": self.local.number}


class Fail:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise RuntimeError("this is the error of /fail")


app = falcon.App()
app.add_route("/notes", Notes())
app.add_route("/notes/{number:int}", Note())
app.add_route("/upload", Upload())
app.add_route("/download", Download())
app.add_route("/slow", Slow())
app.add_route("/echo/{number:int}", Echo())
app.add_route("/fail", Fail())
