"""The FastAPI twin: a small application that exists twice.

    eitherway serve twins_fastapi:app --chdir examples --engine uvloop

`twins_flask.py` is the other one. Both give the same answers, byte for byte:

    eitherway compare twins_flask:app --against twins_fastapi:app '/wait?ms=50' --chdir examples
"""

from __future__ import annotations

import asyncio
import json

from fastapi import FastAPI, Response

app = FastAPI()


def answer(content: object) -> Response:
    return Response(json.dumps(content), media_type="application/json")


@app.get("/")
async def index() -> Response:
    return answer({"application": "twins", "paths": ["/", "/wait?ms=50", "/cpu?n=100000"]})


@app.get("/wait")
async def wait(ms: int = 50) -> Response:
    """Waiting, as for a database. How many of these wait at the same time is what the engines differ in."""
    ms = min(ms, 10_000)
    await asyncio.sleep(ms / 1000)  # the coroutine gives control back to the other requests
    return answer({"waited": ms})


@app.get("/cpu")
def cpu(n: int = 100_000) -> Response:
    """Computing. No engine makes this faster. As a plain `def` it runs in a thread; as `async def` it would
    hold the loop, and with it every other request, until it is done."""
    n = min(n, 10_000_000)
    return answer({"n": n, "sum": sum(i * i % 7 for i in range(n))})
