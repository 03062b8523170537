"""`eitherway load` as a user types it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eitherway.cli import commands
from serving import Start


def run(*words: str) -> Result:
    return CliRunner().invoke(commands, ["load", "--duration", "1s", "--warm-up", "50ms", *words])


def test_what_came_back_is_told(own_server: Start) -> None:
    server = own_server("supervised:app", "threads")
    done = run(f"http://127.0.0.1:{server.port}/pid", "-c", "4")
    assert done.exit_code == 0, done.output
    assert "4 clients, one request each at a time, for 1 s" in done.stdout
    assert "  errors       none" in done.stdout
    assert "  answers      200: " in done.stdout


def test_an_open_loop_as_json(own_server: Start) -> None:
    server = own_server("supervised:app", "threads")
    done = run(f"http://127.0.0.1:{server.port}/", "--rate", "100", "--json")
    figures = json.loads(done.stdout)
    assert figures["good"] == pytest.approx(100, abs=2)
    assert figures["latency"]["p50"] <= figures["latency"]["max"]
    assert figures["statuses"] == {"200": figures["good"]}


def test_a_body_from_a_file_over_a_unix_socket(own_server: Start, tmp_path: Path) -> None:
    body = tmp_path / "order.json"
    body.write_text('{"tea": 2}')
    path = tmp_path / "s.sock"
    own_server("supervised:app", "threads", bind=f"unix:{path}")
    done = run(f"http+unix:{path}:/orders", "--post", f"@{body}", "-H", "X-Shop: tea")
    assert done.exit_code == 0, done.output
    assert "200: " in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://127.0.0.1/"], "is no address to load"),
        (["https://127.0.0.1/"], "is no address to load"),
        (["http://127.0.0.1:x/"], "is no address to load"),
        (["http://127.0.0.1/", "-H", "nonsense"], "is no header field"),
        (["http://127.0.0.1/", "-H", "X: \N{EURO SIGN}"], "is no header field"),
        (["http://127.0.0.1/", "--post", "@/no/such/file"], "cannot read /no/such/file"),
    ],
)
def test_what_cannot_be_loaded_is_refused(words: list[str], said: str) -> None:
    done = run(*words)
    assert done.exit_code != 0
    assert said in str(done.exception or done.output)


def test_a_server_that_is_not_there_is_an_error() -> None:
    command = [sys.executable, "-m", "eitherway", "load", "http://127.0.0.1:1/", "--duration", "500ms"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "refused: " in done.stdout


def test_a_server_that_never_answers_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = run(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert "No answer came in 1 s" in done.stdout


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_check_as_json_counts_every_answer(own_server: Start) -> None:
    """Whether good or not, as the others do."""
    server = own_server("supervised:app", "threads")
    done = run(f"http://127.0.0.1:{server.port}/fail", "--check", "wrk", "--rounds", "1", "--json")
    figures = json.loads(done.stdout)
    assert figures["check"] == "wrk"
    assert len(figures["ours"]) == len(figures["theirs"]) == 1
    assert figures["ratio"] == figures["ours"][0] / figures["theirs"][0] > 0


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_beside_another_generator(own_server: Start) -> None:
    server = own_server("supervised:app", "threads")
    done = run(f"http://127.0.0.1:{server.port}/sleep?0.01", "--check", "wrk", "--rounds", "1")
    assert done.exit_code == 0, done.output
    assert "of wrk (median of 1 rounds)" in done.stdout
