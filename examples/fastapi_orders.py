"""Orders on FastAPI: checked input, a lifespan with state, work after the answer.

    eitherway serve fastapi_orders:app --chdir examples --engine uvloop

Open http://localhost:8000/docs in a browser, or
Try: curl localhost:8000/orders --json '{"customer": "Ada", "lines": [{"article": "tea", "count": 2}]}'
     curl localhost:8000/orders/1      curl localhost:8000/orders.jsonl
     curl localhost:8000/upload -T some-file
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

DATABASE = os.environ.get("ORDERS_DB") or str(Path(__file__).with_name("orders.sqlite3"))


class Line(BaseModel):
    article: str = Field(min_length=1)
    count: int = Field(gt=0)


class NewOrder(BaseModel):
    customer: str = Field(min_length=1)
    lines: list[Line] = Field(min_length=1)


class Order(NewOrder):
    id: int
    confirmed: bool = False


class OrderBook:
    """The orders in SQLite. A connection for each piece of work, so that any thread may call."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.opened = datetime.now(UTC)
        with self.connection() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS purchase"
                " (id INTEGER PRIMARY KEY, document TEXT NOT NULL, confirmed INTEGER NOT NULL DEFAULT 0)"
            )

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        try:
            yield db
        finally:
            db.close()

    def add(self, order: NewOrder) -> Order:
        with self.connection() as db:
            insert = db.execute("INSERT INTO purchase (document) VALUES (?)", (order.model_dump_json(),))
        return Order(id=insert.lastrowid or 0, **order.model_dump())

    def confirm(self, number: int) -> None:
        with self.connection() as db:
            db.execute("UPDATE purchase SET confirmed = 1 WHERE id = ?", (number,))

    def all(self) -> list[Order]:
        return self._read("")

    def get(self, number: int) -> Order | None:
        return next(iter(self._read("WHERE id = ?", number)), None)

    def _read(self, where: str, *values: object) -> list[Order]:
        with self.connection() as db:
            rows = db.execute(f"SELECT id, confirmed, document FROM purchase {where} ORDER BY id", values)
            return [Order(id=row[0], confirmed=row[1], **json.loads(row[2])) for row in rows]


class State(TypedDict):
    book: OrderBook


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Runs once, around all requests of a worker. What it yields is `request.state` in every one of them."""
    book = OrderBook(DATABASE)
    yield {"book": book}
    with book.connection() as db:  # the server drained: no request runs any more
        db.execute("PRAGMA optimize")


def the_book(request: Request) -> OrderBook:
    book: OrderBook = request.state.book
    return book


Book = Annotated[OrderBook, Depends(the_book)]
Milliseconds = Annotated[int, Query(ge=0, le=10_000)]

app = FastAPI(title="Orders", lifespan=lifespan)

# `def` or `async def`? SQLite blocks. FastAPI runs a `def` in a thread of its pool, so the loop goes on; an
# `async def` runs on the loop itself, where a call that blocks would stop every other request of this worker.


@app.get("/")
def index(book: Book) -> dict[str, Any]:
    return {"application": "FastAPI orders", "orders": len(book.all()), "opened": book.opened, "see": "/docs"}


@app.get("/orders")
def list_orders(book: Book) -> list[Order]:
    return book.all()


@app.post("/orders", status_code=201)
def create_order(new: NewOrder, book: Book, later: BackgroundTasks, response: Response) -> Order:
    order = book.add(new)
    later.add_task(book.confirm, order.id)  # runs when the client already has its answer
    response.headers["Location"] = f"/orders/{order.id}"
    return order


@app.get("/orders/{number}")
def fetch_order(number: int, book: Book) -> Order:
    order = book.get(number)
    if order is None:
        raise HTTPException(404, f"no order {number}")
    return order


@app.put("/upload")
@app.post("/upload")
async def upload(request: Request) -> dict[str, Any]:
    """Reads the body as it arrives; while the client is slow, the loop serves others."""
    size, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        size += len(chunk)
        digest.update(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/orders.jsonl")
async def export(rows: Annotated[int, Query(ge=0, le=1_000_000)] = 60_000) -> StreamingResponse:
    """Some megabytes in parts. `send` waits while the client is slow; nothing piles up in memory."""

    async def parts() -> AsyncIterator[str]:
        for start in range(0, rows, 1000):
            numbers = range(start, min(start + 1000, rows))
            orders = ({"id": number, "customer": f"customer number {number}"} for number in numbers)
            yield "".join(json.dumps(order) + "\n" for order in orders)

    return StreamingResponse(parts(), media_type="application/jsonl")


@app.get("/slow")
async def slow(ms: Milliseconds = 100) -> dict[str, int]:
    """`await` gives control back: a thousand of these wait together on one loop. Under the sync engine the
    same line is served one at a time; under threads, as many at once as there are threads."""
    await asyncio.sleep(ms / 1000)
    return {"slept": ms}


@app.get("/boom")
async def boom() -> None:
    raise RuntimeError("this is the deliberate error of /boom")
