"""trio, curio, twisted, and --loop: what applications that were written for one library rely on."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from serving import OTHER_LOOPS, Start, request_bytes, wait_until

UNKNOWN_TO_CURIO = sys.version_info >= (3, 12)
NAMES = {"trio": "own_loops:on_trio", "curio": "own_loops:on_curio"}
each_loop = pytest.mark.parametrize("engine", OTHER_LOOPS)


# ---- trio and curio ----


def test_nurseries_and_sniffio_under_trio(shared_server: Start) -> None:
    server = shared_server(NAMES["trio"], "trio")
    assert server.ask("/nursery").text == "trio [0, 1, 2] /nursery"
    assert server.ask("/fails").status == 500
    wait_until(lambda: "GET /fails: ExceptionGroup in the application" in server.log)
    wait_until(lambda: "ValueError: in a nursery" in server.log)  # the traceback, a line at a time


@pytest.mark.skipif(UNKNOWN_TO_CURIO, reason="Curio 1.6 runs on Python 3.11 and older")
def test_task_groups_and_threads_under_curio(shared_server: Start) -> None:
    server = shared_server(NAMES["curio"], "curio")
    assert server.ask("/group").text == "curio [0, 1, 2] False"
    assert server.ask("/foreign").status == 500
    wait_until(lambda: "RuntimeError: object is nothing that Curio can wait for" in server.log)
    assert server.ask("/group").status == 200
    assert server.ask("/fails").status == 500
    wait_until(lambda: "GET /fails: TaskTimeout in the application" in server.log)


@each_loop
def test_giving_up_waiting_for_a_body_leaves_all_in_order(engine: str, shared_server: Start) -> None:
    """Bytes that come later must not resume who waits no more."""
    server = shared_server(NAMES[engine], engine)
    body = b"x" * 60_000
    with server.connect() as client:
        for _ in range(3):
            client.send(request_bytes("/timed-out-read", "POST", f"Content-Length: {len(body)}") + body[:-1])
            assert client.response().text == "gave up: True"
            client.send(body[-1:])
        assert client.ask("/timed-out-read", "POST", body=b"y").text == "gave up: False"


@each_loop
def test_giving_up_waiting_for_a_client_that_reads_nothing(engine: str, shared_server: Start) -> None:
    server = shared_server(NAMES[engine], engine)
    key = uuid4().hex
    with server.connect() as client:
        client.send(request_bytes(f"/timed-out-write?{key}"))
        wait_until(lambda: server.notes(key) == ["gave up: True"])
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        with pytest.raises(AssertionError, match="closed before"):  # visibly broken off, without the last chunk
            client.read_until(b"\r\n0\r\n\r\n")


def test_a_client_that_leaves_cancels_nothing_under_trio(shared_server: Start) -> None:
    server = shared_server(NAMES["trio"], "trio")
    key = uuid4().hex
    with server.connect() as client:
        client.send(request_bytes(f"/left?{key}"))
    wait_until(lambda: server.notes(key) == ["http.disconnect", "goes on"])


def test_a_task_that_shields_itself_does_not_hold_the_server(own_server: Start) -> None:
    server = own_server(NAMES["trio"], "trio", "--graceful-timeout", "0.1")
    with server.connect() as client:
        client.send(request_bytes("/shielded?key"))
        wait_until(lambda: server.notes("key") == ["in"])
        assert server.stop() == 0
    assert "tasks did not end 1 s after they were cancelled" in server.log


@pytest.mark.parametrize("engine", ["trio", "twisted"])
def test_starlette_with_a_task_group_in_its_lifespan(engine: str, own_server: Start) -> None:
    server = own_server("own_loops:starlette_application()", engine)
    assert server.ask("/plain?x=1").text == "False 1"
    assert server.ask("/streamed").text == "0 1 2 3 4 "
    assert server.ask("/upload", "POST", body=b"x" * 100_000, chunks=9_999).text == "100000"
    assert server.stop() == 0
    assert server.notes("starlette") == ["behind", "ends"]


@pytest.mark.skipif(not UNKNOWN_TO_CURIO, reason="Curio 1.6 runs here")
def test_curio_on_a_newer_python_is_one_line(own_server: Start) -> None:
    server = own_server(NAMES["curio"], "curio", ready=False)
    assert server.wait() == 4
    assert "the engine curio runs on Python 3.11 and older" in server.log
    assert "Traceback" not in server.log


# ---- twisted ----


@pytest.mark.parametrize("options", [(), ("--loop", "uvloop:new_event_loop")])
def test_deferreds_and_coroutines_await_each_other(options: tuple[str, ...], shared_server: Start) -> None:
    server = shared_server("own_loops:on_twisted", "twisted", *options)
    assert server.ask("/").text == "later, False, from asyncio, AsyncioSelectorReactor"
    assert server.ask("/fails").status == 500
    wait_until(lambda: "ValueError: of a Deferred" in server.log)


@pytest.mark.parametrize(
    ("options", "name"),
    [((), "AsyncioSelectorReactor"), (("--reactor", "epoll"), "EPollReactor"), (("--reactor", "poll"), "PollReactor")],
)
def test_threads_of_wsgi_ask_the_reactor(options: tuple[str, ...], name: str, own_server: Start) -> None:
    server = own_server("own_loops:wsgi_on_twisted", "twisted", *options)
    assert server.ask("/").text == f"True False a child {name}"
    assert server.stop() == 0
    assert "Traceback" not in server.log


@pytest.mark.parametrize("app", ["on_twisted", "wsgi_on_twisted"])
def test_a_signal_while_the_reactor_begins_ends_the_server_in_order(
    app: str, own_server: Start, tmp_path: Path
) -> None:
    (tmp_path / "stopped_early.py").write_text(
        "import os, signal\nfrom own_loops import *\nfrom twisted.internet import reactor\n"
        "reactor.callWhenRunning(os.kill, os.getpid(), signal.SIGTERM)\n"
    )
    server = own_server(f"stopped_early:{app}", "twisted", env={"PYTHONPATH": str(tmp_path)}, ready=False)
    assert server.wait() == 0
    assert "stopping" in server.log


@pytest.mark.parametrize(
    ("app", "engine", "options", "line"),
    [
        ("on_twisted", "twisted", "--reactor epoll", "an ASGI application needs the reactor asyncio"),
        ("on_twisted", "twisted", "--reactor no.such", "--reactor no.such cannot be installed"),
        (
            "on_twisted",
            "twisted",
            "--reactor poll --loop uvloop:Loop",
            "--loop is for the reactor asyncio, not for poll",
        ),
        ("names_the_loop", "asyncio", "--loop no_such:loop", "the loop no_such:loop cannot be imported"),
        ("names_the_loop", "asyncio", "--loop uvloop:nothing", "there is no loop uvloop:nothing"),
        ("names_the_loop", "asyncio", "--loop asyncio:Queue", "makes Queue, which is no asyncio event loop"),
        ("names_the_loop", "trio", "--loop uvloop:new_event_loop", "--loop is for the engines asyncio and twisted"),
    ],
)
def test_what_is_not_there_is_one_line(app: str, engine: str, options: str, line: str, own_server: Start) -> None:
    server = own_server(f"own_loops:{app}", engine, *options.split(), ready=False)
    assert server.wait() == 4
    assert line in server.log
    assert server.log.count("\n") <= 2
    assert "Traceback" not in server.log


# ---- --loop ----


@pytest.mark.parametrize("factory", ["uvloop:new_event_loop", "uvloop:Loop", "rloop:new_event_loop"])
def test_any_loop_of_asyncio_s_kind(factory: str, own_server: Start) -> None:
    module = factory.partition(":")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    server = own_server("own_loops:names_the_loop", "asyncio", "--loop", factory)
    assert server.ask("/").text.startswith(module)
    assert server.stop() == 0
    assert "Traceback" not in server.log
