"""The policy's promises, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eitherway.balancer.policy import (
    IDEMPOTENT,
    MOST_RETRIES,
    MOST_RETRIES_ALONE,
    REST,
    Policy,
    Target,
    Verdict,
    after_loss,
)

PATIENCE = 5.0


class PolicyMachine(RuleBasedStateMachine):
    """A balancer and its clients, with a plain list for the queue."""

    @initialize(limit=st.integers(0, 6))
    def begin(self, limit: int) -> None:
        self.policy: Policy[int, Target] = Policy(limit, PATIENCE)
        self.now = 100.0
        self.tickets = 0
        self.queue: list[tuple[int, float]] = []  # as it ought to be: (ticket, since), returned ones first
        self.returned = 0  # how many of them are
        self.running: dict[int, Target] = {}
        self.ids = 0

    def pump(self) -> None:
        while (chosen := self.policy.next(self.now)) is not None:
            ticket, target, since = chosen
            assert self.queue.pop(0) == (ticket, since), "first in, first out; returned ones before"
            self.returned = max(0, self.returned - 1)
            self.given(ticket, target)

    def given(self, ticket: int, target: Target) -> None:
        assert not target.leaving
        assert target.rests_until <= self.now
        assert ticket not in self.running
        assert all(target.running - 1 <= other.running for other in self.usable()), "fewest outstanding first"
        self.running[ticket] = target

    def usable(self) -> list[Target]:
        return [t for t in self.policy.targets if t.running < t.slots and not t.leaving and t.rests_until <= self.now]

    @rule(slots=st.integers(1, 3))
    def add(self, slots: int) -> None:
        self.ids += 1
        self.policy.add(Target(self.ids, slots))
        self.pump()

    @rule(data=st.data())
    @precondition(lambda self: self.policy.targets)
    def remove(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(self.policy.targets))
        gone = self.policy.remove(target)
        assert gone == (target not in self.running.values())

    @rule()
    def arrive(self) -> None:
        self.tickets += 1
        free, queued = bool(self.usable()), len(self.queue)
        verdict = self.policy.admit(self.tickets, self.now)
        if isinstance(verdict, Target):
            assert not queued, "nobody overtakes the queue"
            self.given(self.tickets, verdict)
        elif verdict is Verdict.QUEUED:
            assert not free or queued
            self.queue.append((self.tickets, self.now))
        else:
            assert verdict is Verdict.REFUSED
            assert queued >= self.policy.limit

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def finish(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.running)))
        target = self.running.pop(ticket)
        self.release(target)
        self.pump()

    def release(self, target: Target) -> None:
        chosen = self.policy.release(target, self.now)
        if chosen is not None:
            assert self.queue.pop(0) == chosen
            self.returned = max(0, self.returned - 1)
            self.given(chosen[0], target)
        assert self.policy.forget_if_done(target) == (target.leaving and not target.running)

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def lose(self, data: st.DataObject) -> None:
        """A backend could not be reached, or died: its request comes back."""
        ticket = data.draw(st.sampled_from(sorted(self.running)))
        target = self.running.pop(ticket)
        self.policy.rest(target, self.now)
        self.policy.requeue(ticket, self.now)
        self.queue.insert(self.returned, (ticket, self.now))
        self.returned += 1
        self.release(target)
        self.pump()

    @rule(data=st.data())
    @precondition(lambda self: self.queue)
    def leave(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.queue) - 1))
        ticket, _ = self.queue.pop(place)
        self.returned -= place < self.returned
        assert self.policy.withdraw(ticket)
        assert not self.policy.withdraw(ticket)

    @rule(seconds=st.floats(0.01, 4.0))
    def wait(self, seconds: float) -> None:
        event = self.policy.next_event(self.now)
        self.now += seconds
        expired = self.policy.expire(self.now)
        assert expired == [t for t, since in self.queue if self.now - since >= PATIENCE]
        if expired:
            assert event is not None and event <= self.now
        self.returned -= len([t for t, _ in self.queue[: self.returned] if t in expired])
        self.queue = [(t, since) for t, since in self.queue if t not in expired]
        if self.queue and self.usable():
            assert event is not None and event <= self.now, "a rest's end must be an event"
        self.pump()

    @invariant()
    def slots_are_kept(self) -> None:
        if not hasattr(self, "policy"):
            return
        counts = [list(self.running.values()).count(t) for t in self.policy.targets]
        assert counts == [t.running for t in self.policy.targets]
        assert all(t.running <= t.slots for t in self.policy.targets)
        assert self.policy.queued == len(self.queue)
        assert not (self.queue and self.usable()), "nobody waits while a slot is free"


PolicyMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPolicy = PolicyMachine.TestCase


@given(
    begun=st.booleans(),
    delivered=st.booleans(),
    method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "POST", "PATCH", "PURGE"]),
    replayable=st.booleans(),
    overdue=st.booleans(),
    alone=st.booleans(),
    retries=st.integers(0, 5),
)
def test_a_request_is_run_again_only_when_that_is_safe(
    begun: bool, delivered: bool, method: str, replayable: bool, overdue: bool, alone: bool, retries: int
) -> None:
    verdict = after_loss(
        begun=begun,
        delivered=delivered,
        idempotent=method in IDEMPOTENT,
        replayable=replayable,
        overdue=overdue,
        alone=alone,
        retries=retries,
    )
    most = MOST_RETRIES_ALONE if alone else MOST_RETRIES
    if begun:
        assert verdict is Verdict.BREAK_OFF
    elif overdue:
        assert verdict is Verdict.TIMED_OUT
    elif verdict is Verdict.RETRY:
        assert replayable and retries < most
        assert not delivered or method not in {"POST", "PATCH", "PURGE"}
    else:
        assert verdict is Verdict.BAD_GATEWAY
        assert not replayable or retries >= most or (delivered and method not in IDEMPOTENT)


def test_equal_backends_take_turns() -> None:
    policy: Policy[int, Target] = Policy(10, PATIENCE)
    for id in range(3):
        policy.add(Target(id, 2))
    chosen = [policy.admit(ticket, 0.0) for ticket in range(6)]
    assert [target.id for target in chosen if isinstance(target, Target)] == [0, 1, 2, 0, 1, 2]


def test_a_backend_that_cannot_be_reached_rests() -> None:
    policy: Policy[int, Target] = Policy(10, PATIENCE)
    only = Target(1, 1)
    policy.add(only)
    assert policy.admit(1, 0.0) is only
    policy.rest(only, 0.0)
    policy.requeue(1, 0.0)
    assert policy.release(only, 0.0) is None
    assert policy.next(0.0) is None
    assert policy.next_event(0.0) == REST
    assert policy.next(REST) == (1, only, 0.0)
