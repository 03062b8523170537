"""The built-in workloads as plain blocking code on Flask; fastapi_twin.py does the same with async code."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, request

from eitherway.lab.apps.work import LOOKUP, POOL_PATIENCE, SLOW, compute, seconds_of


def create(dsn: str = "", pool: int = 5, upstream: str = "") -> Flask:
    """The application; with a database (`dsn`, and a pool of so many connections) or a service to ask, if given."""
    app = Flask(__name__)

    def number(name: str) -> float:
        return float(request.args.get(name, 0))

    @app.get("/io")
    def io() -> dict[str, Any]:
        time.sleep(seconds_of(number("ms")))
        return {"waited": number("ms")}

    @app.get("/cpu")
    def cpu() -> dict[str, Any]:
        return {"sum": compute(int(number("rounds")))}

    @app.get("/mixed")
    def mixed() -> dict[str, Any]:
        time.sleep(seconds_of(number("ms")))
        return {"waited": number("ms"), "sum": compute(int(number("rounds")))}

    if dsn:
        _add_database(app, dsn, pool)
    if upstream:
        _add_upstream(app, upstream)
    return app


def _add_database(app: Flask, dsn: str, pool: int) -> None:
    from psycopg_pool import ConnectionPool

    connections = ConnectionPool(dsn, min_size=pool, max_size=pool, timeout=POOL_PATIENCE, open=True)

    @app.get("/db")
    def db() -> dict[str, Any]:
        with connections.connection() as connection:
            row = connection.execute(LOOKUP, (int(request.args["id"]),)).fetchone()
            connection.execute(SLOW, (seconds_of(float(request.args["ms"])),))
        assert row is not None
        return {"name": row[0], "price": row[1]}


def _add_upstream(app: Flask, upstream: str) -> None:
    address = urlsplit(upstream)

    @app.get("/upstream")
    def ask() -> dict[str, Any]:
        connection = http.client.HTTPConnection(str(address.hostname), address.port)
        try:
            connection.request("GET", f"/?ms={request.args['ms']}", headers={"Connection": "close"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return {"upstream": answer}


app = create()
