"""Applications that bring a server of their own: they get accepted sockets, and say what they do with them.

Their parsers, time-outs and limits hold, not ours. What the supervisor, its siblings and the logs want to know is the
same as of any other connection and exchange, under the same names: a `Guest` is the one, a `Visit` the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import lru_cache
from socket import socket as Socket  # noqa: N812
from typing import Any, NamedTuple, Protocol

from eitherway.config import Config
from eitherway.http.exchange import Address, Exchange
from eitherway.http.forwarded import Origin
from eitherway.http.sessions import Sessions
from eitherway.interfaces.base import Colour, Loop

_SWITCHED = 101


class House(Protocol):
    """Who accepts the connections (net.service.Service)."""

    connections: set[Any]
    sessions: Sessions
    draining: bool
    closing: bool

    def has_room(self) -> bool: ...
    def begin(self, exchange: Any) -> None: ...
    def ended(self, exchange: Any) -> None: ...
    def answered(self, exchange: Any) -> None: ...
    def closed(self, connection: Any) -> None: ...
    def origin(self, client: Address | None, fields: Iterable[tuple[bytes, bytes]]) -> Origin | None: ...


class Line(NamedTuple):
    """A request line, as far as it is counted and logged."""

    method: str
    uri: str
    http_11: bool


@lru_cache(maxsize=512)  # equal lines are one object: who has noted it need not note it again
def line_of(method: str, uri: str, http_11: bool) -> Line:
    return Line(method, uri, http_11)


class Visit:
    """One request that the application's own server answers, as an exchange for all who watch."""

    __slots__ = ("bytes_sent", "client", "guest", "keep_alive", "request", "started_at", "status")
    read_waiter = write_waiter = None
    begun = True  # for all that is known here
    started_at: float

    def __init__(self, guest: Guest, request: Any) -> None:
        self.guest = guest
        self.client = guest.client
        self.request = request  # as that server knows it
        self.status = 0
        self.bytes_sent = 0
        self.keep_alive = True  # else the answer is to be the connection's last

    @property
    def line(self) -> Line:
        raise NotImplementedError

    @property
    def fields(self) -> Fields:
        raise NotImplementedError

    @property
    def task(self) -> Any:
        """What runs it."""
        return None

    @property
    def switched(self) -> bool:
        return self.status == _SWITCHED

    def fail(self, status: int, reason: str) -> None:
        """It takes too long: all that can be done from here is to close its connection."""
        self.guest.close()


class Fields(NamedTuple):
    """A request's fields, as the access log wants them: names in lower case."""

    raw: list[tuple[bytes, bytes]]

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Fields:
        return cls([(name.lower(), value) for name, value in pairs])


class Farewell:
    """A WebSocket of a guest's, to be closed when the worker ends (http.sessions.Session)."""

    def __init__(self, close: Callable[[int], object]) -> None:
        self._close = close
        self._said = False

    def look(self, now: float) -> None:
        """Pings are the application's server's."""

    def go_away(self, code: int) -> None:
        if not self._said:
            self._said = True
            self._close(code)


class Guest:
    """One accepted connection, in the hands of the application's server. It carries one request at a time."""

    __slots__ = ("_farewell", "_native", "client", "deadline", "handler", "is_closed", "requests", "socket", "visit")

    def __init__(self, native: Native, sock: Socket, client: Address | None) -> None:
        self.socket = sock
        self.client = client
        self.requests = 0
        self.deadline = float("inf")  # time-outs are the application's server's
        self.visit: Visit | None = None  # the request that is being answered
        self.handler: Any = None  # what serves the connection there
        self.is_closed = False
        self._native = native
        self._farewell: Farewell | None = None
        native.house.connections.add(self)

    @property
    def idle(self) -> bool:
        return self.visit is None

    @property
    def busy(self) -> bool:
        return self.visit is not None

    def begin(self, visit: Visit) -> None:
        """A request is to be answered."""
        house = self._native.house
        self.requests += 1
        self.visit = visit
        visit.keep_alive = not house.draining
        house.begin(visit)

    def end(self, visit: Visit) -> None:
        """Its answer is complete, or given up. A second time changes nothing."""
        if visit is self.visit:
            house = self._native.house
            self.visit = None
            house.answered(visit)
            house.ended(visit)
            if house.closing and not self.is_closed:
                self._native.leave(self, answered=True)

    def switch(self, visit: Visit, close: Callable[[int], object]) -> None:
        """It has become a WebSocket, which `close` closes with a code."""
        visit.status = _SWITCHED
        self._farewell = Farewell(close)
        self._native.house.sessions.add(self._farewell)

    def drain(self) -> None:
        """The worker stops: an idle connection is closed, others behind their answer."""
        if not self.is_closed and self.visit is None:
            self._native.leave(self, answered=False)

    def on_deadline(self) -> None:
        """There is none."""

    def turn_away(self) -> None:
        self.close()

    def close(self) -> None:
        """Cut it off."""
        if not self.is_closed:
            self._native.cut(self)
            self.closed()

    def closed(self) -> None:
        """It has been closed, by whom ever."""
        if not self.is_closed:
            self.is_closed = True
            house = self._native.house
            if self._farewell is not None:
                house.sessions.discard(self._farewell)
            if self.visit is not None:
                self.end(self.visit)
            house.closed(self)


class Native(ABC):
    """One application with the server that it brings. `connected` is what a listener calls."""

    colour: Colour
    suspend: Any = None

    def __init__(self, application: Any, config: Config, house: House) -> None:
        self.application = application
        self.config = config
        self.house = house

    @property
    def patience(self) -> float:
        """Seconds that the application's own shutdown gets."""
        return max(1.0, self.config.graceful_timeout)

    def connected(self, service: object, sock: Socket, client: Address | None, server: Address | None) -> Guest:
        guest = Guest(self, sock, client)
        self.adopt(guest)
        return guest

    def __call__(self, exchange: Exchange) -> Any:
        raise AssertionError("there are no exchanges here")

    @abstractmethod
    def adopt(self, guest: Guest) -> None:
        """Have the application's server serve a connection; `guest.closed()` when it is closed."""

    @abstractmethod
    def leave(self, guest: Guest, *, answered: bool) -> None:
        """Close an idle connection, or one whose answer has just been sent, gracefully."""

    @abstractmethod
    def cut(self, guest: Guest) -> None:
        """Close a connection at once."""

    @abstractmethod
    async def startup(self, loop: Loop) -> None:
        """Raises LifespanError."""

    @abstractmethod
    async def shutdown(self) -> None: ...
