"""The questions that every notes application of `examples/` is asked, whatever its framework and engine.

Used by test_examples.py, where one wrong answer fails a test, and by matrix.py, which writes down what came of it. It
knows an application by its address only.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

BLOB = bytes(range(256)) * 8192  # 2 MiB
DOWNLOAD = 4 << 20
PATIENCE = 30.0  # seconds for an answer
POOL_PATIENCE = 10.0  # seconds that a request waits for a free connection
SLOW = 0.1  # seconds that /slow waits
TOGETHER = 5  # how many of them are asked at once
LOOKS = 5  # so often a slow machine may try to show that they overlap


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One kept connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=PATIENCE)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        if isinstance(body, dict | list):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        chunked = not isinstance(body, bytes | None)
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        self._connection.request(method, path, body, headers, encode_chunked=chunked)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())


@dataclass
class Outcome:
    """What came of it: the parts that went wrong, each with its first error; whether slow calls overlapped."""

    failed: dict[str, str] = field(default_factory=dict)
    overlap: bool = False


def drive(address: tuple[str, int], log: Callable[[], str], echoes: int = 500) -> Outcome:
    """Ask everything. `log` gives what the server has written so far."""
    outcome = Outcome()
    parts: dict[str, Callable[[], None]] = {
        "notes": lambda: check_notes(address),
        "upload": lambda: check_upload(address),
        "download": lambda: check_download(address),
        "errors": lambda: check_errors(address, log),
    }
    for name, part in parts.items():
        attempt(outcome, name, part)
    try:
        outcome.overlap = do_slow_calls_overlap(address)
    except (AssertionError, OSError, http.client.HTTPException, ValueError) as error:
        outcome.failed["slow"] = said_by(error)
    # Requests that take turns cannot meet each other's context, and many of them take long.
    attempt(outcome, "echo", lambda: check_contexts(address, echoes if outcome.overlap else echoes // 10))
    return outcome


def attempt(outcome: Outcome, name: str, part: Callable[[], None]) -> None:
    try:
        part()
    except (AssertionError, OSError, http.client.HTTPException, ValueError) as error:
        outcome.failed[name] = said_by(error)


def said_by(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0][:200]


def expect(found: Any, wanted: Any, what: str) -> None:
    assert found == wanted, f"{what}: {found!r}, and not {wanted!r}"


def check_notes(address: tuple[str, int]) -> None:
    with Client(address) as client:
        made = client.ask("POST", "/notes", {"text": "buy tea"})
        expect(made.status, 201, "POST /notes")
        note, where = made.json, f"/notes/{made.json['id']}"
        expect(note["text"], "buy tea", "a new note")
        expect(urlsplit(made.headers["Location"]).path, where, "its Location")  # some make a whole URL of it
        expect(client.ask("GET", where).json, note, "the note")
        changed = client.ask("PUT", where, {"text": "čaj"})
        expect((changed.status, changed.json), (200, {**note, "text": "čaj"}), "the changed note")
        assert changed.json in client.ask("GET", "/notes").json, "the changed note is not among all"
        expect(client.ask("DELETE", where).status, 204, "DELETE")
        for method, body in (("GET", None), ("PUT", {"text": "gone"}), ("DELETE", None)):
            expect(client.ask(method, where, body).status, 404, f"{method} of what is gone")
        expect(client.ask("POST", "/notes", ["no", "object"]).status in (400, 422), True, "POST of a list: refused")
        broken = client.ask("POST", "/notes", b"{", **{"Content-Type": "application/json"})
        expect(broken.status in (400, 422), True, "POST of broken JSON: refused")
    check_crowd(address)


def check_crowd(address: tuple[str, int], clients: int = 12, each: int = 5) -> None:
    """More clients than the pool has connections: all are served, and every note has a number of its own.

    None waits as long as the pool's whole patience: that is how a waiter looks who was never told of a free connection.
    """

    def create(_: int) -> list[int]:
        began = time.monotonic()
        with Client(address) as client:
            answers = [client.ask("POST", "/notes", {"text": "one of many"}) for _ in range(each)]
        assert time.monotonic() - began < POOL_PATIENCE, "POST /notes in a crowd: a free connection went unseen"
        expect({answer.status for answer in answers}, {201}, "POST /notes in a crowd")
        return [answer.json["id"] for answer in answers]

    with ThreadPoolExecutor(clients) as pool:
        numbers = [number for some in pool.map(create, range(clients)) for number in some]
    expect(len(set(numbers)), clients * each, "the numbers of a crowd's notes")


def check_upload(address: tuple[str, int]) -> None:
    def parts() -> Iterator[bytes]:
        for start in range(0, len(BLOB), 50_000):
            yield BLOB[start : start + 50_000]

    whole = {"size": len(BLOB), "sha256": hashlib.sha256(BLOB).hexdigest()}
    with Client(address) as client:
        expect(client.ask("PUT", "/upload", BLOB).json, whole, "an upload with a length")
        expect(client.ask("PUT", "/upload", parts()).json, whole, "an upload in chunks")
        expect(client.ask("PUT", "/upload", b"").json["size"], 0, "an empty upload")


def check_download(address: tuple[str, int]) -> None:
    with Client(address) as client:
        answer = client.ask("GET", "/download")
        expect((answer.status, len(answer.body)), (200, DOWNLOAD), "a download")
        expect(answer.body[:16], b"part 0000000000\n", "its beginning")
        expect(answer.body[-16:], b"part 0000000063\n", "its end")
    for _ in range(2):  # a client that leaves early harms nobody
        connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
        connection.request("GET", "/download")
        expect(len(connection.getresponse().read(1000)), 1000, "a download's first bytes")
        connection.close()
    with Client(address) as client:
        expect(client.ask("GET", "/slow").status, 200, "after a client that left")


def check_errors(address: tuple[str, int], log: Callable[[], str]) -> None:
    with Client(address) as client:
        expect(client.ask("GET", "/nothing").status, 404, "GET /nothing")
        expect(client.ask("GET", "/fail").status, 500, "GET /fail")
    deadline = time.monotonic() + PATIENCE
    while "RuntimeError: this is the error of /fail" not in log():
        assert time.monotonic() < deadline, "the error of /fail is not in the log"
        time.sleep(0.01)
    with Client(address) as client:
        expect(client.ask("GET", "/slow").status, 200, "after an error")


def do_slow_calls_overlap(address: tuple[str, int]) -> bool:
    """Requests that wait: together where the engine can, one after the other where it cannot."""

    def ask(_: int) -> int:
        with Client(address) as client:
            return client.ask("GET", "/slow").status

    for _ in range(LOOKS):
        began = time.monotonic()
        with ThreadPoolExecutor(TOGETHER) as pool:
            expect(list(pool.map(ask, range(TOGETHER))), [200] * TOGETHER, "GET /slow")
        if time.monotonic() - began < 0.8 * TOGETHER * SLOW:
            return True
    return False


def check_contexts(address: tuple[str, int], requests: int, clients: int = 25) -> None:
    """Requests that wait in their middle, many at a time: each finds its own number afterwards, and no other's."""
    numbers = iter(range(1, requests + 1))
    lock = threading.Lock()

    def ask(_: int) -> int:
        asked = 0
        with Client(address) as client:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return asked
                expect(client.ask("GET", f"/echo/{number}").json, {"number": number}, "GET /echo")
                asked += 1

    with ThreadPoolExecutor(clients) as pool:
        expect(sum(pool.map(ask, range(clients))), requests, "requests with a number")
