"""The loops: a task a request; all that wait, wait at the same time on one thread."""

from __future__ import annotations

import contextlib
import json
from uuid import uuid4

import pytest

from serving import ASGI_ENGINES, Start, request_bytes, wait_until


@pytest.mark.parametrize("engine", [name for name in ASGI_ENGINES if name not in {"sync", "threads"}])
def test_200_requests_wait_at_the_same_time(engine: str, shared_server: Start) -> None:
    server = shared_server("engines_asgi:app", engine)
    key = uuid4().hex
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(200)]
        for client in clients:
            client.send(request_bytes(f"/held?key={key}"))
        wait_until(lambda: json.loads(server.ask(f"/count?key={key}").body)["inside"] == 200)
        server.ask(f"/open?key={key}")
        assert {client.response().status for client in clients} == {200}
    assert json.loads(server.ask(f"/count?key={key}").body) == {"inside": 0, "most": 200, "threads": 1}
