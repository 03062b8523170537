"""What `--engine auto` means is found out before the workers start: it decides who gives them requests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from supervising import StartSupervised

from serving import wait_until


@pytest.mark.parametrize(
    ("app", "options", "said"),
    [
        ("supervised:app", (), "(wsgi) on threads by 2 workers (request balancing)"),
        ("supervised:asgi", (), "(asgi) on uvloop by 2 workers (kernel balancing)"),
        ("supervised:app", ("--interface", "wsgi"), "(wsgi) on threads by 2 workers (request balancing)"),
        ("supervised:app", ("--balance", "kernel"), "(wsgi) on threads by 2 workers (kernel balancing)"),
    ],
)
def test_the_engine_that_the_application_needs_decides(
    supervised: StartSupervised, app: str, options: tuple[str, ...], said: str
) -> None:
    server = supervised(app, "auto", 2, *options)
    assert said in server.log
    assert server.ask("/pid").status == 200
    assert server.stop() == 0


def test_one_worker_may_have_a_balancer(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 1, "--balance", "request")
    assert "by 1 worker (request balancing)" in server.log
    assert server.ask("/pid").status == 200


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        ("app = 1 / 0", 3, "importing broken raised ZeroDivisionError"),
        ("import os; os._exit(7)", 3, "importing broken:app ended the process that did it"),
        ("app = 3", 3, "broken:app"),
        # What it forks outlives it, and holds all that it held.
        ("import os, time\nif os.fork() == 0: time.sleep(1); os._exit(0)\nos._exit(7)", 3, "ended the process"),
    ],
)
def test_an_import_that_fails_is_said_once(
    supervised: StartSupervised, tmp_path: Path, source: str, code: int, line: str
) -> None:
    (tmp_path / "broken.py").write_text(f"{source}\n")
    server = supervised("broken:app", "auto", 2, "--chdir", str(tmp_path), ready=False)
    assert server.wait() == code
    assert server.log.splitlines()[-1].startswith("eitherway: ")
    assert server.log.count(line) == 1
    assert server.log.count("Traceback") <= 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGQUIT, 0), (signal.SIGINT, 130)])
def test_an_end_while_it_is_found_out_leaves_nothing_behind(
    supervised: StartSupervised, tmp_path: Path, number: int, code: int
) -> None:
    (tmp_path / "endless.py").write_text("import time\nprint('imports', flush=True)\ntime.sleep(3600)\n")
    places = ("--chdir", str(tmp_path), "--pid-file", str(tmp_path / "pid"), "--bind", f"unix:{tmp_path}/socket")
    server = supervised("endless:app", "auto", 2, *places, ready=False)
    wait_until(lambda: "imports" in server.out)
    server.process.send_signal(signal.SIGHUP)  # nobody is there yet who could reload
    assert server.stop(number) == code
    assert {path.name for path in tmp_path.iterdir()} <= {"endless.py", "__pycache__"}
