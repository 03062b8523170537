"""Notes on Django, in a single file, with the ORM and Django's own pool. Through ASGI: notes_django_asgi.py.

    eitherway serve notes_django:application --chdir examples --engine gevent

What it answers stands in notes.py.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import django
import psycopg
from asgiref.local import Local
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import require_http_methods
from psycopg.conninfo import conninfo_to_dict

import notes

_where = conninfo_to_dict(notes.DATABASE_URL)
settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _where.get("dbname", ""),
            **{key.upper(): _where.get(key, "") for key in ("user", "password", "host", "port")},
            # For threads and greenlets alike. Without it every thread and every greenlet would open its own connection.
            "OPTIONS": {"pool": {"min_size": 1, "max_size": 10, "timeout": 10}},
        },
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="an example has no secrets",
    USE_TZ=True,
)
django.setup()

from django.db import models  # noqa: E402 - Django must be set up before it


class Note(models.Model):
    text = models.TextField()

    class Meta:
        app_label = "notes"
        db_table = "note"
        managed = False  # a project has migrations; a single file makes its one table itself, below

    def as_json(self) -> dict[str, Any]:
        return {"id": self.pk, "text": self.text}


# Not through Django's connection: that one refuses to work while an event loop runs in this thread, and a server may
# import an ASGI application from inside its loop.
with psycopg.connect(notes.DATABASE_URL) as connection:
    connection.execute(notes.SCHEMA)


@require_http_methods(["GET", "POST"])
def all_notes(request: HttpRequest) -> HttpResponse:
    if request.method == "GET":
        return JsonResponse([note.as_json() for note in Note.objects.order_by("-pk")[:100]], safe=False)
    text = wanted_text(request)
    if text is None:
        return HttpResponse("send a JSON object with a text", status=400)
    note = Note.objects.create(text=text)
    return JsonResponse(note.as_json(), status=201, headers={"Location": f"/notes/{note.pk}"})


@require_http_methods(["GET", "PUT", "DELETE"])
def one_note(request: HttpRequest, number: int) -> HttpResponse:
    note = Note.objects.filter(pk=number).first()
    if note is None:
        return HttpResponse(f"there is no note {number}", status=404)
    if request.method == "DELETE":
        note.delete()
        return HttpResponse(status=204)
    if request.method == "PUT":
        text = wanted_text(request)
        if text is None:
            return HttpResponse("send a JSON object with a text", status=400)
        note.text = text
        note.save()
    return JsonResponse(note.as_json())


def wanted_text(request: HttpRequest) -> str | None:
    try:
        return notes.text_of(json.loads(request.body))
    except ValueError:
        return None


def upload(request: HttpRequest) -> HttpResponse:
    """Reads the body as it arrives, from the server's own stream: `request.read` wants a Content-Length, and finds a
    body in chunks empty."""
    return JsonResponse(measured(request.environ["wsgi.input"]))


def measured(stream: Any) -> dict[str, Any]:
    size, digest = 0, hashlib.sha256()
    while part := stream.read(65536):
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


def download(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(notes.download(), content_type="text/plain")


def slow(request: HttpRequest) -> HttpResponse:
    time.sleep(notes.SLOW)
    return JsonResponse({"waited": notes.SLOW})


local = Local()  # like threading.local, and in coroutines a task's own; Django keeps its connections in one


def echo(request: HttpRequest, number: int) -> HttpResponse:
    local.number = number
    time.sleep(notes.ECHO)
    return JsonResponse({"number": local.number})


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("this is the error of /fail")


urlpatterns = [
    path("notes", all_notes),
    path("notes/<int:number>", one_note),
    path("upload", upload),
    path("download", download),
    path("slow", slow),
    path("echo/<int:number>", echo),
    path("fail", fail),
]

application = get_wsgi_application()
