"""Inside a worker process that a supervisor has forked: what a worker owes its supervisor.

It reports over its line, counts in its slot of the scoreboard, drains when told to or when the supervisor has died,
and sees whether requests are stuck.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import signal
import sys
import traceback

# Bound now, as sleep and poll below: where greenlets are patched in, a guard thread needs the real ones.
from _thread import start_new_thread
from dataclasses import dataclass
from select import POLLHUP, poll
from time import monotonic, sleep
from typing import Any, NoReturn

from eitherway.config import MODELS, Config, runs_in_threads
from eitherway.errors import StartError
from eitherway.http import fields as f
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Colour, Interface, Loop
from eitherway.metrics import counters as c
from eitherway.metrics.histogram import bucket_of
from eitherway.net.listener import ListeningSocket
from eitherway.supervisor import stuck
from eitherway.supervisor.forking import leave_the_cpu, show_stacks
from eitherway.supervisor.handle import Line
from eitherway.supervisor.remains import Remains
from eitherway.worker import Worker

logger = logging.getLogger("eitherway.server")

_TICK = 0.25  # seconds; how old the numbers in the scoreboard are
_FRESH = 1.0  # seconds without a tick after which a sibling is not waited for
_HOLD = 2.0  # seconds that the first worker of a start waits for the others
_LOOK = 0.01  # seconds between its looks at them
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
SPEECHLESS = 70  # the exit code of a worker that could not say why it ended
_UNLIMITED = 1 << 40
_LAST_WORDS = 2.0  # seconds beyond the graceful time-out that an orphan gets to end by itself
_TOO_LONG = "the application took too long"


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is given by its supervisor."""

    id: int
    line: Line
    board: c.Scoreboard
    slot: int
    balances: bool  # it shares its sockets with siblings
    remains: Remains


def run_worker(config: Config, sockets: list[ListeningSocket], application: object, post: Post) -> NoReturn:
    """Be a worker, in a process just forked; never returns into the parent's frames."""
    code = 1
    if not post.balances:
        leave_the_cpu()
    try:
        worker = SupervisedWorker(config, sockets, application, post)
        code = worker.run()
    except StartError as error:
        code = error.exit_code
        post.line.send({"failed": str(error), "traceback": error.traceback, "exit_code": code})
    except BaseException as error:
        line = f"the worker ended with {type(error).__name__}: {error}"
        if not post.line.send({"failed": line, "traceback": traceback.format_exc(), "exit_code": code}):
            code = SPEECHLESS
    finally:
        try:
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        finally:
            if post.line.closed:
                post.remains.remove(post.id)
            os._exit(code)


class SupervisedWorker(Worker):
    shares_sockets = True

    def __init__(self, config: Config, sockets: list[ListeningSocket], application: object, post: Post) -> None:
        super().__init__(config, sockets, application)
        self._post = post
        self._name = f"worker {post.id} (pid {os.getpid()})"
        self._counters = c.Counters(post.board, post.slot)
        self._counters.words[c.PID] = os.getpid()
        self._running = self._orphaned = False
        self._begins_by = 0.0  # when it accepts, though siblings do not yet; 0: it does
        self._ticked = self._due = monotonic()
        self._watch = stuck.Watch(config.timeout)
        self._known_stuck: set[Exchange] = set()
        jitter = random.randint(0, config.max_requests_jitter)
        self._enough = config.max_requests + jitter if config.max_requests else _UNLIMITED
        self._belongings.append(post.line.close)
        _take_start_signals()
        signal.signal(signal.SIGTERM, self._on_early_end)
        post.line.tell_by(signal.SIGTERM)

    def _prepare(self, interface: Interface) -> Interface:
        self._counters.words[c.CAPACITY] = slots(self._config, self._engine_name, interface.colour) or _UNLIMITED
        self._service.counters = self._counters
        if self._post.balances:
            self._service.siblings = c.Siblings(self._post.board, self._post.slot, _FRESH)
        self._post.line.tell_by(0)
        self._poller.watch(self._post.line.fileno(), self._on_line)
        start_new_thread(self._guard, ())
        queues = interface.colour == "sync" and not MODELS[self._engine_name].patches
        return _Queued(interface, self._counters) if queues else interface

    def _started(self) -> None:
        """Announce at once, and accept when the siblings can too: else the first has all clients that waited."""
        self._announce()
        self._begins_by = monotonic() + _HOLD
        self._begin_with_siblings()

    def _begin_with_siblings(self) -> bool:
        """Whether the worker accepts by now. A sibling that takes too long is not waited for."""
        siblings = self._service.siblings
        if siblings is not None and siblings.waits_for_others() and monotonic() < self._begins_by:
            return False
        self._begins_by = 0.0
        self._accept()
        return True

    def _announce(self) -> None:
        self._running = True
        self._counters.words[c.STATE] = c.SERVING
        self._post.line.send({"ready": True, "engine": self._engine_name, "interface": self._interface_name})

    # -- ending ---------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_early_end(self, number: int, frame: object) -> NoReturn:
        """While it starts: it is told to end, or the supervisor has died."""
        self._post.line.receive()
        if self._post.line.closed:
            self._post.remains.remove(self._post.id)
        os._exit(0)

    def _on_signal(self, number: int, frame: object) -> None:
        if not self._running:
            self._on_early_end(number, frame)
        self._poller.post(self._retire)

    def _on_line(self, bits: int) -> None:
        line = self._post.line
        for message in line.receive():
            if "drain" in message:
                (self._drain if message["drain"] == "final" else self._retire)()
            elif "leave" in message:
                self._service.take_leave(message["leave"] == "final")
        if line.closed:
            self._poller.remove(line.fileno())
            logger.warning("%s: the supervisor has died; ending", self._name)
            self._orphaned = True
            self._end_orphaned()

    def _end_orphaned(self) -> None:
        """Behind a balancer only when that has ended: what it holds is yet to be answered."""
        if self._post.balances or not self._post.board.has_balancer():
            self._drain()

    def _retire(self) -> None:
        """Others serve on."""
        self._counters.words[c.STATE] = c.DRAINING
        self._ending.retire()

    def _drain(self) -> None:
        """Nobody serves on. Also when retiring already."""
        self._service.siblings = None
        self._counters.words[c.STATE] = c.DRAINING
        super()._drain()

    # -- now and then ---------------------------------------------------------------------------------------

    def _tick(self) -> float:
        if self._service.forgotten:
            return _TICK
        now = monotonic()
        self._counters.loop_lag[bucket_of(now - self._due)] += 1
        self._ticked = now
        self._counters.note_longest(list(self._service.running))
        self._counters.flush()
        if self._counters.requests >= self._enough:
            self._enough = _UNLIMITED
            self._post.line.send({"worn": f"served {self._counters.requests} requests"})
        if self._config.timeout and self._service.running:
            self._look_for_stuck(now)
        if self._orphaned:
            self._end_orphaned()
        interval = min(super()._tick(), _TICK)
        if self._begins_by and not self._service.draining and not self._begin_with_siblings():
            interval = _LOOK
        self._due = monotonic() + interval
        return interval

    # -- stuck requests -------------------------------------------------------------------------------------

    def _look_for_stuck(self, now: float) -> None:
        """Requests that run too long while the worker as such goes on: in threads, tasks and greenlets."""
        overdue = self._watch.overdue(list(self._service.running), now)
        self._known_stuck &= set(overdue)
        new = [e for e in overdue if e not in self._known_stuck]
        if not new:
            return
        stacks = stuck.thread_stacks()
        for exchange in new:
            self._known_stuck.add(exchange)
            task = getattr(exchange, "task", None)
            frames = stacks.get(exchange) or stuck.task_stack(task)
            logger.error(stuck.report(self._name, now - exchange.started_at, exchange, frames))
            ours = task is not None or self._post.balances or exchange.begun  # else the balancer answers
            if ours and not self._engine.give_up(exchange, _answer):
                _close(exchange)
        held = [e for e in overdue if e in stacks]
        if held and len(held) >= self._counters.words[c.CAPACITY]:
            self._post.line.send({"stuck": f"{self._name}: all of its {len(held)} threads are stuck; it is replaced"})

    def _guard(self) -> None:
        """In a thread of its own: see that the worker's loop turns, and that the supervisor lives."""
        timeout = self._config.timeout
        watch = stuck.Watch(timeout)
        hangup = poll()
        hangup.register(self._post.line.fileno(), POLLHUP)
        interval = min(1.0, max(0.05, timeout / 8)) if timeout else 1.0
        # Never in step with requests that take as long: their ages would look the same every time.
        while not hangup.poll(interval * random.uniform(500, 1000)):
            if timeout and monotonic() - self._ticked > timeout:
                self._report_held_up(watch.overdue(list(self._service.running), monotonic()))
        # The supervisor is gone. What the loop does about it comes to an end, if the loop turns.
        sleep(self._config.graceful_timeout + _LAST_WORDS)
        self._post.remains.remove(self._post.id)
        os._exit(1)

    def _report_held_up(self, overdue: list[Exchange]) -> None:
        stacks = stuck.thread_stacks() if overdue else {}
        if overdue and not stacks:  # a task that is no request, or one of a server that the application brings
            stacks = {overdue[0]: stuck.loop_stack()}
        for exchange in overdue:
            if exchange in stacks and exchange not in self._known_stuck:
                self._known_stuck.add(exchange)
                seconds = monotonic() - exchange.started_at
                self._post.line.send({"stuck": stuck.report(self._name, seconds, exchange, stacks[exchange])})


class _Queued:
    """A sync interface whose calls may have waited for a thread: counts how long."""

    colour: Colour = "sync"
    suspend: Any

    def __init__(self, interface: Interface, counters: c.Counters) -> None:
        self.suspend = interface.suspend
        self._interface = interface
        self._waits = counters.queue_wait

    async def startup(self, loop: Loop) -> None:
        await self._interface.startup(loop)

    async def shutdown(self) -> None:
        await self._interface.shutdown()

    def __call__(self, exchange: Exchange) -> Any:
        self._waits[bucket_of(monotonic() - exchange.started_at)] += 1
        return self._interface(exchange)


def slots(config: Config, engine: str, colour: str) -> int:
    """How many requests a worker runs at once; 0: as many as come."""
    if engine == "sync":
        return 1
    return config.threads if runs_in_threads(engine, colour) else 0


def _take_start_signals() -> None:
    """Until the engine runs a worker just ends; a terminal's signals are for the supervisor."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, lambda number, frame: os._exit(128 + number))
    show_stacks()


def _close(exchange: Exchange) -> None:
    """For the client of a thread that cannot be stopped, which finds the connection closed when it goes on."""
    bodiless = exchange.line.method == "HEAD"
    answer = f.status_line(504) + f.error_response(504, _TOO_LONG, close=True, bodiless=bodiless)
    try:
        exchange.channel.shut(b"" if exchange.status else answer)
    except OSError:
        pass  # the client has gone


def _answer(exchange: Exchange) -> None:
    """End a stuck request for its client: by 504 where the answer has not begun, else by closing its connection."""
    try:
        exchange.keep_alive = False
        exchange.fail(504, _TOO_LONG)
    except OSError:
        pass  # the client has gone
