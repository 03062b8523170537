"""What the exchange sees of the connection below it. A module of its own, so that neither need know the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eitherway.http.exchange import Exchange

Address = tuple[str, int]
Resume = Callable[[], object]


class Parkable(Protocol):
    """What an engine can suspend a task for: an exchange, or anything else that is there to be waited for."""

    def park(self, direction: int, resume: Resume) -> bool:
        """Ask for `resume` to be called once, from any thread, when it can go on. False: it can now, do not suspend."""

    def unpark(self, direction: int) -> None:
        """Whoever waited does not any more; its `resume` is forgotten."""


class Channel(Protocol):
    """What an exchange asks of its connection (net.connection implements it).

    `endless`: what the client sends has no end that could be late, so waiting for it is not timed.
    """

    client: Address | None
    server: Address | None
    scheme: str
    broken: bool
    hung_up: bool
    endless: bool
    common_fields: Callable[[], bytes]

    def receive(self) -> bytes | None: ...
    def unread(self, data: bytes) -> None: ...
    def write(self, data: bytes) -> bool: ...
    def write_file(self, head: bytes, fd: int, offset: int, count: int) -> None: ...
    def flush(self) -> bool: ...
    def unsent(self) -> int: ...
    def wait_for(self, direction: int) -> bool: ...
    def stop_waiting(self, direction: int) -> None: ...
    def end(self, data: bytes, keep_alive: bool) -> None: ...
    def abort(self) -> None: ...
    def shut(self, last_words: bytes) -> None: ...
    def complain(self, exchange: Exchange, fault: str) -> None: ...
