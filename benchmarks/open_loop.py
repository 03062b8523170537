"""The load generator for clients that come at a given rate, whether or not those before them have been answered.

Run with the URL, the rate (requests a second) and the seconds; prints one JSON object. Arrivals are random (Poisson),
one request in 20 is a long one, and both are the same in every run. A latency begins when the request was to be sent,
so that neither a server nor this program can hide a delay. A request takes an idle connection, or opens one.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from apps import LONG_PATH
from scenarios import MIXED_LONG

SEED = 20
PATIENCE = 10.0  # seconds for the answers that are missing at the end
LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
CLOSES = re.compile(rb"^connection:\s*close", re.IGNORECASE | re.MULTILINE)


@dataclass
class Results:
    """Times in milliseconds."""

    short: list[float] = field(default_factory=list)
    long: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)  # this program itself
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("connect", "read", "timeout", "status"), 0))

    @property
    def ended(self) -> int:
        return len(self.short) + len(self.long) + sum(self.errors.values())


class Client(asyncio.Protocol):
    """A connection: idle in `pool`, or with one request on its way."""

    def __init__(self, results: Results, pool: list[Client]) -> None:
        self._results = results
        self._pool = pool
        self._received = b""
        self._intended: float | None = None  # when the request on its way was to be sent
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, is_long: bool, intended: float) -> None:
        """Send a request."""
        self._intended, self._is_long, self._received = intended, is_long, b""
        path = LONG_PATH if is_long else "/"
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: benchmark\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or length is None or len(body) < int(length[1]) or self._intended is None:
            return
        took = (self._loop.time() - self._intended) * 1000
        self._intended = None
        if b" 200 " not in head[:15]:
            self._results.errors["status"] += 1
        else:
            (self._results.long if self._is_long else self._results.short).append(took)
        if CLOSES.search(head):
            self._transport.close()
        else:
            self._pool.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._pool:
            self._pool.remove(self)
        if self._intended is not None:
            self._results.errors["read"] += 1


async def generate(host: str, port: int, rate: float, seconds: float) -> Results:
    """Send requests for some seconds, and wait for what is missing then."""
    loop = asyncio.get_running_loop()
    chance = random.Random(SEED)
    results = Results()
    pool: list[Client] = []
    opening: set[asyncio.Task[None]] = set()

    async def open_and_ask(is_long: bool, intended: float) -> None:
        try:
            _, client = await loop.create_connection(lambda: Client(results, pool), host, port)
        except OSError:
            results.errors["connect"] += 1
        else:
            client.ask(is_long, intended)

    begun = intended = loop.time()
    asked = 0
    while (intended := intended + chance.expovariate(rate)) < begun + seconds:
        is_long = chance.random() < MIXED_LONG
        await asyncio.sleep(intended - loop.time())
        results.late.append((loop.time() - intended) * 1000)
        asked += 1
        if pool:
            pool.pop().ask(is_long, intended)
        else:
            task = loop.create_task(open_and_ask(is_long, intended))
            opening.add(task)
            task.add_done_callback(opening.discard)
    deadline = loop.time() + PATIENCE
    # An event would have to be set on every path that ends a request.
    while results.ended < asked and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    results.errors["timeout"] += asked - results.ended
    return results


def quantile(times: list[float], share: float) -> float:
    """The time that so large a share does not exceed; 0 for none."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def main() -> None:
    parts, rate, seconds = urlsplit(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    results = asyncio.run(generate(parts.hostname or "", parts.port or 80, rate, seconds))
    times = results.short + results.long
    print(
        json.dumps(
            {
                "rate": len(times) / seconds,
                "p50_ms": quantile(times, 0.5),
                "p99_ms": quantile(times, 0.99),
                "short_p99_ms": quantile(results.short, 0.99),
                "late_p99_ms": quantile(results.late, 0.99),
                "requests": len(times),
                "errors": results.errors,
            }
        )
    )


if __name__ == "__main__":
    main()
