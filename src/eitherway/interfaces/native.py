"""Applications that bring a server of their own: they get accepted sockets, and say what they do with them.

Their parsers, time-outs and limits hold, not ours. What the supervisor, its siblings and the logs want to know is the
same as of any other connection and exchange, under the same names: a `Guest` is the one, a `Visit` the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import lru_cache
from socket import MSG_DONTWAIT, MSG_PEEK
from socket import socket as Socket  # noqa: N812
from time import monotonic
from typing import Any, NamedTuple, Protocol

from eitherway.config import Config
from eitherway.http.exchange import Address, Exchange
from eitherway.http.forwarded import Origin
from eitherway.http.sessions import Sessions
from eitherway.interfaces.base import Colour, Loop

SWITCHED = 101
_NEVER = 1e9  # seconds; beyond it there is room for an order
_ARRIVED = 0.05  # seconds until a request that has arrived is begun: it may be anywhere within the framework


class House(Protocol):
    """Who accepts the connections (net.service.Service)."""

    connections: set[Any]
    sessions: Sessions
    access_log: Any
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


class Unread(NamedTuple):
    """The rest of a request's body."""

    complete: bool = False


class Visit(ABC):
    """One request that the application's own server answers, as an exchange for all who watch.

    What they ask for is looked up when they ask: most requests are over before anybody has.
    """

    __slots__ = ("client", "guest", "request", "started_at")
    body = Unread()  # as long as there is a `read_waiter`
    begun = True  # for all that is known here
    started_at: float

    def __init__(self, guest: Guest, request: Any) -> None:
        self.guest = guest
        self.client = guest.client
        self.request = request  # as that server knows it

    @property
    @abstractmethod
    def line(self) -> Line: ...

    @property
    @abstractmethod
    def fields(self) -> Fields: ...

    @property
    @abstractmethod
    def status(self) -> int:
        """What it is answered with; 0 as long as that is not known."""

    @property
    @abstractmethod
    def bytes_sent(self) -> int:
        """How much of the answer there has been so far."""

    @abstractmethod
    def say_last(self) -> None:
        """Have the answer tell, if it still can, that it is the connection's last."""

    @property
    def keep_alive(self) -> bool:
        return not self.guest.native.house.draining

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        if not value:
            self.say_last()

    @property
    def read_waiter(self) -> Any:
        """Whether bytes of the client are waited for, where that can be known."""
        return None

    @property
    def write_waiter(self) -> Any:
        """Whether it is waited for that the client takes what was sent, where that can be known."""
        return None

    @property
    def task(self) -> Any:
        """What runs it."""
        return None

    @property
    def switched(self) -> bool:
        return self.status == SWITCHED

    @property
    def channel(self) -> Visit:
        return self

    def fail(self, status: int, reason: str) -> None:
        """It takes too long: all that can be done from here is to close its connection."""
        self.guest.close()

    def shut(self, last_words: bytes) -> None:
        """As `fail`, of a channel."""
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

    __slots__ = ("_farewell", "client", "deadline", "handler", "is_closed", "native", "requests", "socket", "visit")

    def __init__(self, native: Native, sock: Socket, client: Address | None) -> None:
        self.socket = sock
        self.client = client
        self.requests = 0
        self.deadline = _NEVER  # time-outs are the application's server's; the smaller, the longer it is idle
        self.visit: Visit | None = None  # the request that is being answered
        self.handler: Any = None  # what serves the connection there
        self.is_closed = False
        self.native = native
        self._farewell: Farewell | None = None
        native.house.connections.add(self)

    @property
    def idle(self) -> bool:
        return self.visit is None

    @property
    def busy(self) -> bool:
        return self.visit is not None or (not self.is_closed and self.native.has_unsent(self))

    def begin(self, visit: Visit) -> None:
        """A request is to be answered. The one before it has been: some frameworks tell of that only now, or never."""
        if self.visit is not None:
            self.end(self.visit)
        self.requests += 1
        self.visit = visit
        house = self.native.house
        house.begin(visit)
        if house.draining:
            visit.say_last()

    def end(self, visit: Visit) -> None:
        """Its answer is complete, or given up. A second time changes nothing."""
        if visit is self.visit:
            house = self.native.house
            self.visit = None
            self.deadline = _NEVER + monotonic()
            if house.access_log is not None:
                house.answered(visit)
            house.ended(visit)
            if house.closing and not self.is_closed:
                self.native.leave(self, answered=True)

    def refuse(self, visit: Visit) -> None:
        """It has been answered without being run."""
        house = self.native.house
        if house.access_log is not None:
            visit.started_at = monotonic()
            house.answered(visit)

    def switch(self, close: Callable[[int], object]) -> None:
        """It has become a WebSocket, which `close` closes with a code."""
        if self._farewell is None and not self.is_closed:
            self._farewell = Farewell(close)
            self.native.house.sessions.add(self._farewell)

    def drain(self) -> None:
        """The worker stops: close when idle, unless a request has arrived by now, or none was asked yet."""
        if self.visit is None and self.requests:
            self.native.later(_ARRIVED, self._leave_idle)

    def _leave_idle(self) -> None:
        if self.is_closed or self.visit is not None:
            return
        if self._has_received():
            self.native.later(_ARRIVED, self._leave_idle)
        else:
            self.native.leave(self, answered=False)

    def _has_received(self) -> bool:
        try:
            return bool(self.socket.recv(1, MSG_PEEK | MSG_DONTWAIT))
        except OSError:
            return False

    def on_deadline(self) -> None:
        """There is none."""

    def turn_away(self) -> None:
        self.close()

    def close(self) -> None:
        """Cut it off."""
        if not self.is_closed:
            self.native.cut(self)
            self.closed()

    def closed(self, *, runs_on: bool = False) -> None:
        """It has been closed, by whom ever. Its request ends with it, unless the application still `runs_on`."""
        if not self.is_closed:
            self.is_closed = True
            house = self.native.house
            if self._farewell is not None:
                house.sessions.discard(self._farewell)
            if self.visit is not None and not runs_on:
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

    def connected(self, service: object, sock: Socket, client: Address | None, server: Address | None) -> Guest:
        guest = Guest(self, sock, client)
        try:
            self.adopt(guest)
        except OSError:  # the client has left already
            sock.close()
            guest.closed()
        return guest

    def __call__(self, exchange: Exchange) -> Any:
        raise AssertionError("there are no exchanges here")

    @abstractmethod
    def adopt(self, guest: Guest) -> None:
        """Have the application's server serve a connection; `guest.closed()` when it is closed."""

    @abstractmethod
    def later(self, seconds: float, call: Callable[[], object]) -> object:
        """Have the loop make a call."""

    @abstractmethod
    def has_unsent(self, guest: Guest) -> bool:
        """Whether a part of the last answer has not yet been given to the kernel."""

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
