"""What all connections of a worker share: the limits, the clock, who runs their requests, who writes them down."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from socket import socket as Socket  # noqa: N812
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from eitherway.config import Config
from eitherway.errors import ClientGone, RequestRefused
from eitherway.http.exchange import Address, Exchange
from eitherway.http.fields import http_date
from eitherway.http.forwarded import Origin, origin
from eitherway.http.h1 import FORWARDED
from eitherway.http.sessions import GOING_AWAY, SERVICE_RESTART, Sessions
from eitherway.net.poller import Poller

if TYPE_CHECKING:
    from eitherway.metrics.access_log import AccessLog
    from eitherway.metrics.counters import Counters, Siblings

logger = logging.getLogger("eitherway.server")

_LENGTHS = {len(name) for name in FORWARDED}


class Member(Protocol):
    """An open connection: ours (net.connection), or in the hands of a server that the application brings."""

    socket: Socket
    deadline: float
    requests: int

    @property
    def idle(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def on_deadline(self) -> None: ...
    def turn_away(self) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...


class Service:
    """Knows every open connection and every running exchange. `spawn` is the engine's verb."""

    def __init__(
        self,
        config: Config,
        poller: Poller,
        spawn: Callable[[Exchange], None],
        *,
        collects_bodies: bool,
        access_log: AccessLog | None = None,
    ) -> None:
        self.config = config
        self.poller = poller
        self.post = poller.post
        self.common = self.common_fields  # bound once for all connections
        self.access_log = access_log
        self.collects_bodies = collects_bodies  # small bodies are read before a thread or greenlet is taken
        self.connections: set[Member] = set()
        self.running: set[Exchange] = set()
        self.sessions = Sessions(config, poller.post)
        self.draining = False  # every answer is its connection's last
        self.forgotten = False  # this is another process than that whose connections these were
        self.closing = False  # and idle connections are closed
        self.counters: Counters | None = None  # where a supervisor wants to know
        self.siblings: Siblings | None = None  # workers that accept from the same listeners
        self.on_quiet: Callable[[], None] = lambda: None  # called while draining, whenever something ended
        self._spawn = spawn
        self._trusts = _trusted(config.forwarded_allow_ips)
        self._common = b""
        self._common_until = 0.0
        self._warned_until: dict[str, float] = {}
        self._deferred: list[Callable[[], None]] = []
        timeouts = (config.head_timeout, config.body_timeout, config.keep_alive_timeout, config.write_timeout)
        self.sweep_interval = min(1.0, max(0.05, min(timeouts) / 4))  # how late a time-out can be, in seconds

    # -- exchanges ------------------------------------------------------------------------------------------

    def run(self, exchange: Exchange) -> None:
        """Spawn the task that runs an exchange, or refuse it: 503 beyond `limit_concurrency`."""
        if exchange.fields.forwarded and self._trusts(exchange.client):
            _believe_proxy(exchange, self._trusts)
        if self.draining:
            exchange.keep_alive = False
        if len(self.running) >= self.config.limit_concurrency:
            self._note_refusal()
            if self.access_log is not None:
                exchange.started_at = monotonic()
            try:
                exchange.fail(503, "the server is busy; try again", b"retry-after: 1\r\n")
            except ClientGone:
                pass  # it did not wait for the answer
            return
        self.begin(exchange)
        self._spawn(exchange)

    def begin(self, exchange: Exchange) -> None:
        """An exchange is about to run, here or in a server that the application brings."""
        if self.access_log is not None or self.counters is not None:
            exchange.started_at = monotonic()
        self.running.add(exchange)
        if self.counters is not None:
            self.counters.began(exchange, self.running)

    def has_room(self) -> bool:
        """Whether one more exchange may run; where not, that is counted as a refusal."""
        if len(self.running) < self.config.limit_concurrency:
            return True
        self._note_refusal()
        return False

    def _note_refusal(self) -> None:
        self.warn("limit_concurrency", "%d requests are running: answering 503", len(self.running))
        if self.counters is not None:
            self.counters.refused += 1

    def origin(self, client: Address | None, fields: Iterable[tuple[bytes, bytes]]) -> Origin | None:
        """What a trusted proxy says of a request's client; None where none is trusted, or nothing said."""
        for name, _ in fields:
            if len(name) in _LENGTHS and name.lower() in FORWARDED:
                break
        else:
            return None
        if not self._trusts(client):
            return None
        return origin([(name.lower(), value) for name, value in fields], lambda host: self._trusts((host, 0)))

    def ended(self, exchange: Exchange) -> None:
        """The task of an exchange has ended. From any thread."""
        if self.forgotten:
            logger.error("a process that the application has forked came back from a request; it is ended")
            os._exit(1)
        self.running.discard(exchange)
        if self.counters is not None:
            self.counters.ended(exchange, self.running)
        if self.draining:
            self.post(self.on_quiet)

    def closed(self, connection: Member) -> None:
        self.connections.discard(connection)
        if self.counters is not None:
            self.counters.connected(len(self.connections))
        if self.draining:
            self.post(self.on_quiet)

    def answered(self, exchange: Exchange) -> None:
        """An exchange's response is complete."""
        if self.access_log is not None:
            self.access_log.write(exchange, monotonic() - exchange.started_at)

    def refused(self, client: Address | None, refusal: RequestRefused) -> None:
        """A request was answered by the server itself, before it became an exchange."""
        logger.info("refused a request of %s: %d %s", _name(client), refusal.status, refusal)
        if self.counters is not None:
            self.counters.refused += 1
        if self.access_log is not None:
            self.access_log.write_refusal(client, refusal.status)

    def complain(self, exchange: Exchange, fault: str) -> None:
        """Log what the application did wrong in a response."""
        logger.error("%s %s: %s", exchange.line.method, exchange.line.uri, fault)

    def common_fields(self) -> bytes:
        """Date and Server, made anew once a second."""
        now = time()
        if now >= self._common_until:
            self._common_until = int(now) + 1.0
            server = b"server: eitherway\r\n" if self.config.server_header else b""
            self._common = b"date: %b\r\n%b" % (http_date(now), server)
        return self._common

    # -- connections ----------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Act on every time-out that has passed; called every `sweep_interval` seconds."""
        now = self.poller.now = monotonic()
        for connection in [c for c in list(self.connections) if c.deadline < now]:
            connection.on_deadline()
        self.sessions.look(now)
        deferred, self._deferred = self._deferred, []
        for callback in deferred:
            callback()

    def make_room(self) -> bool:
        """Whether `limit_connections` allows the one just opened; the longest idle are closed for it."""
        if self.counters is not None:
            self.counters.connected(len(self.connections))
        limit = self.config.limit_connections
        if len(self.connections) <= limit:
            return True
        self.warn("limit_connections", "%d connections are open: closing idle ones", limit)
        idle = sorted((c for c in self.connections if c.idle and c.requests), key=lambda c: c.deadline)
        for connection in idle[: max(1, limit // 100)]:
            connection.close()
        return bool(idle)

    def on_next_sweep(self, callback: Callable[[], None]) -> None:
        self._deferred.append(callback)

    def retire(self) -> None:
        """From now on every answer says that it is its connection's last; who is idle may still ask once more."""
        self.draining = True
        for exchange in list(self.running):
            exchange.keep_alive = False
        self.take_leave(final=False)

    def drain(self) -> None:
        """From now on every answer is its connection's last; idle connections are closed, unless a request is there."""
        self.take_leave(final=True)
        self.retire()
        self.closing = True
        for connection in list(self.connections):
            connection.drain()

    def take_leave(self, final: bool) -> None:
        """Close the WebSockets, those that still come too: nobody serves on (`final`), or another takes our place."""
        self.sessions.go_away(GOING_AWAY if final else SERVICE_RESTART)

    @property
    def busy(self) -> bool:
        """Whether a request is running or an answer is still on its way."""
        return bool(self.running) or any(c.busy for c in list(self.connections))

    def forget(self) -> None:
        """In a process that the application has forked: the connections are the parent's, as is everything."""
        self.forgotten = True
        for connection in self.connections:
            connection.socket.close()
        self.connections.clear()

    def close(self) -> None:
        """Close every connection at once."""
        for connection in list(self.connections):
            connection.close()

    def warn(self, topic: str, message: str, *arguments: object) -> None:
        """Log a warning about `topic`, once a second at most."""
        now = monotonic()
        if now >= self._warned_until.get(topic, 0.0):
            self._warned_until[topic] = now + 1.0
            logger.warning(message, *arguments)


def _name(client: Address | None) -> str:
    return f"{client[0]}:{client[1]}" if client else "a Unix socket's client"


def _trusted(allowed: tuple[str, ...]) -> Callable[[Address | None], bool]:
    """Who may speak for its clients: a function of the peer's address (None: a Unix socket's)."""
    everyone = "*" in allowed
    unix = "unix" in allowed
    known: dict[str, bool] = {}

    def trusts(client: Address | None) -> bool:
        if everyone:
            return True
        if client is None:
            return unix
        host = client[0]
        verdict = known.get(host)
        if verdict is None:
            verdict = _within(host, allowed)
            if len(known) < 1024:
                known[host] = verdict
        return verdict

    return trusts


def _within(host: str, allowed: tuple[str, ...]) -> bool:
    # Imported here: a server that no proxy speaks to needs none of it.
    from ipaddress import ip_address, ip_network

    try:
        address = ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ip_network(entry, strict=False) for entry in allowed if entry not in {"*", "unix"})


def _believe_proxy(exchange: Exchange, trusts: Callable[[Address | None], bool]) -> None:
    """Take client, scheme and host from what the trusted proxy says of them."""
    known = exchange.fields.derived
    said = known.get(trusts)  # equal heads are one object, and a proxy repeats itself
    if said is None:
        said = known[trusts] = origin(exchange.fields.raw, lambda host: trusts((host, 0)))
    if said.client is not None:
        exchange.client = said.client
    if said.scheme is not None:
        exchange.scheme = said.scheme
    if said.host is not None:
        exchange.host = said.host
