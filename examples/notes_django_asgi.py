"""The Django project of notes_django.py through ASGI: its views on the ORM as they are, and coroutines where one waits.

    eitherway serve notes_django_asgi:application --chdir examples --engine uvloop

Django runs a plain view in a thread, since the ORM blocks and must not block the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

import notes
import notes_django


def upload(request: HttpRequest) -> HttpResponse:
    """Django has stored the body in a temporary file before the view runs."""
    return JsonResponse(notes_django.measured(request))


async def download(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        for part in notes.download():
            yield part

    return StreamingHttpResponse(parts(), content_type="text/plain")  # a plain generator would first be collected whole


async def slow(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(notes.SLOW)  # costs no thread
    return JsonResponse({"waited": notes.SLOW})


async def echo(request: HttpRequest, number: int) -> HttpResponse:
    notes_django.local.number = number
    await asyncio.sleep(notes.ECHO)
    return JsonResponse({"number": notes_django.local.number})


urlpatterns = [
    path("upload", upload),
    path("download", download),
    path("slow", slow),
    path("echo/<int:number>", echo),
    *notes_django.urlpatterns,  # the first that fits is taken
]
settings.ROOT_URLCONF = __name__

application = get_asgi_application()  # it knows no lifespan, and says so; the server goes on without
