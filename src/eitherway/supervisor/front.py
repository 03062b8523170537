"""The supervisor's view of the balancer: a child process that gives requests to workers on their own sockets.

It is told {"add": id, "path": ..., "slots": n, "loop": false}, {"remove": id}, {"retire": true} and {"drain": true},
and answers {"ready": true} and {"removed": id}. One that dies or stands still is started again and told of all workers
that serve; they are not restarted.
"""

from __future__ import annotations

import logging
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import replace
from socket import socket as Socket  # noqa: N812
from time import monotonic

from eitherway.config import Config
from eitherway.metrics.counters import BALANCER, HEARTBEAT, Scoreboard
from eitherway.supervisor.events import Events
from eitherway.supervisor.forking import fork, reset_signals, show_stacks
from eitherway.supervisor.handle import Line, make_lines

logger = logging.getLogger("eitherway.server")

_SLACK = 2.0  # seconds beyond the graceful time-out that it gets to drain
_PATIENT = 86400.0  # seconds
_FEW = ("sync", "threads")  # engines that run few requests at a time
_EARLY = 1.0  # seconds; a balancer that lives shorter is not started again at once
_STILL = 10  # looks, a second apart, without a heartbeat (four a second) until it is ended
_LAST_WORDS = 2  # looks that it then has to write its stack to the log


class Front:
    """Keeps a balancer running, and told. `forget` closes what is the supervisor's, in the child."""

    def __init__(
        self,
        config: Config,
        sockets: list[Socket],
        board: Scoreboard,
        forget: Callable[[], None],
        on_message: Callable[[], None],
        events: Events,
    ) -> None:
        self.pid = 0
        self.line: Line | None = None
        self.is_ready = False
        self.is_draining = False
        self._config = config
        self._sockets = sockets
        self._board = board
        self._forget = forget
        self._on_message = on_message
        self._events = events
        self._targets: dict[int, dict[str, object]] = {}
        self._started = 0.0
        self._start_at = 0.0
        self._drain_until = float("inf")
        self._beat = self._still = 0  # the heartbeat when it was last looked at, and for how many looks it has been so

    def keep_running(self, now: float) -> None:
        """Start it where there is none, end it where it drains for too long."""
        if self.pid:
            if now > self._drain_until:
                self.kill()
        elif not self.is_draining and now >= self._start_at:
            try:
                self._start(now)
            except OSError as error:
                self._start_at = now + _EARLY
                logger.error("cannot start the balancer: %s", error)

    def _start(self, now: float) -> None:
        ours, theirs = make_lines()
        self._board.begin_balancer()
        pid = fork()
        if not pid:
            self._become_balancer(ours, theirs)
        theirs.close()
        self.pid, self.line, self._started = pid, ours, now
        for id, target in self._targets.items():
            ours.send({"add": id, **target})
        self._events.watch(ours, self._on_message)

    def _become_balancer(self, ours: Line, theirs: Line) -> None:
        code = 1
        try:
            reset_signals()
            show_stacks()
            ours.close()
            self._forget()
            from eitherway.balancer import run_balancer

            code = run_balancer(self._config, self._sockets, theirs.socket, self._board)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def add(self, id: int, path: str, slots: int, is_loop: bool) -> None:
        target = self._targets[id] = {"path": path, "slots": slots, "loop": is_loop}
        self._send({"add": id, **target})

    def remove(self, id: int) -> bool:
        """Have no more requests given to a worker. False: nobody gives it any."""
        known = self._targets.pop(id, None) is not None
        return known and self._send({"remove": id})

    def drain(self, final: bool) -> bool:
        """Answer what clients have asked, then end. Not `final`: another server accepts on the same sockets.

        False: it does not live, and is not started again.
        """
        self.is_draining = True
        self._drain_until = monotonic() + self._config.graceful_timeout + _SLACK
        self._send({"drain": True} if final else {"retire": True})
        return self.pid != 0

    def left(self, now: float) -> float:
        """Seconds of the graceful time-out that are left to the workers, since it began to drain."""
        return max(0.0, self._drain_until - _SLACK - now)

    def _send(self, message: dict[str, object]) -> bool:
        return self.line is not None and self.line.send(message)

    def look(self) -> None:
        """Once a second: one that stands still is ended. Looks are counted, since all of us may have been stopped."""
        beat = self._board.words(BALANCER)[HEARTBEAT]
        self._still = self._still + 1 if self.pid and beat == self._beat else 0
        self._beat = beat
        if self._still == _STILL:
            logger.error("the balancer (pid %d) has stood still for %d s; its stack:", self.pid, _STILL)
            os.kill(self.pid, signal.SIGABRT)
        elif self._still >= _STILL + _LAST_WORDS:
            os.kill(self.pid, signal.SIGKILL)

    def reap(self, now: float) -> bool:
        """Whether the balancer has ended since the last look."""
        if not self.pid:
            return False
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        if not self.is_draining:
            logger.error(
                "the balancer (pid %d) ended with %d; starting it again", pid, os.waitstatus_to_exitcode(status)
            )
        self._start_at = now if now - self._started > _EARLY else now + _EARLY / 2
        self._board.end_balancer()
        self.pid, self.is_ready = 0, False
        if self.line is not None:
            self._events.unwatch(self.line)
            self.line.close()
            self.line = None
        return True

    def kill(self) -> None:
        self.is_draining = True
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def forget(self) -> None:
        """In a child: close the line."""
        if self.line is not None:
            self.line.close()


def behind(config: Config) -> Config:
    """The settings of workers behind the balancer: it alone speaks to them, has the patience with clients, and logs."""
    return replace(config, access_log="", forwarded_allow_ips=("unix",), write_timeout=_PATIENT, body_timeout=_PATIENT)


def balance(config: Config, workers: int) -> str:
    """Who gives requests to the workers: "request" (the balancer) or "kernel".

    auto: the balancer for engines that run few requests at a time, when there is a choice between workers. Which engine
    `auto` takes only workers know, once they have imported the application.
    """
    wanted = config.balance
    if wanted == "auto":
        wanted = "request" if workers > 1 and config.engine in _FEW else "kernel"
    return wanted


def balancing(config: Config, given_by: str, engine: str, workers: int) -> str:
    """For the start line: who balances, and what to do where `auto` found threads too late for a balancer."""
    late = config.balance == "auto" and given_by == "kernel" and engine in _FEW and workers > 1
    return f"{given_by} balancing{f'; a balancer with --engine {engine}' if late else ''}"
