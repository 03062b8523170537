"""A steady, bounded load from clients that we did not write (http.client), which counts what goes wrong."""

from __future__ import annotations

import http.client
import threading
from array import array
from collections import Counter
from statistics import median, quantiles
from time import monotonic, sleep
from typing import Protocol

from serving import wait_until

PATIENCE = 20.0  # seconds until a client takes a request for lost
_MOST_FAILURES = 1000  # kept in words
_TICK = 0.02  # seconds
_LATE = 0.1  # seconds: a tick later than that was held up


class Addressed(Protocol):
    @property
    def address(self) -> tuple[str, int]: ...


class Load:
    """`with Load(server) as load: ...`: every client asks again and again until the block ends.

    A client has one connection, and opens another only when it must. With `rate`, so many requests a second are begun
    by all clients together, however long the answers take (there have to be enough clients); else each client asks
    `pause` seconds after its last answer. A failure is a request without an answer, whatever became of it.
    """

    def __init__(
        self,
        server: Addressed,
        path: str = "/pid",
        clients: int = 8,
        pause: float = 0.01,
        *,
        method: str = "GET",
        body: bytes | None = None,
        rate: float = 0.0,
    ) -> None:
        self.address = server.address
        self.path = path
        self.method = method
        self.body = body
        self.pause = pause
        self.rate = rate
        self.statuses: Counter[int] = Counter()
        self.bodies: Counter[bytes] = Counter()
        self.failures: list[str] = []
        self.kinds: Counter[str] = Counter()  # of failures: refused, reset, closed, broken, timeout
        self.latencies: dict[int, array[float]] = {}  # of each status, in seconds
        self.connections = 0  # opened
        self.worst_gap = 0.0  # seconds without a good answer to anybody
        self.held_up = 0.0  # seconds that the machine did not let us run, when a tick was due
        self._last_good = 0.0
        self._began = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)]
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Load:
        self._began = self._last_good = monotonic()
        self._clock.start()
        for thread in self._threads:
            thread.start()
        self.wait_for(2 * len(self._threads))
        with self._lock:
            self.worst_gap = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE + 10)

    # -- what has been counted ------------------------------------------------------------------------------

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    @property
    def reconnects(self) -> int:
        """How often a client had to open another connection."""
        return self.connections - len(self._threads)

    @property
    def unanswered(self) -> int:
        return sum(self.kinds.values())

    def good(self) -> int:
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    def slowest(self, share: float, status: int = 200) -> float:
        """A percentile of the latencies: `slowest(0.99)`."""
        times = self.latencies.get(status, ())
        return quantiles(times, n=1000, method="inclusive")[round(share * 1000) - 1] if len(times) > 1 else 0.0

    def median(self, status: int = 200) -> float:
        return median(self.latencies.get(status) or (0.0,))

    def wait_for(self, more: int) -> None:
        """Wait for so many answers more."""
        wanted = self.answered + more
        wait_until(lambda: self.answered >= wanted or self.unanswered > 1000)

    def __str__(self) -> str:
        return f"{dict(self.statuses)}, {dict(self.kinds)}, {self.reconnects} reconnects, {self.failures[:3]}"

    # -- the clients ----------------------------------------------------------------------------------------

    def _run(self, number: int) -> None:
        connection: http.client.HTTPConnection | None = None
        due = self._began + number / self.rate if self.rate else 0.0
        while not self._ended.is_set():
            began = monotonic()
            try:
                if connection is None:
                    connection = self._connect()
                connection.request(self.method, self.path, self.body)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._fail(error, began)
                if connection is not None:
                    connection.close()
                connection = None
            else:
                self._count(response.status, body, began)
                if response.will_close:
                    connection.close()
                    connection = None
            if self.rate:
                due += len(self._threads) / self.rate
                self._ended.wait(max(0.0, due - monotonic()))
            else:
                sleep(self.pause)  # the pace of a client, not a wait for anything
        if connection is not None:
            connection.close()

    def _tick(self) -> None:
        """Notice when the machine, or what else runs on it, stands in the way of everything."""
        while not self._ended.is_set():
            due = monotonic() + _TICK
            sleep(_TICK)
            if (late := monotonic() - due) > _LATE:
                self.held_up += late

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        connection.connect()
        with self._lock:
            self.connections += 1
        return connection

    def _count(self, status: int, body: bytes, began: float) -> None:
        now = monotonic()
        with self._lock:
            self.statuses[status] += 1
            if len(self.bodies) < 1000:
                self.bodies[body] += 1
            self.latencies.setdefault(status, array("d")).append(now - began)
            if 200 <= status < 300:
                self.worst_gap = max(self.worst_gap, now - self._last_good)
                self._last_good = now

    def _fail(self, error: BaseException, began: float) -> None:
        now = monotonic()
        with self._lock:
            self.kinds[_kind(error)] += 1
            if len(self.failures) < _MOST_FAILURES:
                after = f"after {now - began:.3f} s, {now - self._began:.1f} s into the load"
                self.failures.append(f"{type(error).__name__}: {error} ({after})")


def _kind(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, http.client.RemoteDisconnected):  # before the reset, of which it is a kind in name only
        return "closed"
    if isinstance(error, ConnectionError):
        return "reset"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "broken"  # an answer that has begun and does not end
