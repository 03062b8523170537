"""Notes on Django, in a single file, with the ORM on SQLite. The same project speaks WSGI and ASGI:

    eitherway serve django_notes:application --chdir examples --engine gevent
    eitherway serve django_notes:asgi_application --chdir examples --engine uvloop

Try: curl localhost:8000/api/notes --json '{"title": "tea", "text": "buy some"}'
     curl localhost:8000/api/notes/1      curl localhost:8000/notes.jsonl
     curl localhost:8000/upload -T some-file
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

DATABASE = os.environ.get("NOTES_DB") or str(Path(__file__).with_name("notes.sqlite3"))

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE, "OPTIONS": {"timeout": 10}},
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
    },
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="an example has no secrets",
    USE_TZ=True,
)
django.setup()

from django.db import models  # noqa: E402 - Django must be set up before it


class Note(models.Model):
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    written = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "notes"
        db_table = "note"
        managed = False  # a project has migrations; a single file makes its one table itself, below

    def as_json(self) -> dict[str, Any]:
        return {"id": self.pk, "title": self.title, "text": self.text, "written": self.written.isoformat()}


# Not through Django's connection: that one refuses to work while an event loop runs in this thread, and a
# server may import an ASGI application from inside its loop.
with sqlite3.connect(DATABASE, timeout=10) as connection:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS note"
        " (id INTEGER PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL, written DATETIME NOT NULL)"
    )
connection.close()


# Plain views. Under WSGI they run where the engine runs them: a process, a thread, a greenlet. Under ASGI
# Django moves each into a thread, because the ORM blocks and must not block the loop.


def index(request: HttpRequest) -> HttpResponse:
    interface = "ASGI" if isinstance(request, ASGIRequest) else "WSGI"
    return HttpResponse(
        "<!doctype html><title>Notes</title><h1>Django notes</h1>"
        f"<p>{Note.objects.count()} notes at /api/notes, served through {interface}</p>"
    )


def notes(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return JsonResponse([note.as_json() for note in Note.objects.order_by("pk")], safe=False)
    try:
        wanted = json.loads(request.body)
        note = Note.objects.create(title=wanted["title"], text=wanted.get("text", ""))
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"error": "send a JSON object with a title and a text"}, status=400)
    return JsonResponse(note.as_json(), status=201, headers={"Location": f"/api/notes/{note.pk}"})


def fetch_note(request: HttpRequest, number: int) -> HttpResponse:
    note = Note.objects.filter(pk=number).first()
    if note is None:
        return JsonResponse({"error": f"no note {number}"}, status=404)
    return JsonResponse(note.as_json())


def upload(request: HttpRequest) -> HttpResponse:
    """Reads the body in parts: under WSGI as it arrives, under ASGI from the temporary file that Django's
    handler made of it. Under WSGI Django wants a Content-Length: a long body in chunks looks empty to it."""
    size, digest = 0, hashlib.sha256()
    while chunk := request.read(65536):
        size += len(chunk)
        digest.update(chunk)
    return JsonResponse({"size": size, "sha256": digest.hexdigest()})


def jsonl(start: int, stop: int) -> str:
    rows = ({"id": row, "title": f"an old note, number {row}"} for row in range(start, stop))
    return "".join(json.dumps(row) + "\n" for row in rows)


def export_parts(rows: int) -> Iterator[str]:
    for start in range(0, rows, 1000):
        yield jsonl(start, min(start + 1000, rows))


async def aexport_parts(rows: int) -> AsyncIterator[str]:
    for part in export_parts(rows):
        yield part


def export(request: HttpRequest) -> StreamingHttpResponse:
    """Some megabytes in parts. Django streams what fits the interface: a plain generator under WSGI, an
    asynchronous one under ASGI; the other way round it would first collect all of it in memory."""
    rows = min(int(request.GET.get("rows", 60_000)), 1_000_000)
    parts = aexport_parts(rows) if isinstance(request, ASGIRequest) else export_parts(rows)
    return StreamingHttpResponse(parts, content_type="application/jsonl")


def milliseconds(request: HttpRequest) -> int:
    return min(int(request.GET.get("ms", 100)), 10_000)


def slow(request: HttpRequest) -> HttpResponse:
    """A plain view that waits. gevent: the patched sleep lets the others run. ASGI: costs a thread."""
    ms = milliseconds(request)
    time.sleep(ms / 1000)
    return JsonResponse({"slept": ms})


async def aslow(request: HttpRequest) -> HttpResponse:
    """The same, `async`. For ASGI, where it costs no thread; under WSGI Django starts a whole loop for it."""
    ms = milliseconds(request)
    await asyncio.sleep(ms / 1000)
    return JsonResponse({"slept": ms})


def boom(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("this is the deliberate error of /boom")


urlpatterns = [
    path("", index),
    path("api/notes", notes),
    path("api/notes/<int:number>", fetch_note),
    path("upload", upload),
    path("notes.jsonl", export),
    path("slow", slow),
    path("aslow", aslow),
    path("boom", boom),
]

application = get_wsgi_application()
asgi_application = get_asgi_application()  # it knows no lifespan, and says so; servers must go on without
