"""What monkey-patching cannot reach is named in the log, with the line that cures it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from eitherway.engines.patching import originals, unpatched
from serving import Start, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "databases.md"
CURED = """
{cure}
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]
"""


@pytest.fixture(autouse=True)
def _without_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process's own, which other tests may have loaded."""
    for module in ("psycopg2.extensions", "psycopg.waiting"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def needs(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:  # looked up only: what is imported here would be found by what is tested
            pytest.skip(f"{module} is not installed")


@pytest.mark.parametrize("engine", ["gevent"])
def test_the_line_that_the_log_names_for_psycopg2_cures_it(engine: str, own_server: Start, tmp_path: Path) -> None:
    needs(engine, "psycopg2", "psycogreen")
    (tmp_path / "blocking.py").write_text(CURED.format(cure="import psycopg2"))
    server = own_server("blocking:app", engine, "--chdir", str(tmp_path))
    [(sentence, cure)] = re.findall(r"WARNING (psycopg2 waits in C, .* add: (.*))", server.log)
    assert sentence in PAGE.read_text()
    (tmp_path / "cured.py").write_text(CURED.format(cure=cure))
    server = own_server("cured:app", engine, "--chdir", str(tmp_path))
    assert server.ask("/").text == "served"
    assert "WARNING" not in server.log


def test_psycopg2_is_no_fault_where_threads_wait(own_server: Start, tmp_path: Path) -> None:
    needs("psycopg2")
    (tmp_path / "blocking.py").write_text(CURED.format(cure="import psycopg2"))
    assert "WARNING" not in own_server("blocking:app", "threads", "--chdir", str(tmp_path)).log


@pytest.mark.parametrize(
    ("module", "driver"),
    [("MySQLdb._mysql", "mysqlclient"), ("pyodbc", "pyodbc"), ("cx_Oracle", "cx_Oracle"), ("pylibmc", "pylibmc")],
)
def test_drivers_that_nobody_can_patch_are_named(monkeypatch: pytest.MonkeyPatch, module: str, driver: str) -> None:
    monkeypatch.setitem(sys.modules, module, ModuleType(module))
    assert [said.split(" waits in C")[0] for said in unpatched("gevent", originals())] == [driver]


def test_drivers_that_let_others_run_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = SimpleNamespace(get_wait_callback=lambda: print)
    monkeypatch.setitem(sys.modules, "psycopg2.extensions", patched)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "MySQLdb", ModuleType("pymysql"))  # what install_as_MySQLdb does
    assert list(unpatched("gevent", originals())) == []


LATE = """
from threading import Lock
from time import sleep
import threading, time
import eitherway
lock, local, later = Lock(), threading.local(), time.sleep

def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]

if __name__ == "__main__":
    eitherway.run({app}, engine="gevent", bind=["127.0.0.1:0"])
"""


def test_psycopg_that_was_imported_too_early_is_named(tmp_path: Path) -> None:
    needs("gevent", "psycopg_binary")
    log = run_until_served(tmp_path, LATE.format(app="app").replace("import eitherway", "import eitherway, psycopg"))
    assert "psycopg, imported before gevent could patch, waits in C" in log


def test_an_application_that_was_imported_too_early_is_named_with_what_it_holds(tmp_path: Path) -> None:
    needs("gevent")
    too_early, by_name = (run_until_served(tmp_path, LATE.format(app=app)) for app in ("app", '"late:app"'))
    [held] = re.findall(r"imported before gevent could patch, .*: __main__ \((.*?)\)", too_early)
    assert held.split(", ") == ["Lock", "later", "local", "lock", "sleep"]
    assert " late (" not in by_name  # of which the server imports a second copy, patched


def run_until_served(directory: Path, script: str) -> str:
    """Run a script as a user would; what it has logged when it serves."""
    file, log = directory / "late.py", directory / "log"
    file.write_text(script)
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, str(file)], stderr=stderr, env=dict(os.environ))
    try:
        wait_until(lambda: " serves " in log.read_text() or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    return log.read_text()
