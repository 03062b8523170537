"""The long forms of the table of faults: what happens to which server again and again, and what must hold meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import faults
from production import Site, descriptors, resident
from slow import SlowClients

from load import Load
from serving import wait_until

GROWTH = 8 << 20  # bytes of memory, and
FILES = 24  # descriptors, that are no growth: some are clients', who come and go
CLIENTS = 6
BACK = 1.0  # seconds until a balancer that was killed is back
REQUEST = 0.05  # seconds that a request under overload sleeps
LATE = 0.05  # seconds until a refusal has come, and by which a client may measure wrongly

Fault = Callable[[Site], object]


@dataclass
class Outcome:
    """What came of a scenario. `broken` are the promises that did not hold."""

    times: Counter[str] = field(default_factory=Counter)  # of each fault
    loads: list[Load] = field(default_factory=list)
    before: dict[str, tuple[int, int]] = field(default_factory=dict)  # memory and descriptors of each process
    after: dict[str, tuple[int, int]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    log: str = ""

    def must(self, holds: bool, promise: str) -> None:
        if not holds and promise not in self.broken:
            self.broken.append(promise)

    def must_not_grow(self) -> None:
        for name in self.before.keys() & self.after.keys():
            (memory, files), (more, others) = self.before[name], self.after[name]
            self.must(more < memory + GROWTH, f"the {name}'s memory does not grow")
            self.must(others < files + FILES, f"the {name}'s descriptors do not grow")


@dataclass(frozen=True)
class Scenario:
    name: str
    run: Callable[[float], Outcome]  # for so many seconds


# ---- faults in random order under a steady load ----


@dataclass(frozen=True)
class Stage:
    """A server, what happens to it, and what its clients may see of that."""

    app: str
    engine: str
    options: tuple[str, ...]
    faults: tuple[Fault, ...]
    kernel: bool = False  # the connections of a worker end with it
    lost_in: tuple[str, ...] = ()  # faults that end connections: each at most those of all clients
    failing: tuple[str, ...] = ()  # faults by which a POST gets 502, or any request 504
    gap: float = 0.0  # longest time without a good answer to anybody; 0: any

    def __call__(self, seconds: float) -> Outcome:
        outcome = Outcome()
        site = Site(self.app, self.engine, 2, *self.options)
        try:
            with Load(site, clients=CLIENTS) as gets, Load(site, clients=2, method="POST", body=b"x") as posts:
                outcome.loads = [gets, posts]
                self._torment(site, seconds, outcome)
                outcome.after = sizes(site)
            self._judge(outcome, gets, posts)
            site.stop()
        except (AssertionError, OSError) as error:
            outcome.broken.append(f"it recovers ({error})")
        finally:
            outcome.log = site.log
            site.close()
        return outcome

    def _torment(self, site: Site, seconds: float, outcome: Outcome) -> None:
        until = monotonic() + seconds
        for fault in self._order():
            sleep(random.uniform(0.1, 1.0))  # the pace of misfortune
            fault(site)
            outcome.times[fault.__name__] += 1
            if len(outcome.times) == len(self.faults):
                outcome.before = outcome.before or sizes(site)
                if monotonic() > until:
                    return

    def _order(self) -> Iterator[Fault]:
        """Every fault once in each round, so that each comes; at random within the round."""
        while True:
            yield from random.sample(self.faults, len(self.faults))

    def _judge(self, outcome: Outcome, gets: Load, posts: Load) -> None:
        lost = sum(outcome.times[name] for name in self.lost_in)
        failed = sum(outcome.times[name] for name in self.failing)
        for load, clients, method in ((gets, CLIENTS, "GET"), (posts, 2, "POST")):
            outcome.must(load.unanswered <= lost * clients, f"no {method} is lost that no dead process had")
            outcome.must(not load.kinds["refused"], "nobody is refused a connection")
            outcome.must(not load.kinds["timeout"], "nobody waits in vain")
            bad = {status: n for status, n in load.statuses.items() if status != 200}
            outcome.must(not bad.keys() - {502, 504}, f"no {method} is answered by an error")
            if method == "GET":
                outcome.must(not bad.get(502), "every idempotent request is run again")
            outcome.must(sum(bad.values()) <= failed * clients, f"no {method} fails that was in no dead worker")
            if not self.kernel and "upgrade" not in outcome.times:
                outcome.must(load.reconnects <= lost * clients, "connections survive")
            if self.gap:
                outcome.must(load.worst_gap < self.gap, f"an answer every {self.gap:g} s")
        outcome.must_not_grow()


def sizes(site: Site) -> dict[str, tuple[int, int]]:
    """Memory and descriptors of the processes that no reload replaces."""
    pids = {"supervisor": site.supervisor, "balancer": site.balancer}
    return {name: (resident(pid), descriptors(pid)) for name, pid in pids.items() if pid}


# ---- the supervisor's death ----


def kill_supervisors(app: str, engine: str) -> Callable[[float], Outcome]:
    def run(seconds: float) -> Outcome:
        outcome = Outcome()
        until = monotonic() + seconds
        while monotonic() < until and not outcome.broken:
            site = Site(app, engine, 2)
            try:
                with socket.create_connection(site.address, 20) as client:
                    client.sendall(b"GET /sleep?0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
                    wait_until(lambda: any(each["running"] for each in site.status()["workers"]))  # noqa: B023
                    os.kill(site.supervisor, signal.SIGKILL)
                    outcome.must(client.recv(100).startswith(b"HTTP/1.1 200 OK"), "what runs is answered")
                site.wait_until_gone()
                outcome.must(site.left_behind() == [], "no file is left behind")
                with socket.socket() as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind(site.address)
                    sock.listen()
            except (AssertionError, OSError) as error:
                outcome.broken.append(f"all notice and end, and the port is free ({error})")
            finally:
                outcome.log = site.log
                site.close()
            outcome.times["kill_supervisor"] += 1
        return outcome

    return run


# ---- more than there is room for ----


def overload(engine: str, options: tuple[str, ...], capacity: int, longest_wait: float) -> Callable[[float], Outcome]:
    def run(seconds: float) -> Outcome:
        outcome = Outcome()
        site = Site("supervised:app", engine, 2, *options)
        path = f"/sleep?{REQUEST}"
        try:
            with Load(site, path, capacity // 10, pause=0.0) as calm:
                maximum = rate(calm, min(10.0, seconds / 3))
            with Load(site, path, capacity, rate=2 * capacity) as load:
                outcome.before = sizes(site)
                served = rate(load, seconds)
                outcome.after = sizes(site)
            outcome.times["overload"] = 1
            outcome.loads = [load]
            outcome.must(served > 0.9 * maximum, f"served rate ({served:.1f}/s) within 10 % of {maximum:.1f}/s")
            outcome.must(load.slowest(0.99) < longest_wait + REQUEST + LATE, "p99 of the served is bounded")
            outcome.must(set(load.statuses) <= {200, 503} and not load.unanswered, "all are served or refused")
            if "--queue-timeout" not in options:
                outcome.must(load.slowest(0.99, 503) < LATE, f"503 in under {LATE * 1000:g} ms")
            began = monotonic()
            wait_until(lambda: is_as_always(site, path))
            outcome.must(monotonic() - began < 1.0, "back to normal in 1 s")
            outcome.must_not_grow()
        except (AssertionError, OSError) as error:
            outcome.broken.append(f"it recovers ({error})")
        finally:
            outcome.log = site.log
            site.close()
        return outcome

    return run


def rate(load: Load, seconds: float) -> float:
    """Good answers a second, over so many seconds."""
    began, before = monotonic(), load.good()
    sleep(seconds)  # the measurement itself
    return (load.good() - before) / (monotonic() - began)


def is_as_always(site: Site, path: str) -> bool:
    began = monotonic()
    return site.ask(path) == 200 and monotonic() - began < REQUEST + LATE


def slow_clients(balance: str) -> Callable[[float], Outcome]:
    def run(seconds: float) -> Outcome:
        outcome = Outcome()
        site = Site("supervised:app", "sync", 2, "--balance", balance)
        try:
            with Load(site, "/sleep?0.01", 2) as before:
                sleep(min(30.0, seconds / 2))
            with SlowClients(site.address, 1000) as slow, Load(site, "/sleep?0.01", 2) as load:
                outcome.before = sizes(site)
                sleep(seconds)
                outcome.after = sizes(site)
            outcome.times["slow_clients"] = 1000 + slow.answered
            outcome.loads = [load]
            outcome.must(set(load.statuses) == {200} and not load.unanswered, "nobody else fails")
            was, now = before.slowest(0.99), load.slowest(0.99)
            outcome.must(
                now < 2 * was + 0.005, f"p99 ({now * 1000:.1f} ms) not more than doubled ({was * 1000:.1f} ms)"
            )
            outcome.must_not_grow()
        except (AssertionError, OSError) as error:
            outcome.broken.append(f"it serves ({error})")
        finally:
            outcome.log = site.log
            site.close()
        return outcome

    return run


# ---- logs ----


def logs(balance: str) -> Callable[[float], Outcome]:
    """The access log is deleted, with its directory too, and its disk is full for a while."""

    def run(seconds: float) -> Outcome:
        directory = Path(tempfile.mkdtemp(prefix="eitherway-soak-"))
        log = directory / "logs" / "access"
        log.parent.mkdir()

        def is_written() -> None:
            wait_until(lambda: log.exists() and log.stat().st_size)

        def log_deleted(site: Site) -> None:
            log.unlink()
            is_written()

        def directory_deleted(site: Site) -> None:
            shutil.rmtree(log.parent)
            sleep(0.5)  # the time without one
            log.parent.mkdir()
            is_written()

        def disk_full(site: Site) -> None:
            log.unlink()
            log.symlink_to("/dev/full")
            sleep(0.5)
            log.unlink()
            is_written()

        events = (log_deleted, directory_deleted, disk_full, faults.reload)
        options = ("--balance", balance, "--access-log", str(log))
        try:
            stage = Stage("supervised:app", "threads", options, events, kernel=balance == "kernel")
            outcome = stage(seconds)
            outcome.must(outcome.log.count("\n") < 100 + 5 * outcome.times.total(), "not a word about every request")
            return outcome
        finally:
            shutil.rmtree(directory)

    return run


# ---- all of them ----

WSGI, ASGI = "supervised:app", "supervised:asgi"
ENGINES = (
    (WSGI, "sync", "request"),
    (WSGI, "threads", "request"),
    (WSGI, "gevent", "kernel"),
    (ASGI, "uvloop", "kernel"),
)
WITHIN = (
    faults.exit_within,
    faults.crash_within,
    faults.close_within,
    faults.leak_within,
    faults.hang_within,
    faults.fork_within,
)
HARMFUL = ("kill_worker", *(each.__name__ for each in WITHIN))
EVERYTHING = (faults.kill_worker, faults.kill_balancer, faults.reload, faults.upgrade, *WITHIN)


def scenarios() -> Iterator[Scenario]:
    for app, engine, balance in ENGINES:
        kernel = balance == "kernel"
        lost_in = HARMFUL if kernel else ()

        def stage(*events: Fault, app=app, engine=engine, balance=balance, lost_in=lost_in, **more):  # type: ignore
            options = faults.OPTIONS if set(events) & set(WITHIN) else ()
            return Stage(
                app,
                engine,
                (*options, "--balance", balance),
                events,
                balance == "kernel",
                lost_in,
                failing=HARMFUL,
                **more,
            )

        yield Scenario(f"reload-{engine}", stage(faults.reload))
        yield Scenario(f"upgrade-{engine}", stage(faults.upgrade))
        yield Scenario(f"kill-worker-{engine}", stage(faults.kill_worker))
        yield Scenario(f"application-{engine}", stage(*WITHIN))
        yield Scenario(f"kill-supervisor-{engine}", kill_supervisors(app, engine))
        if not kernel:
            lost_in = ("kill_balancer",)
            yield Scenario(f"kill-balancer-{engine}", stage(faults.kill_balancer, lost_in=lost_in, gap=BACK))
            yield Scenario(f"everything-{engine}", stage(*EVERYTHING, lost_in=lost_in))
    for balance in ("request", "kernel"):
        yield Scenario(f"slow-clients-{balance}", slow_clients(balance))
        yield Scenario(f"logs-{balance}", logs(balance))
    yield Scenario("overload-full-queue", overload("sync", ("--queue", "4"), 40, 4 / 40))
    late = ("--queue", "1000", "--queue-timeout", "300ms")
    yield Scenario("overload-late-queue", overload("sync", late, 40, 0.3))
