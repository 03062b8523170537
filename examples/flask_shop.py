"""A small shop on Flask: products, stock that is never oversold, a price list as CSV.

    eitherway serve flask_shop:app --chdir examples --engine gevent

Try: curl localhost:8000/api/products
     curl localhost:8000/api/products --json '{"name": "teapot", "price": 2400, "stock": 3}'
     curl localhost:8000/api/products/1/buy -X POST
     curl localhost:8000/upload -T some-file      curl localhost:8000/prices.csv
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, Response, abort, g, jsonify, request
from flask.typing import ResponseReturnValue

DATABASE = os.environ.get("SHOP_DB") or str(Path(__file__).with_name("shop.sqlite3"))

app = Flask(__name__)


def database() -> sqlite3.Connection:
    """This request's own connection: `g` is the request's, so neither threads nor greenlets share it."""
    if "database" not in g:
        # Autocommit: each statement below is a whole transaction. SQLite's calls block the thread that makes
        # them, under every model. Under gevent that means: never give control back (sleep, send, recv) while
        # a transaction is open, or the next greenlet waits for a lock whose holder cannot run.
        g.database = sqlite3.connect(DATABASE, timeout=10, isolation_level=None)
        g.database.row_factory = sqlite3.Row
    connection: sqlite3.Connection = g.database
    return connection


@app.teardown_appcontext
def close_database(_error: BaseException | None) -> None:
    if "database" in g:
        g.pop("database").close()


with app.app_context():  # once, at import; harmless when several worker processes do it
    database().execute("PRAGMA journal_mode = WAL")
    database().execute(
        "CREATE TABLE IF NOT EXISTS product"
        " (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price INTEGER NOT NULL, stock INTEGER NOT NULL)"
    )


@app.get("/")
def index() -> ResponseReturnValue:
    count = database().execute("SELECT count(*) FROM product").fetchone()[0]
    return f"<!doctype html><title>Shop</title><h1>Flask shop</h1><p>{count} products at /api/products</p>"


@app.get("/api/products")
def list_products() -> ResponseReturnValue:
    return jsonify([dict(row) for row in database().execute("SELECT * FROM product ORDER BY id")])


@app.post("/api/products")
def create_product() -> ResponseReturnValue:
    wanted = request.get_json()
    if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
        abort(400, "send a JSON object with a name, and a price and stock as whole numbers")
    cursor = database().execute(
        "INSERT INTO product (name, price, stock) VALUES (?, ?, ?)",
        (wanted["name"], int(wanted.get("price", 0)), int(wanted.get("stock", 0))),
    )
    return fetch_product(int(cursor.lastrowid or 0)), 201, {"Location": f"/api/products/{cursor.lastrowid}"}


@app.get("/api/products/<int:number>")
def fetch_product(number: int) -> Response:
    row = database().execute("SELECT * FROM product WHERE id = ?", (number,)).fetchone()
    if row is None:
        abort(404, f"no product {number}")
    return jsonify(dict(row))


@app.post("/api/products/<int:number>/buy")
def buy(number: int) -> ResponseReturnValue:
    """Look and take in one statement: right with processes, threads and greenlets, and no lock of ours."""
    bought = database().execute("UPDATE product SET stock = stock - 1 WHERE id = ? AND stock > 0", (number,))
    return (fetch_product(number), 200) if bought.rowcount else (jsonify(error="sold out"), 409)


@app.post("/upload")
@app.put("/upload")
def upload() -> ResponseReturnValue:
    """Reads the body as it arrives. It is never whole in memory, with a length or in chunks."""
    size, digest = 0, hashlib.sha256()
    while chunk := request.stream.read(65536):
        size += len(chunk)
        digest.update(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/prices.csv")
def prices() -> ResponseReturnValue:
    """Some megabytes, made while they are sent: the next part is made when the client has taken the last."""
    rows = min(request.args.get("rows", 100_000, type=int), 1_000_000)

    def parts() -> Iterator[str]:
        yield "number,name,price in cents\n"
        for start in range(0, rows, 1000):
            stop = min(start + 1000, rows)
            yield "".join(f"{row},article number {row},{row * 7 % 10_000}\n" for row in range(start, stop))

    return Response(parts(), mimetype="text/csv")


@app.get("/slow")
def slow() -> ResponseReturnValue:
    """Stands for a slow database or another service.

    sync: nobody else is served meanwhile. threads: this thread waits, the others serve. gevent: `time.sleep`
    is patched, so this greenlet gives control back and every other request runs; the line stays the same.
    """
    ms = min(request.args.get("ms", 100, type=int), 10_000)
    time.sleep(ms / 1000)
    return {"slept": ms}


@app.get("/boom")
def boom() -> ResponseReturnValue:
    raise RuntimeError("this is the deliberate error of /boom")
