"""Notes on Pyramid, with SQLAlchemy and its pool.

    eitherway serve "notes_pyramid:create_app()" --chdir examples --engine gevent

What it answers stands in notes.py.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPNoContent, HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.threadlocal import get_current_request
from pyramid.view import view_config
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import notes


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "text": self.text}


# SQLAlchemy's QueuePool is for threads and for greenlets. Ten connections and none beyond, also at a peak: the
# eleventh request waits here up to 10 seconds, and not in the database.
engine = create_engine(
    make_url(notes.DATABASE_URL).set(drivername="postgresql+psycopg"), pool_size=10, max_overflow=0, pool_timeout=10
)
sessions = sessionmaker(engine, expire_on_commit=False)


def session(request: Request) -> Session:
    """`request.db`: opened when a view first asks for it, closed when the request is over."""
    opened = sessions()
    request.add_finished_callback(lambda _request: opened.close())
    return opened


@view_config(route_name="notes", request_method="GET", renderer="json")
def newest(request: Request) -> Any:
    return [note.as_json() for note in request.db.scalars(select(Note).order_by(Note.id.desc()).limit(100))]


@view_config(route_name="notes", request_method="POST", renderer="json")
def create(request: Request) -> Any:
    note = Note(text=wanted_text(request))
    with request.db.begin():
        request.db.add(note)
    request.response.status_int = 201
    request.response.location = f"/notes/{note.id}"
    return note.as_json()


@view_config(route_name="note", request_method="GET", renderer="json")
def read(request: Request) -> Any:
    return found(request).as_json()


@view_config(route_name="note", request_method="PUT", renderer="json")
def update(request: Request) -> Any:
    with request.db.begin():
        note = found(request)
        note.text = wanted_text(request)
    return note.as_json()


@view_config(route_name="note", request_method="DELETE")
def delete(request: Request) -> Response:
    with request.db.begin():
        request.db.delete(found(request))
    return HTTPNoContent()


def wanted_text(request: Request) -> str:
    try:
        wanted = notes.text_of(request.json_body)
    except ValueError:
        wanted = None
    if wanted is None:
        raise HTTPBadRequest("send a JSON object with a text")
    return wanted


def found(request: Request) -> Note:
    note = request.db.get(Note, int(request.matchdict["number"]))
    if note is None:
        raise HTTPNotFound()
    return note


@view_config(route_name="upload", request_method="PUT", renderer="json")
def upload(request: Request) -> Any:
    """Reads the body as it arrives: `body_file` is the server's own stream, cut at the body's length if it has one."""
    size, digest = 0, hashlib.sha256()
    while part := request.body_file.read(65536):
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


@view_config(route_name="download")
def download(request: Request) -> Response:
    return Response(app_iter=notes.download(), content_type="text/plain")


@view_config(route_name="slow", renderer="json")
def slow(request: Request) -> Any:
    time.sleep(notes.SLOW)
    return {"waited": notes.SLOW}


@view_config(route_name="echo", renderer="json")
def echo(request: Request) -> Any:
    request.number = int(request.matchdict["number"])
    time.sleep(notes.ECHO)
    return {"number": get_current_request().number}  # the request of this thread or greenlet


@view_config(route_name="fail")
def fail(request: Request) -> Response:
    raise RuntimeError("this is the error of /fail")


def create_app() -> Any:
    """Called once by every worker."""
    with engine.begin() as connection:
        connection.execute(text(notes.SCHEMA))
    engine.dispose()  # a worker that is forked from here must not have a connection in common with another
    with Configurator() as config:
        config.add_request_method(session, "db", reify=True)
        for name in ("notes", "upload", "download", "slow", "fail"):
            config.add_route(name, f"/{name}")
        config.add_route("note", r"/notes/{number:\d+}")
        config.add_route("echo", r"/echo/{number:\d+}")
        config.scan(__name__)
        return config.make_wsgi_app()
