"""What the supervisor looks at once a second, since nobody tells it: workers that grow, are silent, or cannot speak."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from eitherway.config import Config
from eitherway.metrics import counters as c
from eitherway.supervisor.handle import Handle
from eitherway.supervisor.memory import resident
from eitherway.supervisor.workers import Workers

logger = logging.getLogger("eitherway.server")

_HELD = 5.0  # seconds beyond --timeout until a worker whose guard is silent too is made to show its stack
_LAST_WORDS = 2.0  # seconds for that


class Rounds:
    """`recycle` has a worker replaced when its replacement serves, `replace` at once."""

    def __init__(
        self,
        config: Config,
        workers: Workers,
        recycle: Callable[[Handle, str], None],
        replace: Callable[[Handle, str], None],
    ) -> None:
        self._config = config
        self._workers = workers
        self._recycle = recycle
        self._replace = replace

    def make(self, now: float) -> None:
        config = self._config
        self._workers.memory.look()
        for handle in list(self._workers.handles.values()):
            if handle.line.closed:
                self._look_at_deaf(handle)
            elif handle.is_ready and not handle.is_draining:
                if config.max_memory and (size := resident(handle.pid)) > config.max_memory:
                    self._recycle(handle, f"holds {size >> 20} MiB")
                if config.timeout:
                    self._look_at_silent(handle, now)

    def _look_at_deaf(self, handle: Handle) -> None:
        """Its application has closed its descriptors: it does not end by itself, and cannot be told anything."""
        if handle.is_deaf:  # it was when we looked last: it is not just ending
            self._replace(handle, handle.reason or "its file descriptors were closed")
        handle.is_deaf = True

    def _look_at_silent(self, handle: Handle, now: float) -> None:
        """A worker that compiled code holds cannot report itself: abort it, which writes its stack to the log."""
        if handle.aborted_at:
            if now > handle.aborted_at + _LAST_WORDS:
                self._replace(handle, handle.reason)
            return
        words = self._workers.board.words(handle.slot)
        silent = now - words[c.HEARTBEAT] / c.MICROSECONDS
        if words[c.RUNNING] and silent > self._config.timeout + _HELD:
            text = self._workers.board.text(handle.slot)
            logger.error("%s stuck for %.3g s in compiled code (%s); its stack:", handle, silent, text)
            handle.reason, handle.aborted_at = "stuck in compiled code", now
            self._workers.signal(handle, signal.SIGABRT)
