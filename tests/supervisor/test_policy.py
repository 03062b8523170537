"""The supervisor's policy: what it promises, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from eitherway.supervisor.policy import (
    FIRST_DELAY,
    LONGEST_DELAY,
    STABLE,
    BackOff,
    Begin,
    Died,
    Drain,
    Finished,
    Kill,
    Phase,
    Policy,
    Ready,
    Reload,
    Reloaded,
    ReloadFailed,
    Resize,
    Retire,
    Serving,
    Spawn,
    Stop,
    Stuck,
    Tick,
    Worn,
)


def started(wanted: int) -> Policy:
    policy = Policy(wanted, graceful_timeout=30.0)
    for action in policy.decide(Begin(), 0.0):
        assert isinstance(action, Spawn)
        policy.decide(Ready(action.id), 0.0)
    assert policy.served
    return policy


def of_phase(policy: Policy, phase: Phase) -> list[int]:
    return [m.id for m in policy.members.values() if m.phase is phase and not m.killed]


def settle(policy: Policy, now: float) -> list[object]:
    """Let every worker start and every draining one end, until nothing happens any more."""
    happened: list[object] = []
    for _ in range(1000):
        events = [Ready(id) for id in of_phase(policy, Phase.STARTING)]
        events += [Died(m.id) for m in policy.members.values() if m.phase is Phase.DRAINING or m.killed]
        if not events:
            return happened
        happened += policy.decide(events[0], now)
    raise AssertionError("it never comes to rest")


# ---- the usual courses ----


def test_the_first_start_is_done_when_all_serve() -> None:
    policy = Policy(3, 30.0)
    assert policy.decide(Begin(), 0.0) == [Spawn(1), Spawn(2), Spawn(3)]
    assert policy.decide(Ready(1), 1.0) == policy.decide(Ready(2), 1.0) == []
    assert policy.decide(Ready(3), 1.0) == [Serving()]


def test_a_first_start_that_cannot_import_gives_up() -> None:
    policy = Policy(2, 30.0)
    policy.decide(Begin(), 0.0)
    assert policy.decide(Died(1, 3), 0.1) == [Kill(2)]
    assert policy.decide(Died(2, 3), 0.2) == [Finished(3)]


def test_a_reload_goes_worker_by_worker_and_drains_behind_the_replacement() -> None:
    policy = started(2)
    assert policy.decide(Reload(), 10.0) == [Spawn(3)]
    assert policy.decide(Ready(3), 11.0) == [Drain(2), Spawn(4)]
    assert policy.decide(Ready(4), 12.0) == [Drain(1), Reloaded()]
    assert policy.decide(Died(1), 13.0) == policy.decide(Died(2), 13.0) == []


def test_a_failed_reload_keeps_the_old_workers() -> None:
    policy = started(2)
    policy.decide(Reload(), 10.0)
    assert policy.decide(Died(3, 3), 11.0) == [ReloadFailed()]
    assert of_phase(policy, Phase.SERVING) == [1, 2]
    assert policy.decide(Tick(), 12.0) == []
    assert policy.decide(Reload(), 20.0) == [Spawn(4)]


def test_a_reload_that_fails_later_says_how_far_it_came() -> None:
    policy = started(2)
    policy.decide(Reload(), 10.0)
    policy.decide(Ready(3), 11.0)
    assert policy.decide(Died(4), 12.0) == [ReloadFailed(new=1)]
    assert of_phase(policy, Phase.SERVING) == [1, 3]


def test_a_reload_gives_up_those_that_are_starting_yet() -> None:
    """Their import may never end, which is what the second reload is to cure."""
    policy = started(2)
    assert policy.decide(Reload(), 10.0) == [Spawn(3)]
    assert policy.decide(Reload(), 20.0) == [Drain(3), Spawn(4)]
    assert policy.decide(Died(3), 20.1) == []
    assert policy.decide(Ready(4), 21.0) == [Drain(2), Spawn(5)]
    assert policy.decide(Ready(5), 22.0) == [Drain(1), Reloaded()]


def test_a_reload_during_the_first_start_begins_it_anew() -> None:
    policy = Policy(2, 30.0)
    policy.decide(Begin(), 0.0)
    assert policy.decide(Reload(), 1.0) == [Drain(1), Drain(2), Spawn(3), Spawn(4)]
    assert policy.decide(Died(1), 1.1) == policy.decide(Died(2), 1.1) == policy.decide(Ready(3), 2.0) == []
    assert policy.decide(Ready(4), 2.0) == [Serving(), Reloaded()]


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    policy = started(2)
    assert policy.decide(Died(1), 100.0) == [Spawn(3)]


def test_backing_off_grows_and_resets() -> None:
    policy = started(1)
    now, last, delays = 1.0, 1, []
    for _ in range(12):
        actions = policy.decide(Died(last), now)
        delays += [action.delay for action in actions if isinstance(action, BackOff)]
        now = max(now, policy.spawn_at)
        spawned = [a.id for a in [*actions, *policy.decide(Tick(), now)] if isinstance(a, Spawn)]
        assert len(spawned) == 1
        last = spawned[0]
        policy.decide(Ready(last), now)
    assert delays[0] == FIRST_DELAY
    assert delays[-1] == LONGEST_DELAY
    assert delays == sorted(delays)
    now += STABLE
    policy.decide(Tick(), now)
    assert policy.decide(Died(last), now) == [Spawn(last + 1)]


def test_a_stuck_worker_is_killed_and_replaced() -> None:
    policy = started(2)
    assert policy.decide(Stuck(1), 50.0) == [Kill(1), Spawn(3)]
    assert policy.decide(Stuck(1), 50.0) == []


def test_one_worker_more_or_less() -> None:
    policy = started(2)
    assert policy.decide(Resize(1), 10.0) == [Spawn(3)]
    policy.decide(Ready(3), 11.0)
    assert policy.decide(Resize(-1), 12.0) == [Drain(3)]
    assert policy.decide(Resize(-5), 12.0) == [Drain(2)]
    assert policy.wanted == 1


def test_a_worker_that_does_not_end_is_killed() -> None:
    policy = started(1)
    assert policy.decide(Stop(), 10.0) == [Drain(1, final=True)]
    assert policy.due() == 45.0
    assert policy.decide(Tick(), 44.9) == []
    assert policy.decide(Tick(), 45.0) == [Kill(1, late=True)]
    assert policy.decide(Died(1), 45.0) == [Finished(0)]


def test_what_the_balancer_took_of_the_time_is_not_given_again() -> None:
    policy = started(1)
    assert policy.decide(Stop(left=4.0), 10.0) == [Drain(1, final=True)]
    assert policy.due() == 10.0 + 4.0 + 5.0


def test_retiring_leaves_the_sockets_to_others() -> None:
    policy = started(1)
    assert policy.decide(Retire(), 10.0) == [Drain(1, final=False)]
    assert policy.decide(Stop(now=True), 11.0) == [Kill(1)]


# ---- whatever happens ----

EVENTS = st.sampled_from(["ready", "died", "failed", "worn", "stuck", "reload", "more", "less", "tick", "wait"])


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(EVENTS, st.integers(0, 30)), max_size=60))
def test_what_always_holds(wanted: int, course: list[tuple[str, int]]) -> None:
    policy = started(wanted)
    now = 100.0
    for word, choice in course:
        now += 10.0 if word == "wait" else 0.01
        ids = of_phase(policy, Phase.STARTING) if word in ("ready", "failed") else list(policy.members)
        if word in ("ready", "died", "failed", "worn", "stuck") and not ids:
            continue
        chosen = ids[choice % len(ids)] if ids else 0
        event = {
            "ready": Ready(chosen),
            "died": Died(chosen),
            "failed": Died(chosen, 3),
            "worn": Worn(chosen),
            "stuck": Stuck(chosen),
            "reload": Reload(),
            "more": Resize(1),
            "less": Resize(-1),
        }.get(word, Tick())
        serving, starting = set(of_phase(policy, Phase.SERVING)), set(of_phase(policy, Phase.STARTING))
        actions = policy.decide(event, now)
        drained = [a.id for a in actions if isinstance(a, Drain)]
        live = of_phase(policy, Phase.STARTING) + of_phase(policy, Phase.SERVING)

        # Nobody is spawned beyond one more than wanted.
        if any(isinstance(a, Spawn) for a in actions):
            assert len(live) <= policy.wanted + 1
        # A worker that serves is drained only where enough others serve.
        if serving.intersection(drained):
            assert len(of_phase(policy, Phase.SERVING)) >= policy.wanted
        assert set(drained) <= serving | {chosen} | (starting if word == "reload" else set())
        # Never fewer than wanted, unless backing off, or starting one by one after early deaths.
        if len(live) < policy.wanted:
            assert policy.spawn_at > now or (policy.streak > 1 and of_phase(policy, Phase.STARTING))
        # While recycling, one replacement at a time.
        if not policy.reloading and not any(m.generation < policy.generation for m in policy.members.values()):
            spawned = [a for a in actions if isinstance(a, Spawn)]
            # Beside a worn one's replacement come those for workers that died, whose time has come meanwhile.
            missing = max(0, policy.wanted - len(serving) - len(starting))
            most = 1 + missing if word == "worn" else 1
            assert word in ("died", "failed", "stuck", "more", "tick", "wait") or len(spawned) <= most
        assert not any(isinstance(a, Finished) for a in actions)
        assert policy.due() > now or any(isinstance(a, Spawn) for a in actions) or policy.due() == float("inf")


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(EVENTS, st.integers(0, 30)), max_size=40))
def test_it_comes_to_rest_with_as_many_as_wanted(wanted: int, course: list[tuple[str, int]]) -> None:
    policy = started(wanted)
    now = 100.0
    for word, choice in course:
        now += 0.5
        ids = list(policy.members) or [0]
        chosen = ids[choice % len(ids)]
        events = {"ready": Ready(chosen), "died": Died(chosen), "worn": Worn(chosen), "stuck": Stuck(chosen)}
        more = {"reload": Reload(), "more": Resize(1), "less": Resize(-1)}
        policy.decide(events.get(word) or more.get(word) or Tick(), now)
    for _ in range(50):
        now += 10.0
        policy.decide(Tick(), now)
        settle(policy, now)
    serving = [m for m in policy.members.values() if m.phase is Phase.SERVING]
    assert len(policy.members) == len(serving) == policy.wanted
    assert not any(m.worn or m.generation < policy.generation for m in serving)
    assert not policy.reloading
    assert policy.streak == 0


@given(st.integers(2, 5))
def test_recycling_is_one_after_the_other(wanted: int) -> None:
    policy = started(wanted)
    now = 100.0
    spawned: list[int] = []
    for id in list(policy.members):
        spawned += [a.id for a in policy.decide(Worn(id), now) if isinstance(a, Spawn)]
    assert len(spawned) == 1
    actions = policy.decide(Ready(spawned[0]), now)
    drained = [a.id for a in actions if isinstance(a, Drain)]
    assert len(drained) == 1
    assert not any(isinstance(a, Spawn) for a in actions)  # the next when that one is gone
    assert [type(a) for a in policy.decide(Died(drained[0]), now)] == [Spawn]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(EVENTS, st.integers(0, 30)), max_size=30), st.booleans())
def test_stopping_ends_with_nobody_left(wanted: int, course: list[tuple[str, int]], at_once: bool) -> None:
    policy = started(wanted)
    now = 100.0
    for word, choice in course:
        now += 0.1
        ids = list(policy.members) or [0]
        chosen = ids[choice % len(ids)]
        events = {"ready": Ready(chosen), "died": Died(chosen), "worn": Worn(chosen), "reload": Reload()}
        policy.decide(events.get(word, Tick()), now)
    actions = policy.decide(Stop(at_once), now)
    assert not any(isinstance(a, Spawn) for a in actions)
    finished = [a for a in actions if isinstance(a, Finished)]
    for id in list(policy.members):
        finished += [a for a in policy.decide(Died(id), now) if isinstance(a, Finished)]
    assert finished == [Finished(0)]
