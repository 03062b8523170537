"""The scoreboard: what every worker does, in memory that supervisor, balancer and workers share.

One anonymous mapping, made before the first fork. A slot is a row of 64-bit words and a text; only the process that
owns it writes it, and everybody may read it. Slot 0 is the past: what dead workers had counted, added up by the
supervisor. Slot 1 is the balancer's. A leaf: imports no room.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from os import sched_yield
from time import monotonic, time
from typing import Any

from eitherway.metrics.histogram import BUCKETS, bucket_of

# The states of a slot.
FREE, STARTING, SERVING, DRAINING = range(4)
STATES = ("free", "starting", "serving", "draining")

# The words of a slot. Those from REQUESTS on only grow, and go into the past when their worker dies.
STATE, PID, WORKER, STARTED, HEARTBEAT, RUNNING, CONNECTIONS, CAPACITY, NOTED_AT, QUEUED = range(10)
REQUESTS, ERRORS, REFUSED, BYTES = range(10, 14)
REQUEST_TIME = 14
QUEUE_WAIT = REQUEST_TIME + BUCKETS
LOOP_LAG = QUEUE_WAIT + BUCKETS
EXTRA = LOOP_LAG + BUCKETS
EXTRA_NAMES = ("dispatched", "waited", "queue_full", "expired", "dropped", "retried", "bad_gateways", "timed_out")
WORDS = EXTRA + len(EXTRA_NAMES)
TEXT = 256  # bytes: method and target of the request that has been running longest
_TEXT_AT = WORDS * 8
_SIZE = _TEXT_AT + TEXT

PAST, BALANCER, FIRST = range(3)  # the slots; from FIRST on they are workers'
SLOTS = FIRST + 512  # pages that nobody touches cost nothing
MICROSECONDS = 1_000_000
PATIENCE = 0.02  # seconds that a connection is left to siblings that have fewer

_SWITCHED = 101  # the status of an exchange that has left HTTP
_PRESUMED_DEAD = 3.0  # seconds without a tick
_TOGETHER = 1.0  # seconds between the starts of workers that were started together

_COUNTS = struct.Struct(f"={EXTRA - REQUESTS}q")


class Scoreboard:
    """The mapping. The slots in use are the lowest ones: `used` says how far to look."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.slots = slots
        self.map = mmap.mmap(-1, slots * _SIZE + 8)  # shared with what is forked
        self._words = memoryview(self.map).cast("q")
        self._used_at = slots * _SIZE // 8
        self._words[self._used_at] = FIRST

    @property
    def used(self) -> int:
        """All slots from this one on are free."""
        return self._words[self._used_at]

    def words(self, slot: int) -> memoryview:
        """A slot's words, as a view that can be written."""
        at = slot * _SIZE // 8
        return self._words[at : at + WORDS]

    def text(self, slot: int) -> str:
        """The request that has been running longest in a slot, as method and target."""
        at = slot * _SIZE + _TEXT_AT
        return self.map[at : at + TEXT].partition(b"\0")[0].decode("utf-8", "replace")

    def text_at(self, slot: int) -> int:
        """Where in the mapping that text begins."""
        return slot * _SIZE + _TEXT_AT

    def taken(self) -> Iterator[int]:
        """The slots of living workers."""
        for slot in range(FIRST, self.used):
            if self._words[slot * _SIZE // 8 + STATE] != FREE:
                yield slot

    # -- the supervisor's side ------------------------------------------------------------------------------

    def take(self, worker: int) -> int:
        """Give the lowest free slot, emptied, to a worker that is about to be forked; 0 when all are taken."""
        for slot in range(FIRST, self.slots):
            words = self.words(slot)
            if words[STATE] == FREE:
                self._clear(slot)
                words[STATE], words[WORKER] = STARTING, worker
                words[STARTED] = int(time() * MICROSECONDS)
                words[HEARTBEAT] = int(monotonic() * MICROSECONDS)
                self._words[self._used_at] = max(self.used, slot + 1)
                return slot
        return 0

    def give_back(self, slot: int) -> None:
        """Add a dead worker's counts to the past, and free its slot."""
        words, past = self.words(slot), self.words(PAST)
        for index in range(REQUESTS, WORDS):
            past[index] += words[index]
        self._clear(slot)
        used = self.used
        while used > FIRST and self.words(used - 1)[STATE] == FREE:
            used -= 1
        self._words[self._used_at] = used

    def begin_balancer(self) -> int:
        """The slot of a balancer that is about to be forked, with what the ones before it have counted."""
        words = self.words(BALANCER)
        words[STATE], words[STARTED] = STARTING, int(time() * MICROSECONDS)
        words[HEARTBEAT] = int(monotonic() * MICROSECONDS)
        return BALANCER

    def end_balancer(self) -> None:
        """It has died; what it has counted is kept."""
        words = self.words(BALANCER)
        for index in (STATE, PID, RUNNING, CONNECTIONS, QUEUED):
            words[index] = 0

    def has_balancer(self) -> bool:
        """Whether one lives: it has not said its end, and has ticked of late."""
        words = self.words(BALANCER)
        return words[STATE] != FREE and monotonic() - words[HEARTBEAT] / MICROSECONDS < _PRESUMED_DEAD

    def _clear(self, slot: int) -> None:
        self.map[slot * _SIZE : (slot + 1) * _SIZE] = bytes(_SIZE)


class Counters:
    """A worker's own counts: plain numbers, copied into its slot now and then. Two things are always true there:
    how many connections and requests it has, which its siblings go by, and what it runs, should it die.

    Threads may count at the same moment: `+=` of an attribute is not interrupted between its reading and its
    writing, and where it is (a Python without the GIL) a count of many may be lost, which is no harm.
    """

    def __init__(self, board: Scoreboard, slot: int) -> None:
        self.board = board
        self.slot = slot
        self.words = board.words(slot)
        # A balancer that follows on one that died goes on with its counts; a worker's are all 0.
        self.requests, self.errors, self.refused, self.bytes = self.words[REQUESTS:REQUEST_TIME]
        self.request_time = list(self.words[REQUEST_TIME:QUEUE_WAIT])
        self.queue_wait = list(self.words[QUEUE_WAIT:LOOP_LAG])
        self.loop_lag = list(self.words[LOOP_LAG:EXTRA])
        self._map = board.map
        self._counts_at = board.text_at(slot) - (WORDS - REQUESTS) * 8
        self._text_at = board.text_at(slot)
        self._noted: Any = None
        self._noted_line: object = None

    # -- every request --------------------------------------------------------------------------------------

    def began(self, exchange: Any, running: set[Any]) -> None:
        """A request is to be run; `running` has it already."""
        count = self.words[RUNNING] = len(running)
        if count == 1:
            self._noted = exchange
            if exchange.line is not self._noted_line:
                self._note(exchange.line)

    def ended(self, exchange: Any, running: set[Any]) -> None:
        """A request's task has ended; `running` has it no more."""
        count = self.words[RUNNING] = len(running)
        self.requests += 1
        if exchange.status >= 500:
            self.errors += 1
        self.bytes += exchange.bytes_sent
        if exchange.status != _SWITCHED:
            self.request_time[bucket_of(monotonic() - exchange.started_at)] += 1
        if count and exchange is self._noted:
            try:
                self._noted = next(iter(running))
                self._note(self._noted.line)
            except (RuntimeError, StopIteration):
                pass  # another thread changed the set: the next tick notes the longest

    def _note(self, line: Any) -> None:
        """Write down the request that has been running longest."""
        self._noted_line = line
        text = f"{line.method} {line.uri}".encode("utf-8", "replace")[: TEXT - 1].ljust(TEXT, b"\0")
        self._map[self._text_at : self._text_at + TEXT] = text

    def connected(self, count: int) -> None:
        """A connection was opened or closed."""
        self.words[CONNECTIONS] = count

    # -- now and then ---------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Copy the counts into the slot, and say that the worker is alive."""
        counts = (self.requests, self.errors, self.refused, self.bytes)
        _COUNTS.pack_into(self._map, self._counts_at, *counts, *self.request_time, *self.queue_wait, *self.loop_lag)
        self.words[HEARTBEAT] = int(monotonic() * MICROSECONDS)

    def note_longest(self, running: list[Any]) -> None:
        """Of what runs now, note what has been running longest, and since when.

        A connection that has left HTTP is noted where there is nothing else, and without a time: it may run for ever.
        """
        self.words[RUNNING] = len(running)
        self.words[NOTED_AT] = 0
        if running:
            requests = [exchange for exchange in running if exchange.status != _SWITCHED]
            self._noted = min(requests or running, key=lambda exchange: exchange.started_at)
            self._note(self._noted.line)
            if requests:
                self.words[NOTED_AT] = int(self._noted.started_at * MICROSECONDS)


class Siblings:
    """Who else accepts from the same listening sockets, and whether it is their turn."""

    def __init__(self, board: Scoreboard, slot: int, fresh: float) -> None:
        self._board = board
        self._slot = slot
        self._own = board.words(slot)
        self._fresh = int(fresh * MICROSECONDS)  # a sibling that has not ticked for longer does not count
        self._words: list[memoryview] = []
        self._left_since = 0.0

    def leaves_to_others(self, now: float) -> bool:
        """Whether a connection that waits is left to a sibling for now.

        Not for long: the sibling may be held up. No timer is needed, as the poller reports the listener again and
        again for as long as somebody waits there.
        """
        if not self._less_busy():
            return False
        waited = now - self._left_since
        if waited < PATIENCE:
            sched_yield()
            return True
        if waited < 4 * PATIENCE:
            self._left_since = 0.0
            return False
        self._left_since = now  # somebody new: the last one was taken
        sched_yield()
        return True

    def waits_for_others(self) -> bool:
        """Whether siblings that were started with this worker do not serve yet, and nobody serves from before."""
        born = self._own[STARTED]
        starting = False
        for words in self._everybody():
            together = abs(words[STARTED] - born) < _TOGETHER * MICROSECONDS
            if words[STATE] == SERVING and not together:
                return False
            starting = starting or (words[STATE] == STARTING and together)
        return starting

    def _everybody(self) -> list[memoryview]:
        """The words of all slots that workers have, our own too."""
        board = self._board
        if len(self._words) != board.used - FIRST:
            self._words = [board.words(slot) for slot in range(FIRST, board.used)]
        return self._words

    def _less_busy(self) -> bool:
        """Whether a sibling that could take a connection now has clearly fewer of them."""
        own = self._own[CONNECTIONS]
        dead = int(monotonic() * MICROSECONDS) - self._fresh
        for words in self._everybody():
            least = words[CONNECTIONS]
            if (
                own > least + (least >> 4)
                and words[STATE] == SERVING
                and words[RUNNING] < words[CAPACITY]
                and words[HEARTBEAT] > dead
            ):
                return True
        return False
