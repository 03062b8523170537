"""What the supervisor does when something happens to its workers. Pure: state, event, now -> actions; no I/O, no clock.

The state is the list of members, one for every living worker process:

    starting --ready--> serving --drain--> draining --dies--> gone

`starting` and `serving` members are *live*. After every event the policy compares the live members with the number
wanted, and closes the gap by one rule for all cases (`_reconcile`):

* too few: spawn, unless backing off;
* a serving member that is outdated (a reload) or worn (recycling): spawn one more, one at a time;
* more serving than wanted: drain the outdated, then the worn, then the youngest.

So a replacement always serves before what it replaces begins to drain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

FIRST_DELAY = 0.1  # seconds of backing off behind the second early death in a row
LONGEST_DELAY = 5.0
STABLE = 5.0  # seconds of serving after which a death is no sign of a crash loop
KILL_AFTER = 5.0  # seconds beyond the graceful time-out that a draining worker gets


class Phase(Enum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(slots=True)
class Member:
    """A worker process, as the policy sees it."""

    id: int
    generation: int
    since: float  # when it came into its phase
    phase: Phase = Phase.STARTING
    worn: bool = False
    killed: bool = False


# ---- events ----


@dataclass(frozen=True, slots=True)
class Begin:
    """The first event: start the workers."""


@dataclass(frozen=True, slots=True)
class Ready:
    id: int


@dataclass(frozen=True, slots=True)
class Died:
    """A worker's process has ended. `exit_code`: it could not start, and this is what the command should end with."""

    id: int
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Worn:
    """A worker should be recycled: it has served enough requests, or holds too much memory."""

    id: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """A worker does not serve any more."""

    id: int


@dataclass(frozen=True, slots=True)
class Reload:
    """Replace every worker by a new one."""


@dataclass(frozen=True, slots=True)
class Resize:
    by: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End: every worker answers what it has begun (or, `now`, is killed). `left`: seconds of the graceful time-out,
    where a part of it has passed."""

    now: bool = False
    left: float = float("inf")


@dataclass(frozen=True, slots=True)
class Retire:
    """End as another supervisor has taken over the sockets: clients that are idle get time to notice."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Begin | Ready | Died | Worn | Stuck | Reload | Resize | Stop | Retire | Tick


# ---- actions ----


@dataclass(frozen=True, slots=True)
class Spawn:
    id: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Have a worker end gracefully. `final`: nobody takes over from it, so it takes leave of idle clients at once."""

    id: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker at once. `late`: as it did not end by itself in time."""

    id: int
    late: bool = False


@dataclass(frozen=True, slots=True)
class BackOff:
    """Workers die early: the next is spawned after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Every worker is of the new generation."""


@dataclass(frozen=True, slots=True)
class ReloadFailed:
    """The new generation cannot start; the old one goes on. `new`: workers that were replaced before."""

    new: int = 0


@dataclass(frozen=True, slots=True)
class Serving:
    """As many workers as wanted serve for the first time."""


@dataclass(frozen=True, slots=True)
class Finished:
    """No worker is left: the supervisor ends with this exit code."""

    exit_code: int = 0


Action = Spawn | Drain | Kill | BackOff | Reloaded | ReloadFailed | Serving | Finished


# ---- the policy ----


@dataclass(slots=True)
class Policy:
    """`decide` is told every event, and returns what to do now. `due` is when it wants a Tick at the latest."""

    wanted: int
    graceful_timeout: float
    most: int = 256  # workers, by Resize
    members: dict[int, Member] = field(default_factory=dict)
    generation: int = 1
    exit_code: int = 0
    stopping: bool = False
    retiring: bool = False
    finished: bool = False
    reloading: bool = False
    served: bool = False  # all wanted workers have served at once
    streak: int = 0  # early deaths in a row
    died_at: float = 0.0  # the last of them
    spawn_at: float = 0.0  # backing off until then
    _last_id: int = 0
    _actions: list[Action] = field(default_factory=list)

    def decide(self, event: Event, now: float) -> list[Action]:
        """Take an event in; what is to be done about it."""
        self._actions = []
        match event:
            case Ready(id):
                self._on_ready(id, now)
            case Died(id, exit_code):
                self._on_died(id, exit_code, now)
            case Worn(id) if id in self.members:
                self.members[id].worn = True
            case Stuck(id) if id in self.members:
                self._kill(self.members[id])
            case Reload() if not self.stopping:
                self._on_reload(now)
            case Resize(by):
                self.wanted = min(self.most, max(1, self.wanted + by))
            case Stop(at_once, left):
                self.graceful_timeout = min(self.graceful_timeout, left)
                self._on_stop(at_once, now)
            case Retire():
                self.retiring = True
                self._on_stop(False, now)
            case _:
                pass  # Begin and Tick, and news of workers that are gone
        self._reconcile(now)
        return self._actions

    def is_draining(self, id: int) -> bool:
        return id in self.members and self.members[id].phase is Phase.DRAINING

    def due(self) -> float:
        """When time alone changes something: the next spawn, the end of patience with a draining worker."""
        times = [m.since + self._patience for m in self.members.values() if m.phase is Phase.DRAINING and not m.killed]
        if not self.stopping and len(self._live()) < self.wanted and not self._is_careful():
            times.append(self.spawn_at)
        return min(times, default=float("inf"))

    # -- events ---------------------------------------------------------------------------------------------

    def _on_ready(self, id: int, now: float) -> None:
        member = self.members.get(id)
        if member is not None and member.phase is Phase.STARTING:
            member.phase, member.since = Phase.SERVING, now

    def _on_died(self, id: int, exit_code: int, now: float) -> None:
        member = self.members.pop(id, None)
        if member is None or self.stopping or member.phase is Phase.DRAINING:
            return
        if member.phase is Phase.STARTING:
            if not self.served:
                self.exit_code = exit_code or 1
                self._on_stop(True, now)
                return
            if self.reloading and member.generation == self.generation:
                self._give_reload_up()
            self._back_off(now)
        elif now - member.since < STABLE:
            self._back_off(now)
        else:
            self.streak = 0

    def _back_off(self, now: float) -> None:
        """The first early death is replaced at once, the next ones after a growing delay."""
        self.streak += 1
        self.died_at = now
        if self.streak > 1:
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self.streak - 2, 16))
            self.spawn_at = max(self.spawn_at, now + delay)
            self._actions.append(BackOff(delay))

    def _give_reload_up(self) -> None:
        """What serves is what is wanted; new workers that start yet may go on."""
        self.reloading = False
        new = sum(member.generation == self.generation for member in self._in(Phase.SERVING))
        for member in self.members.values():
            member.generation = self.generation
        self._actions.append(ReloadFailed(new))

    def _on_reload(self, now: float) -> None:
        for member in self._in(Phase.STARTING):
            self._drain(member, now)  # it would be outdated when it serves, if ever it does
        self.generation += 1
        self.reloading = True
        self.streak = 0
        self.spawn_at = 0.0

    def _on_stop(self, at_once: bool, now: float) -> None:
        self.stopping = True
        self.reloading = False
        for member in self.members.values():
            if at_once:
                self._kill(member)
            else:
                self._drain(member, now)

    # -- closing the gap ------------------------------------------------------------------------------------

    def _reconcile(self, now: float) -> None:
        for member in self.members.values():
            if member.phase is Phase.DRAINING and now >= member.since + self._patience:
                self._kill(member, late=True)
        if self.stopping:
            if not self.members and not self.finished:
                self.finished = True
                self._actions.append(Finished(self.exit_code))
            return
        self._forget_early_deaths(now)
        self._drain_surplus(now)
        self._spawn_missing(now)
        self._replace_one(now)
        self._report()

    def _forget_early_deaths(self, now: float) -> None:
        serving = self._in(Phase.SERVING)
        since = max([self.died_at, *(m.since for m in serving)])
        if self.streak and len(serving) >= self.wanted and now - since >= STABLE:
            self.streak = 0

    def _drain_surplus(self, now: float) -> None:
        """Never below the number wanted, and what is to be replaced first."""
        serving = self._in(Phase.SERVING)
        serving.sort(key=lambda m: (m.generation < self.generation, m.worn, m.id))
        while len(serving) > self.wanted:
            self._drain(serving.pop(), now)

    def _spawn_missing(self, now: float) -> None:
        if now < self.spawn_at:
            return
        while len(self._live()) < self.wanted and not self._is_careful():
            self._spawn(now)

    def _is_careful(self) -> bool:
        """After early deaths workers are started one by one."""
        return self.streak > 1 and bool(self._in(Phase.STARTING))

    def _replace_one(self, now: float) -> None:
        """One more than wanted, for as long as it takes to start, while there is a worker to be replaced."""
        serving = self._in(Phase.SERVING)
        if len(self._live()) != self.wanted or len(serving) < self.wanted:
            return
        outdated = any(m.generation < self.generation for m in serving)
        recycling = any(m.worn for m in self._in(Phase.DRAINING))
        if outdated or (any(m.worn for m in serving) and not recycling and not self.streak):
            self._spawn(now)

    def _report(self) -> None:
        serving = self._in(Phase.SERVING)
        if len(serving) < self.wanted or any(m.generation < self.generation for m in self._live()):
            return
        if not self.served:
            self.served = True
            self._actions.append(Serving())
        if self.reloading:
            self.reloading = False
            self._actions.append(Reloaded())

    # -- the parts ------------------------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        return self.graceful_timeout + KILL_AFTER

    def _in(self, phase: Phase) -> list[Member]:
        return [m for m in self.members.values() if m.phase is phase and not m.killed]

    def _live(self) -> list[Member]:
        return self._in(Phase.STARTING) + self._in(Phase.SERVING)

    def _spawn(self, now: float) -> None:
        self._last_id += 1
        self.members[self._last_id] = Member(self._last_id, self.generation, now)
        self._actions.append(Spawn(self._last_id))

    def _drain(self, member: Member, now: float) -> None:
        if member.phase is not Phase.DRAINING:
            member.phase, member.since = Phase.DRAINING, now
            self._actions.append(Drain(member.id, self.stopping and not self.retiring))

    def _kill(self, member: Member, late: bool = False) -> None:
        if not member.killed:
            member.killed = True
            self._actions.append(Kill(member.id, late))
