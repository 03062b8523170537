"""The Flask twin: a small application that exists twice.

    eitherway serve twins_flask:app --chdir examples --engine gevent

`twins_fastapi.py` is the other one. Both give the same answers, byte for byte:

    eitherway compare twins_flask:app --against twins_fastapi:app '/wait?ms=50' --chdir examples
"""

from __future__ import annotations

import json
import time

from flask import Flask, Response, request

app = Flask(__name__)


def answer(content: object) -> Response:
    return Response(json.dumps(content), mimetype="application/json")


@app.get("/")
def index() -> Response:
    return answer({"application": "twins", "paths": ["/", "/wait?ms=50", "/cpu?n=100000"]})


@app.get("/wait")
def wait() -> Response:
    """Waiting, as for a database. How many of these wait at the same time is what the engines differ in."""
    ms = min(int(request.args.get("ms", 50)), 10_000)
    time.sleep(ms / 1000)  # plain blocking code; under gevent it gives control back to the other requests
    return answer({"waited": ms})


@app.get("/cpu")
def cpu() -> Response:
    """Computing. No engine makes this faster: the processor is busy, there is nothing to wait for."""
    n = min(int(request.args.get("n", 100_000)), 10_000_000)
    return answer({"n": n, "sum": sum(i * i % 7 for i in range(n))})
