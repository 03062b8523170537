"""The built-in workloads as async code on FastAPI; flask_twin.py does the same with plain blocking code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI

from eitherway.lab.apps.loops import sleep
from eitherway.lab.apps.work import LOOKUP, POOL_PATIENCE, SLOW, compute, seconds_of


def create(dsn: str = "", pool: int = 5, upstream: str = "") -> FastAPI:
    """The application; with a database (`dsn`, and a pool of so many connections) or a service to ask, if given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not dsn:
            yield
            return
        from psycopg_pool import AsyncConnectionPool

        async with AsyncConnectionPool(
            dsn, min_size=pool, max_size=pool, timeout=POOL_PATIENCE, open=False
        ) as connections:
            app.state.connections = connections
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/io")
    async def io(ms: float) -> dict[str, Any]:
        await sleep(seconds_of(ms))
        return {"waited": ms}

    @app.get("/cpu")
    async def cpu(rounds: int) -> dict[str, Any]:
        return {"sum": compute(rounds)}

    @app.get("/mixed")
    async def mixed(ms: float, rounds: int) -> dict[str, Any]:
        await sleep(seconds_of(ms))
        return {"waited": ms, "sum": compute(rounds)}

    @app.get("/db")
    async def db(id: int, ms: float) -> dict[str, Any]:
        async with app.state.connections.connection() as connection:
            row = await (await connection.execute(LOOKUP, (id,))).fetchone()
            await connection.execute(SLOW, (seconds_of(ms),))
        return {"name": row[0], "price": row[1]}

    @app.get("/upstream")
    async def ask(ms: float) -> dict[str, Any]:
        address = urlsplit(upstream)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(f"GET /?ms={ms:g} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read(-1)
        finally:
            writer.close()
        return {"upstream": json.loads(answer.partition(b"\r\n\r\n")[2])}

    return app


app = create()
