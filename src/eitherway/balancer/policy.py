"""Which request goes to which backend, and when. Pure: no socket and no clock (`now` is passed in), only decisions,
which the balancer carries out.

One queue, first in first out. A request that was given to a backend and came back unanswered waits before all others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

# Runs of one request after the first: one that kills its worker must not kill them all. Where others ran in the same
# worker it was more likely one of them.
MOST_RETRIES_ALONE, MOST_RETRIES = 1, 2
REST = 0.1  # seconds that a backend which cannot be reached is left alone

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110 section 9.2.2


class Target:
    """A backend, as far as deciding goes: its slots, and how many of them are taken."""

    __slots__ = ("id", "leaving", "rests_until", "running", "slots", "turn")

    def __init__(self, id: int, slots: int) -> None:
        self.id = id
        self.slots = slots
        self.running = 0
        self.turn = 0  # when it was chosen last, counted in choices
        self.leaving = False  # it gets no new requests
        self.rests_until = 0.0


class Verdict(Enum):
    """What is to be done with a request that gets no backend now, or lost the one it had."""

    QUEUED = "queued"
    REFUSED = "refused"
    RETRY = "retry"
    TIMED_OUT = "timed out"
    BAD_GATEWAY = "bad gateway"
    BREAK_OFF = "break off"


def after_loss(
    *, begun: bool, delivered: bool, idempotent: bool, replayable: bool, overdue: bool, alone: bool, retries: int
) -> Verdict:
    """The connection to a backend broke.

    `delivered`: the backend may have read the request, and so have run it. `overdue`: it has run for too long, which
    is why it was ended. `alone`: a backend runs one request at a time.
    """
    if begun:
        return Verdict.BREAK_OFF
    if overdue:
        return Verdict.TIMED_OUT
    if replayable and retries < (MOST_RETRIES_ALONE if alone else MOST_RETRIES) and (idempotent or not delivered):
        return Verdict.RETRY
    return Verdict.BAD_GATEWAY


Ticket = TypeVar("Ticket", bound=Hashable)
Place = TypeVar("Place", bound=Target)


class Policy(Generic[Ticket, Place]):
    """The backends and the queue. Whoever gets a backend from here gives it back by `release`, once."""

    def __init__(self, limit: int, patience: float) -> None:
        self.limit = limit  # requests in the queue
        self.patience = patience  # seconds in the queue
        self.targets: list[Place] = []
        self._waiting: OrderedDict[Ticket, float] = OrderedDict()  # since when
        self._returned: OrderedDict[Ticket, float] = OrderedDict()
        self._turns = 0
        self._resting = False  # at least one backend may be

    # -- backends -------------------------------------------------------------------------------------------

    def add(self, target: Place) -> None:
        self.targets.append(target)

    def remove(self, target: Place) -> bool:
        """No new requests to it. True: it runs none any more, so it is gone."""
        target.leaving = True
        return self.forget_if_done(target)

    def forget_if_done(self, target: Place) -> bool:
        """Whether a leaving backend has done its last request; it is forgotten then."""
        if not target.leaving or target.running or target not in self.targets:
            return False
        self.targets.remove(target)
        return True

    def rest(self, target: Place, now: float) -> None:
        """It could not be reached: leave it alone for a moment."""
        target.rests_until = now + REST
        self._resting = True

    def _choose(self, now: float) -> Place | None:
        """The backend with a free slot that runs the fewest; of equals, the one chosen longest ago."""
        best: Place | None = None
        for target in self.targets:
            running = target.running
            if running >= target.slots or target.leaving:
                continue
            if self._resting and target.rests_until > now:
                continue
            if best is None or running < best.running or (running == best.running and target.turn < best.turn):
                best = target
        if best is not None:
            best.running += 1
            self._turns += 1
            best.turn = self._turns
        return best

    # -- requests -------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        return len(self._waiting) + len(self._returned)

    def admit(self, ticket: Ticket, now: float) -> Place | Verdict:
        """A request came: the backend to give it to, or QUEUED, or REFUSED."""
        if not self._waiting and not self._returned:
            target = self._choose(now)
            if target is not None:
                return target
        if self.queued >= self.limit:
            return Verdict.REFUSED
        self._waiting[ticket] = now
        return Verdict.QUEUED

    def requeue(self, ticket: Ticket, now: float) -> None:
        """A request came back unanswered. It has been let in already: the limit does not count."""
        self._returned[ticket] = now

    def withdraw(self, ticket: Ticket) -> bool:
        """The client has gone. True: the request was in the queue, and is not any more."""
        return self._waiting.pop(ticket, None) is not None or self._returned.pop(ticket, None) is not None

    def release(self, target: Place, now: float) -> tuple[Ticket, float] | None:
        """A slot is free again: the request that gets it, and since when it has waited; None: the slot stays free.

        Nobody waits while a slot is free, so this one need not be compared with others.
        """
        queue = self._returned or self._waiting
        if queue and not target.leaving and not (self._resting and target.rests_until > now):
            self._turns += 1
            target.turn = self._turns
            return queue.popitem(last=False)
        target.running -= 1
        return None

    def next(self, now: float) -> tuple[Ticket, Place, float] | None:
        """The request to run now, where, and since when it has waited; None when nothing can begin."""
        queue = self._returned or self._waiting
        if not queue:
            return None
        target = self._choose(now)
        if target is None:
            return None
        ticket, since = queue.popitem(last=False)
        return ticket, target, since

    def expire(self, now: float) -> list[Ticket]:
        """Take those out of the queue that have waited too long, the oldest first."""
        expired: list[Ticket] = []
        for queue in (self._returned, self._waiting):
            while queue:
                ticket, since = next(iter(queue.items()))
                if now - since < self.patience:
                    break
                del queue[ticket]
                expired.append(ticket)
        return expired

    def next_event(self, now: float) -> float | None:
        """When to look again though nothing happened: the oldest request's patience ends, or a backend's rest."""
        due = [next(iter(queue.values())) + self.patience for queue in (self._returned, self._waiting) if queue]
        if self._resting:
            rests = [target.rests_until for target in self.targets if target.rests_until > now]
            self._resting = bool(rests)
            if due:
                due += rests
        return min(due, default=None)
