"""What an engine is: one concurrency model, as the three verbs spawn, suspend and resume, and a loop that watches
the poller. Everything else about serving is the same in every model and lives elsewhere.

`resume` has no method of its own: it is the callable that `suspend` gives to `park`.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Timer
from time import monotonic
from typing import Any

from eitherway.config import Config
from eitherway.http.channel import Parkable as Parkable
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface
from eitherway.net.poller import Poller

Tick = Callable[[], float]

logger = logging.getLogger("eitherway.server")


class Engine(ABC):
    """Runs the exchanges of one worker.

    `collects_bodies`: small request bodies are to be read before an exchange is spawned, because a task is dear here.
    `concurrent`: others run while a request waits, so that one may stay for as long as it likes.
    """

    collects_bodies = True
    concurrent = True
    multithread = False

    def __init__(self, config: Config, poller: Poller) -> None:
        self.config = config
        self.poller = poller

    @abstractmethod
    def spawn(self, exchange: Exchange) -> None:
        """Begin the task of an exchange. Called by whoever turns the poller; must not block."""

    @abstractmethod
    def suspend(self, parked: Parkable, direction: int) -> Any:
        """Let others run until what is waited for (the exchange, or its WebSocket) can go on in `direction`.

        In a task only; a coroutine in async engines. All it may ask of `parked` is `park`, and `unpark` when the task
        is cancelled.
        """

    @abstractmethod
    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        """Serve until `stop`: start the application up, call `started`, watch the poller, shut the application down.

        `tick` is called again and again; it returns after how many seconds it wants to be called next.
        """

    @abstractmethod
    def stop(self) -> None:
        """Make `run` return. From any thread."""

    def give_up(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> bool:
        """Call `answer` in the thread that the exchange's task runs in, while it waits, and cancel it if that can be.

        In the thread that turns the poller. False: not called, since it runs on a thread that nobody can interrupt.
        """
        return False


def end_within(seconds: float) -> Timer:
    """A timer to be started when a loop's tasks are cancelled for good, and cancelled when they have ended.

    Tasks that shield themselves would otherwise keep some loops for ever, and the process with them.
    """

    def leave() -> None:
        logger.warning("tasks did not end %g s after they were cancelled; the process ends without them", seconds)
        logging.shutdown()
        os._exit(0)

    timer = Timer(seconds, leave)
    timer.daemon = True
    return timer


class Ticker:
    """Calls `tick` when it is due, for loops that wait in the poller themselves."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._due = 0.0

    def wait(self) -> float:
        """Call `tick` if it is due; seconds until it is due again."""
        now = monotonic()
        if now >= self._due:
            self._due = now + self._tick()
        return self._due - now
