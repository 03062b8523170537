"""A WSGI application with a route for every rule of PEP 3333 that the tests look at."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.validate import validator

from notes import note

Environ = dict[str, Any]
Start = Callable[..., Any]
PLAIN = [("Content-Type", "text/plain")]
BLOCK = bytes(range(256)) * 256  # 64 KiB


def query(environ: Environ) -> dict[str, str]:
    return dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True, encoding="latin-1"))


class Closing:
    """An iterable that tells when it is closed."""

    def __init__(self, key: str, blocks: Iterable[bytes]) -> None:
        self.key = key
        self.blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        note(self.key, "closed")


# ---- bodies ----


def hello(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


def echo(environ: Environ, start: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or -1))
    start("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def shown(environ: Environ, start: Start) -> Iterable[bytes]:
    """The environ, but for what is no text, number or truth."""
    kept = {key: value for key, value in environ.items() if isinstance(value, (str, bool, int, tuple))}
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(kept).encode()]


def written(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", PLAIN)
    write(b"one ")
    write(b"two ")
    return [b"three"]


def only_written(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)(b"all of it")
    return []


def generated(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    for number in range(int(query(environ).get("blocks", "3"))):
        yield b"block %d " % number


def late_start(environ: Environ, start: Start) -> Iterable[bytes]:
    """A generator that calls start_response when it is asked for its first block, which is empty."""
    start("200 OK", PLAIN)
    yield b""
    yield b"one "
    yield b""
    yield b"two"


def empty(environ: Environ, start: Start) -> Iterable[bytes]:
    start(query(environ).get("status", "200 OK"), [("X-Kept", "yes")])
    return []


def bodiless(environ: Environ, start: Start) -> Iterable[bytes]:
    """A status without a body, with a body all the same."""
    start(query(environ)["status"], [("X-Kept", "yes")])
    return [b"not to be sent"] if query(environ).get("how") == "list" else iter([b"not ", b"to be sent"])


def large(environ: Environ, start: Start) -> Iterable[bytes]:
    size = int(query(environ).get("size", str(8 << 20)))
    start("200 OK", [*PLAIN, ("Content-Length", str(size))])
    return [(BLOCK * (size // len(BLOCK) + 1))[:size]]


def streamed(environ: Environ, start: Start) -> Iterable[bytes]:
    """Blocks of 64 KiB, each noted when it has been taken; closed with a note."""
    asked = query(environ)

    def blocks() -> Iterator[bytes]:
        for number in range(int(asked["blocks"])):
            yield BLOCK
            note(asked["key"], number)

    start("200 OK", PLAIN)
    return Closing(asked["key"], blocks())


# ---- request bodies ----


def taken(environ: Environ, start: Start) -> Iterable[bytes]:
    """Read the body in the way that is asked for, keeping none of it: its digest, its size, the number of pieces."""
    body, digest, size, pieces = environ["wsgi.input"], hashlib.sha256(), 0, 0
    how = query(environ)["how"]
    readers: dict[str, Callable[[], Iterable[bytes]]] = {
        "all": lambda: [body.read()],
        "part": lambda: iter(lambda: body.read(10_000), b""),
        "readline": lambda: iter(body.readline, b""),
        "readline-part": lambda: iter(lambda: body.readline(7), b""),
        "readlines": lambda: body.readlines(),
        "iteration": lambda: body,
    }
    for piece in readers[how]():
        digest.update(piece)
        size += len(piece)
        pieces += 1
    start("200 OK", [("Content-Type", "application/json")])
    after = body.read(1) + body.readline()
    return [json.dumps({"sha": digest.hexdigest(), "size": size, "pieces": pieces, "after": len(after)}).encode()]


def first_bytes(environ: Environ, start: Start) -> Iterable[bytes]:
    """Read so many bytes, answer, and leave the rest unread."""
    data = environ["wsgi.input"].read(int(query(environ)["count"]))
    start("200 OK", PLAIN)
    return [data]


# ---- errors ----


def replaced(environ: Environ, start: Start) -> Iterable[bytes]:
    """An error before bytes went out: the response is replaced."""
    start("200 OK", [*PLAIN, ("X-First", "yes")])
    try:
        raise ValueError("found out early")
    except ValueError:
        start("503 Replaced", PLAIN, sys.exc_info())
    return [b"the replacement"]


def too_late(environ: Environ, start: Start) -> Iterable[bytes]:
    """An error after bytes went out: start_response raises it again."""
    start("200 OK", PLAIN)(b"already out")
    try:
        raise ValueError("found out late")
    except ValueError:
        start("503 Replaced", PLAIN, sys.exc_info())
    return [b"never sent"]


def twice(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", PLAIN)
    start("200 OK", PLAIN)
    return [b"x"]


def never_started(environ: Environ, start: Start) -> Iterable[bytes]:
    return iter([b"x"]) if query(environ).get("how") == "iterator" else [b"x"]


def nothing(environ: Environ, start: Start) -> Any:
    start("200 OK", PLAIN)


def chosen(environ: Environ, start: Start) -> Iterable[bytes]:
    """Status and one field as the query says."""
    asked = query(environ)
    start(asked.get("status", "200 OK"), [(asked.get("name", "X-Value"), asked.get("value", "plain"))])
    return [b"x"]


def text_body(environ: Environ, start: Start) -> Any:
    """Text where there should be bytes: in a list, by an iterator, or written."""
    write = start("200 OK", PLAIN)
    how = query(environ)["how"]
    if how == "written":
        write("text")
    return {"list": ["text"], "lists": ["text", "more"]}.get(how, iter(["text"]))


def raising(environ: Environ, start: Start) -> Iterable[bytes]:
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}.get(
        query(environ).get("what", ""), RuntimeError
    )("raised on purpose")


def raising_in_the_middle(environ: Environ, start: Start) -> Iterable[bytes]:
    asked = query(environ)
    length = [("Content-Length", asked["length"])] if "length" in asked else []

    def blocks() -> Iterator[bytes]:
        yield b"the first block"
        raise RuntimeError("in the middle")

    start("200 OK", PLAIN + length)
    return Closing(asked.get("key", "none"), blocks())


def closing(environ: Environ, start: Start) -> Iterable[bytes]:
    """An iterable with close(); its blocks and its start are as the query says."""
    asked = query(environ)
    if asked["how"] != "unstarted":
        start("nonsense" if asked["how"] == "bad" else "200 OK", PLAIN)
    return Closing(asked["key"], [b"a", b"b"])


def raising_close(environ: Environ, start: Start) -> Iterable[bytes]:
    class Broken(Closing):
        def close(self) -> None:
            super().close()
            raise RuntimeError("in close")

    start("200 OK", [*PLAIN, ("Content-Length", "2")])
    return Broken(query(environ)["key"], [b"a", b"b"])


def wrong_length(environ: Environ, start: Start) -> Iterable[bytes]:
    """Ten bytes under another Content-Length, as a list, by an iterator, or written."""
    asked = query(environ)
    write = start("200 OK", [*PLAIN, ("Content-Length", asked["length"])])
    if asked["how"] == "written":
        write(b"01234")
        write(b"56789")
        return []
    return [b"01234", b"56789"] if asked["how"] == "list" else iter([b"01234", b"56789"])


# ---- files ----


def file(environ: Environ, start: Start) -> Iterable[bytes]:
    asked = query(environ)
    opened: Any = Path(asked["path"]).open("rb")  # noqa: SIM115 - the server closes it
    opened.seek(int(asked.get("offset", "0")))
    if asked.get("how") == "memory":
        opened = io.BytesIO(opened.read())
    elif asked.get("how") == "unbuffered":
        opened = Path(asked["path"]).open("rb", buffering=0)  # noqa: SIM115
    elif asked.get("how") in PACKED:
        opened = io.BufferedReader(PACKED[asked["how"]](asked["path"]))
    headers = [("Content-Length", asked["length"])] if "length" in asked else []
    if "key" in asked:
        close = opened.close
        opened = Noted(opened, asked["key"], close)
    start("200 OK", PLAIN + headers)
    return environ["wsgi.file_wrapper"](opened, 8192)


# Files whose fileno() leads to other bytes than read() gives.
PACKED: dict[str, Callable[[str], Any]] = {"gzip": gzip.GzipFile, "bz2": bz2.BZ2File, "lzma": lzma.LZMAFile}


class Noted:
    """A file that notes its closing."""

    def __init__(self, opened: Any, key: str, close: Callable[[], None]) -> None:
        self.read, self.fileno, self.tell = opened.read, opened.fileno, opened.tell
        self._key, self._close = key, close

    def close(self) -> None:
        note(self._key, f"closed {self._close()}")


# ---- waiting ----


def held(environ: Environ, start: Start) -> Iterable[bytes]:
    """Wait until a file appears: a test decides when the request goes on."""
    asked = query(environ)
    note(asked["key"], "in")
    while not Path(asked["gate"]).exists():
        time.sleep(0.02)
    note(asked["key"], "out")
    start("200 OK", PLAIN)
    return [b"released"]


ROUTES = {
    "/hello": hello,
    "/echo": echo,
    "/environ": shown,
    "/written": written,
    "/only-written": only_written,
    "/generated": generated,
    "/late-start": late_start,
    "/empty": empty,
    "/bodiless": bodiless,
    "/large": large,
    "/streamed": streamed,
    "/taken": taken,
    "/first-bytes": first_bytes,
    "/replaced": replaced,
    "/too-late": too_late,
    "/twice": twice,
    "/never-started": never_started,
    "/nothing": nothing,
    "/chosen": chosen,
    "/text-body": text_body,
    "/raising": raising,
    "/raising-in-the-middle": raising_in_the_middle,
    "/closing": closing,
    "/raising-close": raising_close,
    "/wrong-length": wrong_length,
    "/file": file,
    "/held": held,
}


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    route = ROUTES.get(environ["PATH_INFO"])
    if route is None:
        return shown(environ, start_response)
    return route(environ, start_response)


validated = validator(app)
