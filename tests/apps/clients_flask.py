"""A Flask application as people write them, for clients as people use them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from flask import Flask, Response, redirect, request, session

app = Flask(__name__)
app.secret_key = "only for tests"
BLOCK = bytes(range(256)) * 64


@app.get("/hello")
def hello() -> dict[str, str]:
    return {"hello": request.args.get("name", "you")}


@app.route("/json", methods=["POST", "PUT", "PATCH", "DELETE"])
def json() -> dict[str, object]:
    return {"method": request.method, "got": request.get_json()}


@app.post("/form")
def form() -> dict[str, object]:
    return {
        "fields": dict(request.form),
        "files": {name: len(file.read()) for name, file in request.files.items()},
    }


@app.post("/digest")
def digest() -> dict[str, object]:
    found, size = hashlib.sha256(), 0
    while block := request.stream.read(65536):
        found.update(block)
        size += len(block)
    return {"sha": found.hexdigest(), "size": size}


@app.get("/stream/<int:blocks>")
def stream(blocks: int) -> Response:
    def body() -> Iterator[bytes]:
        for _ in range(blocks):
            yield BLOCK

    return Response(body(), mimetype="application/octet-stream")


@app.get("/large/<int:blocks>")
def large(blocks: int) -> bytes:
    return BLOCK * blocks


@app.get("/visits")
def visits() -> dict[str, int]:
    session["visits"] = session.get("visits", 0) + 1
    return {"visits": session["visits"]}


@app.get("/away")
def away() -> Response:
    return redirect("/hello?name=moved")


@app.get("/nothing")
def nothing() -> tuple[str, int]:
    return "", 204


@app.get("/boom")
def boom() -> str:
    raise ValueError("boom")
