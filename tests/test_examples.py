"""The applications in `examples/`, each served by the line at its top, on every engine that fits it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
WSGI_ENGINES = ("sync", "threads", "gevent", "eventlet", "asyncio", "uvloop")
ASGI_ENGINES = ("sync", "threads", "asyncio", "uvloop")
START_SECONDS = 20.0
STOP_SECONDS = 15.0
BLOB = bytes(range(256)) * 8192  # 2 MiB


# The server, as a user starts it.


@dataclass(frozen=True)
class Served:
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    data: Path  # the directory for what the application stores

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def command_of(target: str) -> list[str]:
    """The line at the top of the example that serves `target`, as arguments."""
    source = (EXAMPLES / f"{target.partition(':')[0]}.py").read_text()
    lines = [line.split() for line in source.splitlines() if line.strip().startswith("eitherway serve ")]
    found = [line for line in lines if line[2] == target]
    assert len(found) == 1, f"{target} has no single `eitherway serve` line at its top"
    return shlex.split(" ".join(found[0]))


def wait_until(condition: Callable[[], Any], what: Callable[[], str], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
        time.sleep(0.01)
    return value


@contextlib.contextmanager
def serving(target: str, engine: str, directory: Path) -> Iterator[Served]:
    _, *arguments = command_of(target)
    arguments[arguments.index("--engine") + 1] = engine
    log = directory / "stderr"
    data = directory / "data"
    data.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH")))),
        "SHOP_DB": str(data / "shop.sqlite3"),
        "NOTES_DB": str(data / "notes.sqlite3"),
        "ORDERS_DB": str(data / "orders.sqlite3"),
        "FILES_DIR": str(data / "files"),
    }
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "eitherway", *arguments, "--bind", "127.0.0.1:0"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:

        def address() -> re.Match[str] | None:
            assert process.poll() is None, f"the server ended:\n{log.read_text()}"
            return re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))

        port = int(wait_until(address, log.read_text, START_SECONDS)[1])

        def accepts() -> bool:
            assert process.poll() is None, f"the server ended:\n{log.read_text()}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        wait_until(accepts, log.read_text, START_SECONDS)
        yield Served(f"http://127.0.0.1:{port}", process, log, data)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"did not end within {STOP_SECONDS} s of SIGTERM:\n{log.read_text()}")


# What every example must do, whatever it is about.


def check_upload(client: httpx.Client, method: str, path: str, in_chunks: bool = True) -> None:
    def parts() -> Iterator[bytes]:
        for start in range(0, len(BLOB), 50_000):
            yield BLOB[start : start + 50_000]

    expected = {"size": len(BLOB), "sha256": hashlib.sha256(BLOB).hexdigest()}
    answer = client.request(method, path, content=BLOB)
    assert answer.is_success and answer.json() == expected
    if in_chunks:
        answer = client.request(method, path, content=parts())
        assert answer.is_success and answer.json() == expected
    empty = client.request(method, path, content=b"")
    assert empty.is_success and empty.json() == {"size": 0, "sha256": hashlib.sha256().hexdigest()}


def check_download(client: httpx.Client, path: str, size: Callable[[bytes], int], expected: int) -> None:
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        content = b"".join(answer.iter_bytes())
    assert len(content) > 2_000_000
    assert size(content) == expected
    with client.stream("GET", path) as answer:  # a client that leaves early harms nobody
        next(answer.iter_bytes())


def check_slow(url: str, path: str, one_at_a_time: bool) -> None:
    """Requests that wait: together where the engine can, one after the other where it cannot."""
    count, ms = (3, 100) if one_at_a_time else (5, 400)

    def ask(_: int) -> httpx.Response:
        return httpx.get(f"{url}{path}?ms={ms}", timeout=20)

    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(ask, range(count)))
    took = (time.monotonic() - began) * 1000
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"slept": ms})] * count
    if one_at_a_time:
        assert took >= 0.95 * count * ms
    else:
        assert took < 0.75 * count * ms


def check_boom(client: httpx.Client, served: Served) -> None:
    assert client.get("/boom").status_code == 500
    wait_until(lambda: "this is the deliberate error of /boom" in served.said(), served.said, 5)
    assert client.get("/").status_code == 200


def check_crowd(client: httpx.Client, path: str, document: dict[str, Any], times: int = 20) -> list[Any]:
    """The same POST many times at once: every one is stored, under a number of its own."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(path, json=document), range(times)))
    assert {answer.status_code for answer in answers} == {201}
    numbers = [answer.json()["id"] for answer in answers]
    assert len(set(numbers)) == times
    return numbers


def check_chunked_json(client: httpx.Client, path: str, document: dict[str, Any]) -> None:
    """The body comes in chunks; Bottle would decode them itself if it were told that they are coded."""
    answer = client.post(
        path,
        content=(bytes([byte]) for byte in json.dumps(document).encode()),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json() | document) == (201, answer.json())


# What each example is about.


def drive_shop(client: httpx.Client, served: Served) -> None:
    assert "Flask shop" in client.get("/").text
    assert client.get("/api/products").json() == []
    made = client.post("/api/products", json={"name": "teapot", "price": 2400, "stock": 3})
    teapot = {"id": 1, "name": "teapot", "price": 2400, "stock": 3}
    assert (made.status_code, made.json(), made.headers["location"]) == (201, teapot, "/api/products/1")
    assert client.get("/api/products/1").json() == teapot
    assert client.get("/api/products/99").status_code == 404
    assert client.post("/api/products", json=["no", "object"]).status_code == 400
    with ThreadPoolExecutor(8) as pool:  # eight buyers, three teapots
        bought = list(pool.map(lambda _: client.post("/api/products/1/buy").status_code, range(8)))
    assert sorted(bought) == [200] * 3 + [409] * 5
    check_chunked_json(client, "/api/products", {"name": "spoon", "price": 100})
    check_crowd(client, "/api/products", {"name": "cup", "price": 300, "stock": 1})
    assert len(client.get("/api/products").json()) == 22
    check_upload(client, "POST", "/upload")
    check_download(client, "/prices.csv?rows=80000", lambda content: content.count(b"\n"), 80_001)


def drive_guestbook(client: httpx.Client, served: Served) -> None:
    assert "Bottle guestbook" in client.get("/").text
    made = client.post("/api/entries", json={"name": "Ada", "text": "Good tea. <3"})
    entry = {"id": 1, "name": "Ada", "text": "Good tea. <3"}
    assert (made.status_code, made.json(), made.headers["location"]) == (201, entry, "/api/entries/1")
    assert client.get("/api/entries/1").json() == entry
    assert client.get("/api/entries/99").status_code == 404
    assert client.post("/api/entries", json="no object").status_code == 400
    signed = client.post("/sign", data={"name": "Žofie", "text": "čaj"})
    assert (signed.status_code, signed.headers["location"]) == (303, f"{served.url}/")
    page = client.get("/").text
    assert "<b>Žofie</b>: čaj" in page and "Good tea. &lt;3" in page
    check_chunked_json(client, "/api/entries", {"name": "Cy", "text": "in pieces"})
    check_crowd(client, "/api/entries", {"name": "Ben", "text": "and again"})
    assert len(client.get("/api/entries").json()) == 23
    check_upload(client, "PUT", "/upload")
    check_download(client, "/book.txt?pages=1500", lambda content: content.count(b"page "), 1500)


def drive_notes(client: httpx.Client, served: Served) -> None:
    assert client.get("/api/notes").json() == []
    made = client.post("/api/notes", json={"title": "tea", "text": "buy some"})
    assert (made.status_code, made.headers["location"]) == (201, "/api/notes/1")
    assert client.get("/api/notes/1").json() == made.json()
    assert client.get("/api/notes/99").status_code == 404
    assert client.post("/api/notes", content=b"no json").status_code == 400
    check_crowd(client, "/api/notes", {"title": "again"})
    assert len(client.get("/api/notes").json()) == 21
    check_download(client, "/notes.jsonl?rows=50000", lambda content: content.count(b"\n"), 50_000)


def drive_notes_wsgi(client: httpx.Client, served: Served) -> None:
    assert "through WSGI" in client.get("/").text
    drive_notes(client, served)
    check_upload(client, "POST", "/upload", in_chunks=False)  # Django's WSGI side wants a length


def drive_notes_asgi(client: httpx.Client, served: Served) -> None:
    assert "through ASGI" in client.get("/").text
    drive_notes(client, served)
    check_upload(client, "POST", "/upload")
    assert client.get("/slow?ms=1").json() == {"slept": 1}  # the plain view, beside the `async` one below


def drive_orders(client: httpx.Client, served: Served) -> None:
    about = client.get("/").json()
    assert (about["application"], about["orders"]) == ("FastAPI orders", 0)
    order = {"customer": "Ada", "lines": [{"article": "tea", "count": 2}]}
    made = client.post("/orders", json=order)
    assert (made.status_code, made.headers["location"]) == (201, "/orders/1")
    assert made.json() == {"id": 1, "confirmed": False, **order}
    wait_until(lambda: client.get("/orders/1").json()["confirmed"], served.said, 5)  # after the answer
    assert client.get("/orders/99").status_code == 404
    assert client.post("/orders", json={"customer": "Ada", "lines": []}).status_code == 422
    check_chunked_json(client, "/orders", order)
    check_crowd(client, "/orders", order)
    assert len(client.get("/orders").json()) == 22
    assert client.get("/").json()["opened"] == about["opened"]  # one lifespan, one state
    assert client.get("/openapi.json").json()["info"]["title"] == "Orders"
    check_upload(client, "PUT", "/upload")
    check_download(client, "/orders.jsonl?rows=50000", lambda content: content.count(b"\n"), 50_000)


def drive_files(client: httpx.Client, served: Served) -> None:
    assert client.get("/").json() == {"application": "Starlette files", "files": 0, "see": "/api/files"}
    made = client.post("/api/files", json={"name": "hello.txt", "text": "hello"})
    hello = {"name": "hello.txt", "size": 5, "url": "/files/hello.txt"}
    assert (made.status_code, made.json(), made.headers["location"]) == (201, hello, "/api/files/hello.txt")
    assert client.get("/api/files/hello.txt").json() == hello
    assert client.get("/api/files").json() == [hello]
    assert client.get("/files/hello.txt").text == "hello"
    assert client.get("/files/nothing").status_code == 404
    assert client.post("/api/files", json={"name": "../out", "text": ""}).status_code == 400
    check_upload(client, "PUT", "/files/other.bin")

    assert client.put("/files/blob.bin", content=BLOB).status_code == 201
    assert client.get("/files/blob.bin").content == BLOB
    head = client.head("/files/blob.bin")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BLOB)), b"")
    part = client.get("/files/blob.bin", headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, BLOB[1000:2000])

    check_download(client, "/zeros?mb=3", len, 3 << 20)
    with client.stream("GET", "/ticks?count=3&ms=1") as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert events == [{"tick": 0}, {"tick": 1}, {"tick": 2}]
    (served.data / "files" / ".cut-off.part").touch()  # the lifespan's end clears it away


def after_files(served: Served) -> None:
    assert sorted(file.name for file in (served.data / "files").iterdir()) == [
        "blob.bin",
        "hello.txt",
        "other.bin",
    ]


@dataclass(frozen=True)
class Example:
    target: str
    engines: tuple[str, ...]
    drive: Callable[[httpx.Client, Served], None]
    slow: str = "/slow"
    after: Callable[[Served], None] = lambda served: None  # looks at what is left when it has ended


EXAMPLES_TABLE = (
    Example("flask_shop:app", WSGI_ENGINES, drive_shop),
    Example("bottle_guestbook:app", WSGI_ENGINES, drive_guestbook),
    Example("django_notes:application", WSGI_ENGINES, drive_notes_wsgi),
    Example("django_notes:asgi_application", ASGI_ENGINES, drive_notes_asgi, slow="/aslow"),
    Example("fastapi_orders:app", ASGI_ENGINES, drive_orders),
    Example("starlette_files:app", ASGI_ENGINES, drive_files, after=after_files),
)
PAIRS = [
    pytest.param(example, engine, id=f"{example.target}-{engine}")
    for example in EXAMPLES_TABLE
    for engine in example.engines
]


def needs(target: str, engine: str) -> None:
    pytest.importorskip(re.split("[:_]", target)[0])
    if engine in ("gevent", "eventlet", "uvloop"):
        pytest.importorskip(engine)


@pytest.mark.parametrize(("example", "engine"), PAIRS)
def test_example(example: Example, engine: str, tmp_path: Path) -> None:
    needs(example.target, engine)
    with (
        serving(example.target, engine, tmp_path) as served,
        httpx.Client(base_url=served.url, timeout=20) as client,
    ):
        example.drive(client, served)
        check_slow(served.url, example.slow, one_at_a_time=engine == "sync")
        check_boom(client, served)
    assert served.process.returncode == 0, served.said()
    assert "ClientDisconnect" not in served.said()  # a client that leaves is no fault of the application's
    example.after(served)


@pytest.mark.parametrize("engine", ["threads", "gevent"])
def test_the_chat(engine: str, tmp_path: Path) -> None:
    needs("flask_chat:app", engine)
    with serving("flask_chat:app", engine, tmp_path) as served:
        room = served.url.replace("http", "ws") + "/rooms/tea"
        with connect(f"{room}?name=Ada") as ada, connect(f"{room}?name=Bob") as bob:
            ada.send("Good tea. <3")
            line = {"name": "Ada", "text": "Good tea. <3"}
            assert [json.loads(member.recv(20)) for member in (ada, bob)] == [line, line]
            assert httpx.get(f"{served.url}/rooms").json() == {"tea": 2}
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
        wait_until(lambda: httpx.get(f"{served.url}/rooms").json() == {"tea": 0}, served.said, 20)
        assert "<title>Chat</title>" in httpx.get(served.url).text
    assert served.process.returncode == 0, served.said()


# The twins.


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
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
