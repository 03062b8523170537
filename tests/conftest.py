"""Fixtures: the real server, shared between tests that ask for the same one, or of a test's own."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from serving import Server, Start

# How fast an example is says nothing on a machine that does other things.
settings.register_profile("eitherway", deadline=None)
settings.load_profile("eitherway")

# A shell that runs the tests in its background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MOST_SHARED = 40  # servers kept at once; each takes some 30 MB


# They try processes, measurements, and what others have written; not what a version of Python may change.
SLOW = (
    "tests/chaos/",
    "tests/deploy/",
    "tests/e2e/test_clients.py",
    *(f"tests/lab/test_{name}.py" for name in ("check", "claims", "compare", "load", "page", "runner", "workloads")),
    "tests/test_databases.py",
    "tests/test_examples.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(place in item.path.as_posix() for place in SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def _shared() -> Iterator[dict[tuple[str, ...], Server]]:
    servers: dict[tuple[str, ...], Server] = {}
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture
def shared_server(_shared: dict[tuple[str, ...], Server]) -> Start:
    """`shared_server(app, engine, *options)`: one server for all tests that ask for the same. Do not stop it."""

    def start(app: str, engine: str, *options: str) -> Server:
        key = (app, engine, *options)
        server = _shared.pop(key, None)
        if server is None or server.process.poll() is not None:
            server = Server(app, engine, *options)
        _shared[key] = server  # at the end: the first is the one that was asked for longest ago
        if len(_shared) > MOST_SHARED:
            _shared.pop(next(iter(_shared))).close()
        return server.wait_ready()

    return start


@pytest.fixture
def own_server() -> Iterator[Start]:
    """`own_server(app, engine, *options)`: a server of this test alone, ready; `ready=False` does not wait for that."""
    servers: list[Server] = []

    def start(app: str, engine: str, *options: str, ready: bool = True, **more: object) -> Server:
        server = Server(app, engine, *options, **more)  # type: ignore[arg-type]
        servers.append(server)
        return server.wait_ready() if ready else server

    yield start
    for server in servers:
        server.close()
