"""Frameworks' own WebSockets over ours: what they make of messages, of a close, and of a client that leaves."""

from __future__ import annotations

import pytest
from websockets.sync.client import connect

from serving import PATIENCE, Start, wait_until


@pytest.mark.parametrize(
    ("framework", "engine"),
    [("bottle", "threads"), ("bottle", "gevent"), ("starlette", "asyncio"), ("fastapi", "uvloop")],
)
def test_an_echo(framework: str, engine: str, own_server: Start) -> None:
    pytest.importorskip(framework)
    server = own_server(f"sockets_frameworks:{framework}_app", engine)
    with connect(f"ws://127.0.0.1:{server.port}/echo") as client:
        client.send("é")
        assert client.recv(timeout=PATIENCE) == f"{framework}: é"
        client.close(1001)
    wait_until(lambda: server.notes("closed") == ["1001"])
    if framework == "bottle":
        assert server.ask("/echo").body == b"plain"
    server.stop()
    assert "Traceback" not in server.log


def test_a_sender_finds_out_that_the_client_has_left(own_server: Start) -> None:
    pytest.importorskip("fastapi")
    server = own_server("sockets_frameworks:fastapi_app", "asyncio")
    # The client reads no further when it has enough, and so never sees the close that answers its own.
    with connect(f"ws://127.0.0.1:{server.port}/talks", close_timeout=0.1) as client:
        client.recv(timeout=PATIENCE)
    wait_until(lambda: server.notes("left") == ["1006"])
    server.stop()
    assert "Traceback" not in server.log
