"""Serves the same small application, on Flask and on FastAPI, with every engine, and shows what came back.

    python examples/demo.py            (or `make demo`, which installs what it needs first)

Every server is started as a user would start it, gets real requests from 50 clients at the same time, and is
ended with SIGTERM. Every answer is checked. Exit code 1 if an answer was wrong or a server did not end well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import math
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 50  # connections open and asking at the same time
WAIT_MS = 50
START_SECONDS = 20.0  # for a server to answer its first request
STOP_SECONDS = 10.0  # for a server to end after SIGTERM
ROUND_SECONDS = 30.0  # for all answers of one round

WAIT = f"/wait?ms={WAIT_MS}"
ANSWERS = {
    "/": b'{"application": "twins", "paths": ["/", "/wait?ms=50", "/cpu?n=100000"]}',
    WAIT: b'{"waited": %d}' % WAIT_MS,
}


@dataclass(frozen=True)
class Case:
    framework: str
    target: str
    engine: str
    interface: str  # and how the engine runs it, where that is not its own way
    one_at_a_time: bool = False  # gets fewer requests that wait

    @property
    def command(self) -> list[str]:
        return ["serve", self.target, "--chdir", "examples", "--engine", self.engine, "--bind", "127.0.0.1:0"]


CASES = [
    Case("Flask", "twins_flask:app", "sync", "WSGI", one_at_a_time=True),
    Case("Flask", "twins_flask:app", "threads", "WSGI"),
    Case("Flask", "twins_flask:app", "gevent", "WSGI"),
    Case("Flask", "twins_flask:app", "asyncio", "WSGI, thread pool"),
    Case("Flask", "twins_flask:app", "uvloop", "WSGI, thread pool"),
    Case("FastAPI", "twins_fastapi:app", "sync", "ASGI, one by one", one_at_a_time=True),
    Case("FastAPI", "twins_fastapi:app", "threads", "ASGI, loop/thread"),
    Case("FastAPI", "twins_fastapi:app", "gevent", "ASGI"),  # cannot be: shows how the server says so
    Case("FastAPI", "twins_fastapi:app", "asyncio", "ASGI"),
    Case("FastAPI", "twins_fastapi:app", "uvloop", "ASGI"),
]


# The client: connections that stay open, on the standard library alone.


@dataclass
class Round:
    """What came back for one path."""

    sent: int
    seconds: float = 0.0  # until the last answer
    latencies: list[float] = field(default_factory=list)  # of the right answers
    faults: list[str] = field(default_factory=list)  # an entry for each wrong or missing one

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def latency(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan


class Client:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self.reader, self.writer

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    async def get(self, path: str) -> tuple[int, bytes]:
        reader, writer = await self.connect()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n\r\n".encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {}
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, body


async def ask(host: str, port: int, path: str, total: int) -> Round:
    """`total` requests for one path, from all clients at once; each asks again when it has its answer."""
    result = Round(sent=total)
    clients = [Client(host, port) for _ in range(min(CLIENTS, total))]
    remaining = iter(range(total))  # shared: who is free takes the next

    async def work(client: Client) -> None:
        for _ in remaining:
            began = perf_counter()
            try:
                status, body = await client.get(path)
            except (OSError, EOFError, KeyError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
                result.faults.append(f"{path}: {type(error).__name__}: {error}")
                client.close()
                continue
            if status == 200 and body == ANSWERS[path]:
                result.latencies.append(perf_counter() - began)
            else:
                result.faults.append(f"{path}: {status} {body[:60]!r}")

    try:
        await asyncio.gather(*(client.connect() for client in clients))
        began = perf_counter()
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await asyncio.gather(*map(work, clients))
        except TimeoutError:
            missing = total - len(result.latencies) - len(result.faults)
            result.faults += [f"{path}: no answer within {ROUND_SECONDS:.0f} s"] * missing
        result.seconds = perf_counter() - began
    except OSError as error:
        result.faults = [f"{path}: {error}"] * total
    finally:
        for client in clients:
            client.close()
    return result


# The server: a process of its own, found by the address in its banner.


class NotServedError(Exception):
    """The server ended, or never answered. Its text is the server's own last line."""


@dataclass
class Server:
    process: asyncio.subprocess.Process
    host: str
    port: int
    log: list[str]
    faults: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serving(case: Case) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "eitherway", *case.command),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,  # no line of a log is longer
    )
    assert process.stderr is not None
    log: list[str] = []
    address: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

    async def read_log(stream: asyncio.StreamReader) -> None:
        async for raw in stream:  # to its end, so that the server never waits for us
            log.append(raw.decode(errors="replace").rstrip())
            found = re.search(r"http://([\d.]+):(\d+)", log[-1])
            if found and not address.done():
                address.set_result((found[1], int(found[2])))
        if not address.done():
            address.set_exception(NotServedError(last_line(log)))

    reading = asyncio.create_task(read_log(process.stderr))
    server: Server | None = None
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                server = Server(process, *await address, log)
                await ready(server)
        except TimeoutError:
            raise NotServedError(f"no answer within {START_SECONDS:.0f} s; {last_line(log)}") from None
        yield server
    finally:
        fault = await end(process, ended=reading.done())
        await reading
        if server is not None and fault:
            server.faults.append(f"{fault}; {last_line(log)}")


async def ready(server: Server) -> None:
    client = Client(server.host, server.port)
    while True:
        try:
            await client.get("/")
        except (OSError, EOFError):
            client.close()
            if server.process.returncode is not None:
                raise NotServedError(last_line(server.log)) from None
            await asyncio.sleep(0.02)
        else:
            return client.close()


async def end(process: asyncio.subprocess.Process, ended: bool) -> str:
    """Asks the server to end, by its own pid. Returns what was wrong with its end, or nothing."""
    if process.returncode is None and not ended:
        # Not process.send_signal(), which may collect the exit code before asyncio's own watcher does.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            code = await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"did not end within {STOP_SECONDS:.0f} s of SIGTERM"
    return f"ended with exit code {code}" if code else ""


def last_line(log: list[str]) -> str:
    return next((line.strip() for line in reversed(log) if line.strip()), "it said nothing")


# The demonstration.


@dataclass
class Outcome:
    case: Case
    rounds: dict[str, Round] = field(default_factory=dict)
    skipped: str = ""  # what to install
    refused: str = ""  # the server's own words
    faults: list[str] = field(default_factory=list)


def missing(case: Case) -> str:
    """The pip line that this case needs first, or nothing."""
    if case.engine in ("gevent", "uvloop") and importlib.util.find_spec(case.engine) is None:
        return f"pip install 'eitherway[{case.engine}]'"
    module = case.framework.lower()
    return "" if importlib.util.find_spec(module) else f"pip install {module}"


async def run(case: Case, requests: int) -> Outcome:
    outcome = Outcome(case)
    outcome.skipped = missing(case)
    if outcome.skipped:
        return outcome
    expect_refusal = case.framework == "FastAPI" and case.engine == "gevent"
    try:
        async with serving(case) as server:
            waits = min(requests, 40) if case.one_at_a_time else requests
            for path, total in ((WAIT, waits), ("/", requests)):
                outcome.rounds[path] = await ask(server.host, server.port, path, total)
        outcome.faults += server.faults
        if expect_refusal:
            outcome.faults.append("was served, where a refusal was due")
    except NotServedError as error:
        outcome.refused = str(error)
        if not expect_refusal or case.engine not in outcome.refused:
            outcome.faults.append(f"was not served: {error}")
    for result in outcome.rounds.values():
        outcome.faults += sorted({f"{result.faults.count(fault)} x {fault}" for fault in result.faults})
    return outcome


# What is shown. One layout for every terminal; `rich`, where it is there, adds colour.


def show(text: str = "", style: str = "") -> None:
    if CONSOLE is None:
        print(text, flush=True)
    else:
        CONSOLE.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


CONSOLE = None
if importlib.util.find_spec("rich"):
    from rich.console import Console

    CONSOLE = Console()

COLUMNS = ("application", "engine", "interface", "requests", "ok", "all after", "req/s", "median", "p99")
WIDTHS = (11, 7, 17, 8, 4, 9, 6, 9, 9)
TEXTS = 3  # columns of text stand to the left, figures to the right


def row(cells: tuple[str, ...]) -> str:
    texts = [cell.ljust(width) for cell, width in zip(cells[:TEXTS], WIDTHS, strict=False)]
    figures = [cell.rjust(width) for cell, width in zip(cells[TEXTS:], WIDTHS[TEXTS:], strict=False)]
    return "  ".join(texts + figures)


def table(title: str, path: str, outcomes: list[Outcome]) -> None:
    show()
    show(title, "bold")
    show(row(COLUMNS), "dim")
    for outcome in outcomes:
        case, result = outcome.case, outcome.rounds.get(path)
        name = (case.framework, case.engine)
        if outcome.skipped:
            show(f"{row(name)}  skipped; to have it: {outcome.skipped}", "yellow")
        elif result is None:
            word, colour = ("not served", "red") if outcome.faults else ("refused", "yellow")
            show(f"{row(name)}  {word}: {outcome.refused}", colour)
        else:
            figures = (
                str(result.sent),
                str(len(result.latencies)),
                f"{result.seconds:.2f} s",
                f"{result.rate:,.0f}",
                f"{result.latency(0.5) * 1000:.1f} ms",
                f"{result.latency(0.99) * 1000:.1f} ms",
            )
            show(row((*name, case.interface, *figures)), "red" if result.faults else "")


def conclusion(outcomes: list[Outcome]) -> Iterator[str]:
    """What the figures say, in words; every number here was measured a moment ago."""
    for framework in ("Flask", "FastAPI"):
        served = [o for o in outcomes if o.case.framework == framework and o.rounds and not o.faults]
        if not served:
            continue
        # How many waited at the same time, on average: requests a second, times how long each of them waits.
        at_once = {o.case.engine: o.rounds[WAIT].rate * WAIT_MS / 1000 for o in served}
        words = [
            f"{engine} one after the other" if number < 1.5 else f"{engine} about {number:.0f} at a time"
            for engine, number in at_once.items()
        ]
        yield f"{framework}, waiting: the same code, answered by {', '.join(words)}."
        rates = [o.rounds["/"].rate for o in served]
        if len(rates) > 1:
            yield f"{framework}, not waiting: from {min(rates):,.0f} to {max(rates):,.0f} a second."
    yield (
        "An engine decides how many requests can wait together; it does not make Python itself any faster. "
        "(Rounds as short as these, beside their client on one machine, cannot tell fast from faster; "
        "benchmarks/ can.)"
    )


async def demonstrate(engines: list[str], requests: int) -> int:
    outcomes = []
    for case in CASES:
        if engines and case.engine not in engines:
            continue
        show(f"$ eitherway {' '.join(case.command)}", "dim")
        outcomes.append(await run(case, requests))
    table(
        f"Waiting: GET {WAIT}, {CLIENTS} clients at once (fewer requests where they are answered one by one)",
        WAIT,
        outcomes,
    )
    table(f"Not waiting: GET /, {CLIENTS} clients at once", "/", outcomes)
    show()
    for line in conclusion(outcomes):
        show(line)
    faults = [f"{o.case.framework} on {o.case.engine}: {fault}" for o in outcomes for fault in o.faults]
    for fault in faults:
        show(f"FAULT  {fault}", "bold red")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="The same application on every engine, with real requests.")
    parser.add_argument("--requests", type=int, default=300, metavar="N", help="requests a round (300)")
    parser.add_argument("--engine", action="append", default=[], metavar="NAME", help="only this one; repeat")
    options = parser.parse_args()
    if importlib.util.find_spec("eitherway") is None:
        print("eitherway is not installed here; run `make demo`, or `pip install -e .`", file=sys.stderr)
        return 2
    return asyncio.run(demonstrate(options.engine, max(1, options.requests)))


if __name__ == "__main__":
    sys.exit(main())
