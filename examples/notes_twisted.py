"""Notes on twisted.web, with psycopg in Twisted's own pool of connections.

    eitherway serve notes_twisted:app --chdir examples --engine twisted

What it answers stands in notes.py.
"""

from __future__ import annotations

import hashlib
import json
from contextvars import ContextVar
from functools import cache
from typing import Any

import psycopg
from psycopg.rows import dict_row
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import deferLater
from twisted.python import log
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

import notes


@cache
def database() -> ConnectionPool:
    """A thread for each connection. They are the process's own, so each worker opens its pool at its first request.

    While all are taken requests wait for one, for as long as it takes: adbapi knows no time-out.
    """
    with psycopg.connect(notes.DATABASE_URL) as connection:
        connection.execute(notes.SCHEMA)
    return ConnectionPool("psycopg", notes.DATABASE_URL, row_factory=dict_row, cp_min=1, cp_max=10)


def query(statement: str, *values: object) -> Deferred[list[dict[str, Any]]]:
    return database().runQuery(statement, values)


class Refusal(Exception):  # noqa: N818 - it is no fault of ours
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Handler(Resource):
    """Its methods `get`, `post`, ... are coroutines; what they return is sent as JSON."""

    def render(self, request: Request) -> int:
        work = Deferred.fromCoroutine(self.respond(request))
        request.notifyFinish().addErrback(lambda _: work.cancel())  # the client has left
        work.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    async def respond(self, request: Request) -> None:
        try:
            document = await self.method(request)(request)
        except CancelledError:
            raise
        except Refusal as refusal:
            request.setResponseCode(refusal.status)
            document = {"error": str(refusal)}
        except Exception:
            log.err()
            request.setResponseCode(500)
            document = {"error": "a fault of ours"}
        if document is not None:
            request.setHeader("Content-Type", "application/json")
            request.write(json.dumps(document).encode())
        request.finish()

    def method(self, request: Request) -> Any:
        method = getattr(self, request.method.decode("latin-1").lower(), None)
        if method is None or request.method not in (b"GET", b"POST", b"PUT", b"DELETE"):
            raise Refusal(405, "this is not done here")
        return method


def wanted_text(request: Request) -> str:
    try:
        text = notes.text_of(json.load(request.content))
    except ValueError:
        text = None
    if text is None:
        raise Refusal(400, "send a JSON object with a text")
    return text


def first(found: list[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        raise Refusal(404, "there is no such note")
    return found[0]


class Notes(Handler):
    def getChild(self, path: bytes, request: Request) -> Resource:  # noqa: N802
        return Note(int(path)) if path.isdigit() else super().getChild(path, request)

    async def get(self, request: Request) -> list[dict[str, Any]]:
        return await query("SELECT id, text FROM note ORDER BY id DESC LIMIT 100")

    async def post(self, request: Request) -> dict[str, Any]:
        [note] = await query("INSERT INTO note (text) VALUES (%s) RETURNING id, text", wanted_text(request))
        request.setResponseCode(201)
        request.setHeader("Location", f"/notes/{note['id']}")
        return note


class Note(Handler):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    async def get(self, request: Request) -> dict[str, Any]:
        return first(await query("SELECT id, text FROM note WHERE id = %s", self.number))

    async def put(self, request: Request) -> dict[str, Any]:
        statement = "UPDATE note SET text = %s WHERE id = %s RETURNING id, text"
        return first(await query(statement, wanted_text(request), self.number))

    async def delete(self, request: Request) -> None:
        first(await query("DELETE FROM note WHERE id = %s RETURNING id", self.number))
        request.setResponseCode(204)


class Upload(Handler):
    async def put(self, request: Request) -> dict[str, Any]:
        """twisted.web has the whole body by now; a large one is in a temporary file, and is read in parts."""
        size, digest = 0, hashlib.sha256()
        while part := request.content.read(65536):
            size += len(part)
            digest.update(part)
        return {"size": size, "sha256": digest.hexdigest()}


class Download(Resource):
    def render_GET(self, request: Request) -> int:  # noqa: N802
        request.setHeader("Content-Type", "text/plain")
        request.registerProducer(Parts(request), streaming=False)
        return NOT_DONE_YET


@implementer(IPullProducer)
class Parts:
    """Asked for the next part when the client has taken the last one."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.parts = notes.download()

    def resumeProducing(self) -> None:  # noqa: N802
        if part := next(self.parts, None):
            self.request.write(part)
        else:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None:  # noqa: N802
        """The client has left."""


class Slow(Handler):
    async def get(self, request: Request) -> dict[str, Any]:
        await deferLater(reactor, notes.SLOW)
        return {"waited": notes.SLOW}


class Echoes(Resource):
    def getChild(self, path: bytes, request: Request) -> Resource:  # noqa: N802
        return Echo(int(path)) if path.isdigit() else super().getChild(path, request)


class Echo(Handler):
    """twisted.web has no global request. What must be global is a context variable: a coroutine's."""

    current: ContextVar[int] = ContextVar("current")

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    async def get(self, request: Request) -> dict[str, Any]:
        self.current.set(self.number)
        await deferLater(reactor, notes.ECHO)
        return {"number": self.current.get()}


class Fail(Handler):
    async def get(self, request: Request) -> None:
        raise RuntimeError("this is the error of /fail")


app = Resource()
app.putChild(b"notes", Notes())
app.putChild(b"upload", Upload())
app.putChild(b"download", Download())
app.putChild(b"slow", Slow())
app.putChild(b"echo", Echoes())
app.putChild(b"fail", Fail())
