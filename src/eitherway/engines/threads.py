"""threads: a pool of threads, in turn leader and followers.

The leader waits in the poller. spawn: put the exchange where the next free thread finds it. suspend: block on a lock.
resume: release the lock.

Handing the lead to another thread for every request would cost two switches each, which is as much as a short request
itself. So the leader runs requests in its own thread while they prove short, and a follower looks every few
milliseconds whether one has blocked it; if so the follower takes the lead from it, and from then on the lead is
handed over before every request, until it is time to try again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Event, Lock, Thread
from time import monotonic

from eitherway.config import Config
from eitherway.engines.base import Engine, Parkable, Tick, Ticker
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface
from eitherway.interfaces.bridge import join_threads, suspend_thread
from eitherway.net.poller import Poller

_LOOK = 0.004  # seconds between two looks of the follower at a leader that runs requests itself
_LONG = 0.002  # seconds; a request that takes longer is one to hand the lead over for
_QUIET = 0.05  # seconds without an event after which the next request is handed over, whatever it proves to be
_FIRST_PENALTY, _LAST_PENALTY = (
    64,
    4096,
)  # requests with handing over, before running in the lead is tried again


class ThreadsEngine(Engine):
    multithread = True

    def __init__(self, config: Config, poller: Poller) -> None:
        super().__init__(config, poller)
        self._ready: deque[Exchange] = deque()
        self._lead = Lock()  # held by the leader, or on its behalf while it runs a request itself
        self._next = Lock()  # held by the follower that will lead next
        self._followers: list[None] = []  # as long as there are threads without a request; append and pop are atomic
        self._inline: list[None] = []  # holds one entry while the leader runs a request itself: who pops it, leads
        self._inline_count = 0
        self._penalty = _FIRST_PENALTY
        self._handovers = 0  # still to be made before running in the lead is tried again
        self._stopping = False
        self._stopped = Event()
        self._error: BaseException | None = None

    def spawn(self, exchange: Exchange) -> None:
        self._ready.append(exchange)

    def suspend(self, parked: Parkable, direction: int) -> None:
        suspend_thread(parked, direction)

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._call = interface
        self._ticker = Ticker(tick)
        started()
        # One more than may run requests: somebody has to wait in the poller.
        threads = [
            Thread(target=self._work, name=f"eitherway-{number}", daemon=True)
            for number in range(self.config.threads + 1)
        ]
        for thread in threads:
            thread.start()
        # The main thread stays free for signals. Python runs a handler in it even when another thread took the
        # signal, but that does not end a wait: hence one that ends by itself.
        while not self._stopped.wait(1.0):
            pass
        if self._error is not None:
            raise self._error
        join_threads(threads)

    def stop(self) -> None:
        self._stopping = True
        self._stopped.set()
        self.poller.wake()

    def _work(self) -> None:
        try:
            self._lead_and_follow()
        except BaseException as error:  # no application's, but the poller's: nobody would lead any more
            self._error = error
            self._stopped.set()

    def _lead_and_follow(self) -> None:
        while not self._stopping:
            self._follow()
            exchange = self._take_lead()
            while exchange is not None:
                self._call(exchange)
                exchange = self._pop()

    def _pop(self) -> Exchange | None:
        try:
            return self._ready.popleft()
        except IndexError:
            return None

    def _follow(self) -> None:
        """Wait for the lead."""
        followers = self._followers
        followers.append(None)
        if len(followers) == 1 and self._ready:
            self.poller.wake()  # the leader has requests and lacked somebody to hand the lead to
        with self._next:
            seen = -1
            while not self._lead.acquire(timeout=-1 if self._handovers else _LOOK):
                if self._inline_count == seen and self._steal():
                    break
                seen = self._inline_count
        followers.pop()

    def _steal(self) -> bool:
        """Take the lead from a leader whose request has not ended since the last look."""
        try:
            self._inline.pop()
        except IndexError:
            return False
        self._penalise()
        return True

    def _penalise(self) -> None:
        self._handovers = self._penalty
        self._penalty = min(2 * self._penalty, _LAST_PENALTY)

    def _take_lead(self) -> Exchange | None:
        """Lead: wait in the poller, run requests. Returns, without the lead, the one to run after handing it over."""
        while not self._stopping:
            if not self._ready or not self._followers:
                self._poll()
                continue
            exchange = self._pop()
            if exchange is None:
                continue
            if self._handovers:
                self._handovers -= 1
                self._lead.release()
                return exchange
            if not self._run_inline(exchange):
                return None
        self._lead.release()
        return None

    def _poll(self) -> None:
        before = monotonic()
        self.poller.turn(self._ticker.wait())
        if not self._handovers and self.poller.now - before > _QUIET:
            self._handovers = 1  # a follower need not look while there is nothing to look at

    def _run_inline(self, exchange: Exchange) -> bool:
        """Run a request as the leader. False: the lead was taken meanwhile."""
        self._inline_count += 1
        started = monotonic()
        self._inline.append(None)
        self._call(exchange)
        try:
            self._inline.pop()
        except IndexError:
            return False
        if monotonic() - started > _LONG:
            self._penalise()
        elif self._penalty > _FIRST_PENALTY and self._inline_count % _LAST_PENALTY == 0:
            self._penalty = _FIRST_PENALTY
        return True
