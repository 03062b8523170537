"""How a server of connections comes to its end: it accepts nobody any more, answers what was asked, then stops."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic

from eitherway.net.listener import Listener
from eitherway.net.service import Service

logger = logging.getLogger("eitherway.server")

_LOOK = 0.05  # seconds between two looks whether all is done
_LINGER = 3.0  # seconds that idle clients of a server that is replaced have to ask once more
_LAST_WORDS = 0.5  # seconds that clients get to close their side after the last answer
_NEVER = float("inf")


class Ending:
    """`retire` or `drain` begins it; `stop` is called when all is done, or the graceful time-out has passed."""

    def __init__(self, service: Service, listeners: Sequence[Listener], stop: Callable[[], None]) -> None:
        self._service = service
        self._listeners = listeners
        self._stop = stop
        self._patience = service.config.graceful_timeout
        self._stop_at = self._linger_until = _NEVER
        self._quiet_since: float | None = None
        service.on_quiet = self._stop_when_quiet

    def retire(self) -> None:
        """Others accept on the same sockets: clients that are idle may ask once more, and learn that we close."""
        if self._service.draining:
            return
        self._stop_at = monotonic() + self._patience
        self._linger_until = monotonic() + min(_LINGER, self._patience)
        for listener in self._listeners:
            listener.leave()
        self._service.retire()
        self._stop_when_quiet()

    def drain(self) -> None:
        """Nobody serves on. Also when retiring already."""
        service = self._service
        if service.closing:
            return
        if not service.draining:
            logger.info("stopping: %d requests are running", len(service.running))
            self._stop_at = monotonic() + self._patience
            for listener in self._listeners:
                listener.drain()
        service.drain()
        self._stop_when_quiet()

    def look(self) -> float:
        """Called now and then, also while nothing ends: seconds until the next look."""
        service = self._service
        service.sweep()
        if not service.draining:
            return service.sweep_interval
        now = monotonic()
        if now > self._linger_until:
            self.drain()
        self._stop_when_quiet()
        if now > self._stop_at:
            for exchange in list(service.running):
                line = exchange.line
                logger.warning("cut off after %g s of stopping: %s %s", self._patience, line.method, line.uri)
            self._stop()
        return _LOOK

    def _stop_when_quiet(self) -> None:
        """Stop as soon as every request is answered and the clients have seen it."""
        service = self._service
        if service.busy:
            self._quiet_since = None
            return
        if self._quiet_since is None:
            self._quiet_since = monotonic()
        seen = not service.connections or (service.closing and monotonic() - self._quiet_since > _LAST_WORDS)
        if seen:
            self._stop()
