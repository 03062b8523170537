"""A guestbook on Bottle, kept in memory.

    eitherway serve bottle_guestbook:app --chdir examples --engine threads

Open http://localhost:8000/ in a browser and sign, or
Try: curl localhost:8000/api/entries --json '{"name": "Ada", "text": "Good tea."}'
     curl localhost:8000/upload -T some-file      curl localhost:8000/book.txt
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from bottle import Bottle, HTTPResponse, abort, redirect, request, response, template

app = Bottle()

# The data is this process's own: with several worker processes every one has its own book. The lock is for
# threads. Under gevent it becomes a greenlet's lock when the server patches, before this file is imported.
entries: list[dict[str, Any]] = []
lock = threading.Lock()

PAGE = """<!doctype html><title>Guestbook</title><h1>Bottle guestbook</h1>
<form method=post action=/sign><input name=name placeholder=name>
<input name=text placeholder=text><button>Sign</button></form>
% for entry in entries:
<p><b>{{entry["name"]}}</b>: {{entry["text"]}}</p>
% end
"""


def add(name: str, text: str) -> dict[str, Any]:
    with lock:
        entry = {"id": len(entries) + 1, "name": name, "text": text}
        entries.append(entry)
    return entry


@app.get("/")
def index() -> str:
    page: str = template(PAGE, entries=entries[-20:])
    return page


@app.post("/sign")
def sign() -> None:
    add(request.forms.getunicode("name") or "somebody", request.forms.getunicode("text") or "")
    redirect("/")


@app.get("/api/entries")
def list_entries() -> str:
    response.content_type = "application/json"
    return json.dumps(entries)


@app.post("/api/entries")
def create_entry() -> dict[str, Any]:
    wanted = request.json
    if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
        abort(400, "send a JSON object with a name and a text")
    entry = add(wanted["name"], str(wanted.get("text", "")))
    response.status = 201
    response.set_header("Location", f"/api/entries/{entry['id']}")
    return entry


@app.get("/api/entries/<number:int>")
def fetch_entry(number: int) -> dict[str, Any] | HTTPResponse:
    if 1 <= number <= len(entries):
        return entries[number - 1]
    return HTTPResponse({"error": f"no entry {number}"}, status=404)


@app.route("/upload", method=["POST", "PUT"])
def upload() -> dict[str, Any]:
    """Reads the body as it arrives.

    Bottle's `request.body` first stores the whole body. A server that sets `wsgi.input_terminated` ends the
    stream where the body ends, with a length or in chunks, so it can be read directly until it is empty.
    """
    stream = request.environ["wsgi.input"] if request.environ.get("wsgi.input_terminated") else request.body
    size, digest = 0, hashlib.sha256()
    while chunk := stream.read(65536):
        size += len(chunk)
        digest.update(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/book.txt")
def book() -> Iterator[str]:
    """The book as text, copied out often enough to be a real download (`?pages=`)."""
    response.content_type = "text/plain; charset=UTF-8"
    pages = min(int(request.query.get("pages", 2000)), 20_000)
    for page in range(1, pages + 1):
        yield f"page {page}\n" + "".join(f"{line:>4} . . . . . . . . . . . . .\n" for line in range(60))


@app.get("/slow")
def slow() -> dict[str, int]:
    """sync: all wait for this one. threads: one thread waits. gevent: only this greenlet waits."""
    ms = min(int(request.query.get("ms", 100)), 10_000)
    time.sleep(ms / 1000)
    return {"slept": ms}


@app.get("/boom")
def boom() -> None:
    raise RuntimeError("this is the deliberate error of /boom")
