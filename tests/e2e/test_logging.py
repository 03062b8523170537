"""The access log in both formats and at both places, and what the error log says of a failing application."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from serving import ASGI_ENGINES, PATIENCE, WSGI_ENGINES, Client, Start, request_bytes, wait_until

WSGI, ASGI = "wsgi_routes:app", "asgi_routes:app"
PAIRS = [(WSGI, engine) for engine in WSGI_ENGINES] + [(ASGI, engine) for engine in ASGI_ENGINES]
every_pair = pytest.mark.parametrize(("app", "engine"), PAIRS, ids=[f"{app[:4]}-{engine}" for app, engine in PAIRS])

COMBINED = re.compile(
    r'(?P<client>\S+) - - \[(?P<time>[^]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<size>\d+|-) '
    r'"(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" (?P<seconds>\d+\.\d{6})'
)


def combined(line: str) -> dict[str, str]:
    match = COMBINED.fullmatch(line)
    assert match, line
    return match.groupdict()


@every_pair
def test_combined_on_stdout(app: str, engine: str, own_server: Start) -> None:
    server = own_server(app, engine, "--access-log", "-")
    with server.connect() as client:
        client.ask("/hello?a=b", "GET", "Referer: http://from.example/", "User-Agent: Mozilla/5.0 (X)")
        client.ask("/hello", "HEAD", version="1.0")
    assert server.stop() == 0
    first, second = [combined(line) for line in server.out.splitlines()]
    assert first["client"] == "127.0.0.1"
    assert first["request"] == "GET /hello?a=b HTTP/1.1"
    assert (first["status"], first["size"]) == ("200", "5")
    assert (first["referer"], first["agent"]) == ("http://from.example/", "Mozilla/5.0 (X)")
    assert abs(datetime.strptime(first["time"], "%d/%b/%Y:%H:%M:%S %z") - datetime.now().astimezone()) < timedelta(
        hours=1
    )
    assert float(first["seconds"]) > 0
    assert second["request"] == "HEAD /hello HTTP/1.0"
    assert (second["referer"], second["agent"], second["size"]) == ("-", "-", "-")


@every_pair
def test_json_in_a_file(app: str, engine: str, own_server: Start, tmp_path: Path) -> None:
    path, gate = tmp_path / "access.log", tmp_path / "gate"
    server = own_server(app, engine, "--access-log", str(path), "--access-format", "json")
    with server.connect() as client:
        client.ask("/hello?a=b", "GET", "User-Agent: x")
        client.send(request_bytes(f"/held?key=k&gate={quote(str(gate))}"))
        wait_until(lambda: server.notes("k") == ["in"])
        began = time.monotonic()
        assert len(path.read_text().splitlines()) == 1  # written when answered, not before
        held = time.monotonic() - began
        gate.touch()
        assert client.response().body == b"released"
    wait_until(lambda: len(path.read_text().splitlines()) == 2)
    assert server.stop() == 0
    assert server.out == ""
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["client"], first["method"], first["target"]) == ("127.0.0.1", "GET", "/hello?a=b")
    assert (first["version"], first["status"], first["size"], first["agent"]) == ("HTTP/1.1", 200, 5, "x")
    assert first["seconds"] > 0
    assert second["seconds"] >= round(held, 6)
    assert datetime.strptime(first["time"], "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo


def test_the_file_may_be_moved_away(own_server: Start, tmp_path: Path) -> None:
    """As logrotate does: the next line goes into a new file."""
    path = tmp_path / "access.log"
    server = own_server(WSGI, "threads", "--access-log", str(path))
    server.ask("/hello?first")
    wait_until(lambda: "first" in path.read_text())
    path.rename(tmp_path / "old")
    server.ask("/hello?second")
    wait_until(lambda: path.exists() and "second" in path.read_text())
    assert "second" not in (tmp_path / "old").read_text()


def test_a_named_pipe_that_is_not_read_holds_nobody_up(own_server: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    refused = own_server(WSGI, "threads", "--access-log", path, ready=False)
    assert refused.wait() == 2
    assert f"cannot write the access log {path}: No such device or address" in refused.log
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        server = own_server(WSGI, "threads", "--access-log", path)
        with server.connect() as client:
            for _ in range(100):  # more lines than it holds
                assert client.ask("/hello").status == 200
        assert server.stop() == 0
        assert os.read(reader, 100).startswith(b"127.0.0.1")
    finally:
        os.close(reader)
    assert server.log.count("cannot write the access log") == 1


def test_without_the_option_there_is_no_access_log(own_server: Start) -> None:
    server = own_server(WSGI, "threads")
    server.ask("/hello")
    server.stop()
    assert server.out == ""
    assert "/hello" not in server.log


FORGED = ['x" 200 0 "-" "-" 0.000000', "back\\slash", "tab\there", "caf\u00e9 \u0085 \u009b31m", "\u00a0", '\\" 200']


@pytest.mark.parametrize("style", ["combined", "json"])
def test_a_client_cannot_forge_the_log(style: str, own_server: Start) -> None:
    server = own_server(WSGI, "threads", "--access-log", "-", "--access-format", style)
    with server.connect() as client:
        for forged in FORGED:
            client.ask("/hello", "GET", f"User-Agent: {forged}", f"Referer: {forged}")
    server.stop()
    for forged, line in zip(FORGED, server.out.splitlines(), strict=True):
        assert all(character.isprintable() for character in line)
        if style == "json":
            assert json.loads(line)["agent"] == forged.strip(" \t")
        else:
            assert combined(line)["status"] == "200"
            assert combined(line)["request"] == "GET /hello HTTP/1.1"


def test_refusals_and_clients_that_left_are_written_down(own_server: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = own_server(ASGI, "asyncio", "--access-log", "-", "--access-format", "json")
    with server.connect() as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.response().status == 400
    with server.connect() as client:
        client.send(request_bytes("/awaits-leaving?key=k"))
        wait_until(lambda: server.notes("k"))
        client.socket.close()
    wait_until(lambda: len(server.out.splitlines()) == 2)
    gate.touch()
    refused, left = [json.loads(line) for line in server.out.splitlines()]
    assert (refused["status"], refused["method"], refused["target"]) == (400, "-", "-")
    assert left["target"] == "/awaits-leaving?key=k"


@pytest.mark.parametrize("engine", ["threads", "gevent"])
def test_a_client_that_leaves_in_its_body_is_written_down_and_harms_nobody(engine: str, own_server: Start) -> None:
    server = own_server(WSGI, engine, "--access-log", "-", "--access-format", "json")
    with server.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
    wait_until(lambda: server.out)
    line = json.loads(server.out)
    assert (line["method"], line["target"], line["status"]) == ("POST", "/echo", 499)
    assert server.ask("/hello").status == 200
    assert "Traceback" not in server.log


@every_pair
def test_a_traceback_stands_in_the_log_once(app: str, engine: str, own_server: Start) -> None:
    server = own_server(app, engine)
    assert server.ask("/raising?x=1", "POST", body=b"12345").status == 500
    assert server.ask("/hello").status == 200
    assert server.stop(signal.SIGTERM) == 0
    assert server.log.count("Traceback (most recent call last)") == 1
    assert server.log.count("RuntimeError: raised on purpose") == 1
    assert "ERROR POST /raising?x=1: RuntimeError in the application" in server.log
    assert "raised on purpose" not in server.out


def test_the_log_level_is_the_least_that_is_written(own_server: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = own_server(WSGI, "threads", "--log-level", "error", bind=f"unix:{path}", ready=False)
    wait_until(path.exists)
    with Client(socket.socket(socket.AF_UNIX)) as client:
        wait_until(lambda: client.socket.connect_ex(str(path)) == 0)
        client.socket.settimeout(PATIENCE)
        client.send(b"nonsense\r\n\r\n")
        assert client.response().status == 400
    with Client(socket.socket(socket.AF_UNIX)) as client:
        client.socket.connect(str(path))
        assert client.ask("/raising").status == 500
    assert server.stop() == 0
    lines = server.log.splitlines()
    assert "ERROR GET /raising" in lines[0]
    assert not [line for line in lines if "INFO" in line or "WARNING" in line]
