"""The lifespan of ASGI applications: startup, state, shutdown, and what goes wrong in them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from serving import ASGI_ENGINES, Start, wait_until

every_engine = pytest.mark.parametrize("engine", ASGI_ENGINES)


@every_engine
def test_startup_runs_before_and_shutdown_after_the_requests(engine: str, own_server: Start) -> None:
    server = own_server("lifespan_variants:full", engine)
    assert server.notes("scope") == ["lifespan 3.0 {}"]
    assert server.notes("got") == ["lifespan.startup"]
    assert server.ask("/").body == b"['database']"
    assert server.stop(signal.SIGTERM) == 0
    assert server.notes("got") == ["lifespan.startup", "lifespan.shutdown"]


@every_engine
@pytest.mark.parametrize("app", ["none", "none_after_receive", "returns_at_once", "ends_after_startup"])
def test_applications_without_a_lifespan_are_served(engine: str, app: str, own_server: Start) -> None:
    server = own_server(f"lifespan_variants:{app}", engine)
    assert server.ask("/").body == b"[]"
    assert server.stop() == 0
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


@every_engine
@pytest.mark.parametrize(
    ("app", "line"),
    [
        ("refuses", "eitherway: the application refused to start: no database at db.example"),
        (
            "refuses_with_a_traceback",
            "eitherway: the application refused to start: ValueError: no database at db.example",
        ),
        ("refuses_without_a_word", "eitherway: the application refused to start: no reason given"),
    ],
)
def test_an_application_that_refuses_to_start(engine: str, app: str, line: str, own_server: Start) -> None:
    server = own_server(f"lifespan_variants:{app}", engine, ready=False)
    assert server.wait() == 6
    *trace, last = server.log.splitlines()
    assert last == line
    assert (trace[:1] == ["Traceback (most recent call last):"]) is (app == "refuses_with_a_traceback")


@every_engine
@pytest.mark.parametrize(
    ("app", "text"),
    [("fails_to_stop", "the queue is not empty"), ("raises_in_shutdown", "ValueError: while stopping")],
)
def test_a_failing_shutdown_is_logged_once(engine: str, app: str, text: str, own_server: Start) -> None:
    server = own_server(f"lifespan_variants:{app}", engine)
    assert server.ask("/").status == 200
    assert server.stop() == 0
    assert server.log.count(text) == 1
    assert server.log.count("ERROR") == 1


@every_engine
def test_a_lifespan_that_breaks_while_serving_is_logged(engine: str, own_server: Start) -> None:
    server = own_server("lifespan_variants:raises_later", engine)
    assert server.ask("/").status == 200
    server.stop()
    assert server.log.count("ValueError: while serving") == 1


@every_engine
def test_messages_that_are_none_of_the_lifespan_s_are_refused(engine: str, own_server: Start) -> None:
    server = own_server("lifespan_variants:sends_nonsense", engine)
    assert server.notes("raised") == ["ASGI: 'http.response.start' is not a message of the lifespan"]
    assert server.stop() == 0


@every_engine
def test_the_state_of_a_request_is_a_copy(engine: str, shared_server: Start) -> None:
    server = shared_server("asgi_routes:app", engine)
    with server.connect() as client:
        first = json.loads(client.ask("/state").body)
        second = json.loads(client.ask("/state").body)
    assert first["started"] is second["started"] is True
    assert first["before"] == second["before"] == ["shared", "started"]
    assert second["shared"] == first["shared"] + 1


@every_engine
def test_shutdown_waits_for_running_requests(engine: str, own_server: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = own_server("asgi_routes:app", engine)
    with server.connect() as client:
        client.send(f"GET /held?key=k&gate={gate} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: server.notes("k") == ["in"])
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in server.log)
        gate.touch()
        assert client.response().body == b"released"
    assert server.wait() == 0
    assert server.log.index("note k out") < server.log.index("note lifespan shutdown")
