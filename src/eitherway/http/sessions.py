"""The connections of a worker that have left HTTP, and what all of them have to be told: the time, and the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from eitherway.config import Config

# Why a server closes a WebSocket (RFC 6455 section 7.4.1, IANA's registry): it stops, or another takes its place.
GOING_AWAY, SERVICE_RESTART = 1001, 1012


class Session(Protocol):
    """One of them. Called by the thread that turns the poller."""

    def look(self, now: float) -> None:
        """Do what is due by the monotonic clock; called again and again."""

    def go_away(self, code: int) -> None:
        """Take leave of the client; more than once does nothing more."""


class Sessions:
    """All of one worker. `post` has a call made by the poller's thread, behind the others."""

    def __init__(self, config: Config, post: Callable[[Callable[[], None]], None]) -> None:
        self.config = config
        self.post = post
        self._open: set[Session] = set()
        self._code = 0  # with which the server has taken its leave

    def add(self, session: Session) -> None:
        """From any thread, as `discard`."""
        self._open.add(session)
        if self._code:
            session.go_away(self._code)

    def discard(self, session: Session) -> None:
        self._open.discard(session)

    def look(self, now: float) -> None:
        for session in list(self._open):
            session.look(now)

    def go_away(self, code: int) -> None:
        """The server ends, GOING_AWAY or SERVICE_RESTART; whoever comes from now on is told too."""
        self._code = self._code or code
        for session in list(self._open):
            session.go_away(self._code)
