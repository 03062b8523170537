"""What the notes applications share, so that each file shows its framework and nothing else.

    export DATABASE_URL=postgresql://localhost/notes
    eitherway serve notes_flask:app --chdir examples --engine gevent

All of them answer alike, and tests/matrix.py puts the same questions to each on every engine:

    GET    /notes          the newest 100        curl localhost:8000/notes
    POST   /notes          a new one             curl localhost:8000/notes --json '{"text": "buy tea"}'
    GET    /notes/<id>     404 if there is none
    PUT    /notes/<id>     a new text
    DELETE /notes/<id>
    PUT    /upload         size and hash         curl localhost:8000/upload -T some-file
    GET    /download       4 MiB, as a stream    curl localhost:8000/download -o file
    GET    /slow           waits 100 ms, as for a slow service
    GET    /echo/<number>  keeps the number where the framework keeps what belongs to one request, waits, and returns it
    GET    /fail           an exception
"""

from __future__ import annotations

import os
from collections.abc import Iterator

DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql://localhost/notes")

# The lock is for workers that start together: two that create the same table at once, one of them fails.
SCHEMA = """
    SELECT pg_advisory_xact_lock(20130);
    CREATE TABLE IF NOT EXISTS note (id bigserial PRIMARY KEY, text text NOT NULL)
"""

SLOW = 0.1  # seconds
ECHO = 0.01


def download() -> Iterator[bytes]:
    """4 MiB in parts, each made when it is asked for."""
    for number in range(64):
        yield b"part %010d\n" % number * 4096


def text_of(document: object) -> str | None:
    """The text of a note that a client sent as JSON; None if it is not one."""
    text = document.get("text") if isinstance(document, dict) else None
    return text if isinstance(text, str) and text else None
