"""The balancer: holds the clients' connections, keeps the one queue, gives requests to workers that are free.

One thread and the house's poller. The clients' side is net's own (Service, Listener, Connection): limits, time-outs
and draining are the same as in a worker, and "spawn" means to enter the queue. What is to be done, policy.py decides.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from time import monotonic

from eitherway.balancer.backend import Backend, BackendConnection
from eitherway.balancer.forward import RETRY_AFTER, Forward
from eitherway.balancer.policy import Policy, Verdict
from eitherway.balancer.tally import Tally
from eitherway.config import Config
from eitherway.http.exchange import Exchange
from eitherway.metrics import counters as c
from eitherway.metrics.access_log import AccessLog
from eitherway.metrics.histogram import bucket_of
from eitherway.net.ending import Ending
from eitherway.net.listener import Listener, ListeningSocket
from eitherway.net.poller import Poller
from eitherway.net.service import Service

logger = logging.getLogger("eitherway.balancer")

_LOOK = 0.25  # seconds between two looks at how long workers have been silent, and how old the scoreboard is, at most

_REFUSALS = 16  # requests that are refused between two looks at the workers

Tell = Callable[[dict[str, object]], None]


@dataclass(frozen=True, slots=True)
class BackendSnapshot:
    id: int
    path: str
    slots: int
    running: int
    idle_connections: int
    requests: int
    leaving: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The balancer's state at one moment. What counts, counts since its start."""

    connections: int  # of clients
    queued: int
    running: int  # requests in workers
    waits: tuple[int, ...]  # how long requests have waited in the queue: a histogram (metrics.histogram)
    tally: Tally
    backends: tuple[BackendSnapshot, ...]


class Balancer:
    """Serves on sockets that are open already, until `drain` has come to its end. `tell` speaks to the supervisor."""

    def __init__(self, config: Config, sockets: Iterable[ListeningSocket], tell: Tell, board: c.Scoreboard) -> None:
        self.config = config
        self.poller = Poller()
        self.backend_poller = Poller()  # of its own, so that workers can be served before clients
        self.poller.watch(self.backend_poller.fileno(), self._serve_backends)
        self.service = Service(
            config,
            self.poller,
            self._spawn,
            collects_bodies=True,
            access_log=AccessLog(config.access_log, config.access_format) if config.access_log else None,
        )
        self.policy: Policy[Forward, Backend] = Policy(config.queue, config.queue_timeout)
        self._backends: dict[int, Backend] = {}
        self._listeners = [Listener(self.service, sock, shared=True) for sock in sockets]
        self._ending = Ending(self.service, self._listeners, self.stop)
        self._tell = tell
        self._accepts = self._stopped = False
        self._tick_at = self._look_at = 0.0
        self._event_at = float("inf")  # when the queue has to be looked at, though nothing happened
        self.counters = self.service.counters = c.Counters(board, c.BALANCER)
        self.counters.words[c.PID] = os.getpid()
        self.tally = Tally.load(self.counters.words)

    # -- life -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until drained. Nobody is accepted before there is a worker: another server may have the sockets too."""
        self._tell({"ready": True})
        turn = self.poller.turn
        while not self._stopped:
            turn(self._wait())

    def retire(self) -> None:
        """End, while another server goes on with the same sockets."""
        self._end(self._ending.retire)

    def drain(self) -> None:
        """Accept nobody any more, answer what has been asked, then end."""
        self._end(self._ending.drain)

    def _end(self, begin: Callable[[], None]) -> None:
        self._tick_at = 0.0
        if self._accepts:
            begin()
        else:
            self.stop()

    def stop(self) -> None:
        """End now."""
        self._stopped = True
        self.poller.wake()

    def close(self) -> None:
        self.service.close()
        for backend in list(self._backends.values()):
            backend.close()
        self.poller.close()
        self.backend_poller.close()

    def _wait(self) -> float:
        """Do what is due; seconds until something will be."""
        now = monotonic()
        if now >= self._tick_at:
            self._tick_at = now + self._tick()
        due = self._tick_at
        if self.config.timeout:
            if now >= self._look_at:
                self._look_at = now + min(_LOOK, self.config.timeout / 4)
                self._time_out(now)
            due = min(due, self._look_at)
        if now >= self._event_at:
            self._expire(now)
        if self._event_at < due:
            due = self._event_at
        return max(0.0, due - now)

    def _tick(self) -> float:
        interval = min(_LOOK, self._ending.look())
        idle_since = self.poller.now - self.config.keep_alive_timeout / 2
        for backend in self._backends.values():
            backend.close_idle(idle_since)
        self._report()
        return interval

    def _report(self) -> None:
        """Bring the scoreboard up to date."""
        counters = self.counters
        if self._tick_at:
            counters.loop_lag[bucket_of(max(0.0, monotonic() - self._tick_at))] += 1
        counters.note_longest(list(self.service.running))
        counters.words[c.QUEUED] = self.policy.queued
        counters.words[c.STATE] = c.DRAINING if self.service.draining else c.SERVING
        self.tally.store(counters.words)
        counters.flush()

    # -- backends -------------------------------------------------------------------------------------------

    def add(self, id: int, path: str, slots: int, is_loop: bool = False) -> None:
        """A worker is ready for requests."""
        if id in self._backends:
            raise ValueError(f"worker {id} is there already")
        backend = self._backends[id] = Backend(id, path, slots, self, is_loop)
        self.policy.add(backend)
        if not self._accepts:
            self._accepts = True
            for listener in self._listeners:
                listener.start()
        self._pump()

    def remove(self, id: int) -> None:
        """Give a worker no new requests; the supervisor is told when its running ones are done."""
        backend = self._backends.get(id)
        if backend is None:
            self._tell({"removed": id})
        elif self.policy.remove(backend):
            self._removed(backend)

    def _removed(self, backend: Backend) -> None:
        del self._backends[backend.id]
        backend.leave()
        self._tell({"removed": backend.id})

    def _serve_backends(self, bits: int) -> None:
        """Take what workers have sent. However many clients have to be refused, no worker waits behind them."""
        self.backend_poller.turn(0)

    def on_slot_free(self, backend: Backend) -> None:
        chosen = self.policy.release(backend, self.poller.now)
        if chosen is not None:
            forward, since = chosen
            self._count_wait(self.poller.now - since)
            self._run(forward, backend)
        elif backend.leaving and self.policy.forget_if_done(backend):
            self._removed(backend)

    def on_death(self, backend: Backend) -> None:
        """A worker left a request without an answer. If it is alive, it does without requests for a moment."""
        if len(self.policy.targets) > 1:
            self._rest(backend)

    # -- requests -------------------------------------------------------------------------------------------

    def _spawn(self, exchange: Exchange) -> None:
        Forward(self, exchange).arrive()

    def admit(self, forward: Forward) -> None:
        """Run a request now, or put it into the queue, or refuse it."""
        verdict = self.policy.admit(forward, self.poller.now)
        if isinstance(verdict, Backend):
            self.tally.dispatched += 1
            self._run(forward, verdict)
        elif verdict is Verdict.QUEUED:
            if self.policy.queued == 1:
                self._event_at = 0.0
            forward.watch()
        else:
            self.tally.queue_full += 1
            self.service.warn("queue", "balancer: %d requests wait in the queue: answering 503", self.policy.queued)
            forward.fail(503, "all workers are busy and the queue is full; try again", RETRY_AFTER)
            if not self.tally.queue_full % _REFUSALS:
                self._serve_backends(0)

    def _run(self, forward: Forward, backend: Backend) -> None:
        connection = backend.take()
        if connection is not None:
            forward.run(connection)
            return
        self.service.warn(
            f"backend {backend.id}", "balancer: worker %d cannot be reached at %s", backend.id, backend.path
        )
        self._rest(backend)
        self.policy.requeue(forward, self.poller.now)
        self.on_slot_free(backend)
        self._pump()
        forward.watch()

    def _rest(self, backend: Backend) -> None:
        self.policy.rest(backend, self.poller.now)
        self._event_at = 0.0

    def _pump(self) -> None:
        """Run what the queue holds, as far as slots are free."""
        policy = self.policy
        now = self.poller.now
        while (chosen := policy.next(now)) is not None:
            forward, backend, since = chosen
            self._count_wait(now - since)
            self._run(forward, backend)

    def _count_wait(self, seconds: float) -> None:
        self.tally.dispatched += 1
        self.tally.waited += 1
        self.counters.queue_wait[bucket_of(seconds)] += 1

    def run_again(self, forward: Forward, reason: str) -> None:
        """A worker was lost with a request that may be run once more; whoever lost it frees the slot next."""
        self.tally.retried += 1
        self.service.warn(
            "retry", "balancer: %s %s is run again: %s", forward.method, forward.exchange.line.uri, reason
        )
        self.policy.requeue(forward, self.poller.now)
        self._event_at = 0.0

    def withdraw(self, forward: Forward) -> bool:
        if self.policy.withdraw(forward):
            self.tally.dropped += 1
            return True
        return False

    def on_bad_gateway(self, forward: Forward, backend: Backend, reason: str) -> None:
        self.tally.bad_gateways += 1
        line = forward.exchange.line
        logger.warning("balancer: %s %s in worker %d: %s", line.method, line.uri, backend.id, reason)

    def _expire(self, now: float) -> None:
        """Refuse those that have waited too long, and give work to backends that have rested."""
        self.poller.now = now
        for forward in self.policy.expire(now):
            self.tally.expired += 1
            self.service.warn(
                "queue_timeout", "balancer: requests wait longer than %g s: answering 503", self.config.queue_timeout
            )
            forward.fail(503, "no worker became free in time; try again", RETRY_AFTER)
        self._pump()
        event = self.policy.next_event(now)
        self._event_at = float("inf") if event is None else event

    def _time_out(self, now: float) -> None:
        """Answer for workers that have been silent for too long, and have the supervisor look at them."""
        latest = now - self.config.timeout
        for backend in list(self._backends.values()):
            for connection in [each for each in backend.connections if each.silent and each.handed_at <= latest]:
                if isinstance(connection.carrier, Forward):
                    connection.carrier.time_out()

    def on_timed_out(self, forward: Forward, connection: BackendConnection) -> None:
        """The worker itself says where it is stuck, if it can; the supervisor sees to that."""
        self.tally.timed_out += 1
        line, worker = forward.exchange.line, connection.backend.id
        seconds = monotonic() - connection.handed_at
        logger.error("balancer: 504 for %s %s: worker %d had it for %.3g s", line.method, line.uri, worker, seconds)

    def snapshot(self) -> Snapshot:
        backends = tuple(
            BackendSnapshot(b.id, b.path, b.slots, b.running, len(b.idle), b.requests, b.leaving)
            for b in self._backends.values()
        )
        return Snapshot(
            connections=len(self.service.connections),
            queued=self.policy.queued,
            running=sum(b.running for b in backends),
            waits=tuple(self.counters.queue_wait),
            tally=replace(self.tally),
            backends=backends,
        )
