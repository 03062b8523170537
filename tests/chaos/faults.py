"""The faults. Each function makes one happen to a site, once, and returns when the site is whole again."""

from __future__ import annotations

import os
import random
import signal

from production import Site

from serving import wait_until

OPTIONS = ("--timeout", "2s", "--max-memory", "80m", "--threads", "2")  # what a site needs for all of them


# ---- the server's own processes ----


def kill_worker(site: Site) -> int:
    """kill -9 a worker; its pid."""
    before = site.workers()
    victim = random.choice(list(before.values()))
    os.kill(victim, signal.SIGKILL)
    site.wait_for_workers(len(before), without={victim})
    return victim


def kill_balancer(site: Site) -> None:
    victim = site.balancer
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: site.balancer not in (0, victim))


def reload(site: Site) -> None:
    """HUP; every worker is another then."""
    before = site.pids()
    site.send(signal.SIGHUP)
    site.wait_for_workers(len(before), without=before)
    wait_until(lambda: not site.status()["supervisor"]["reloading"])


def upgrade(site: Site) -> None:
    """USR2; nothing is left of the program from before then."""
    before = site.processes()
    count = len(site.pids())
    site.send(signal.SIGUSR2)

    def renewed() -> bool:
        site.process.poll()  # the first one is our child, and has to be buried
        return not before & site.processes() and len(site.pids()) == count

    wait_until(renewed)


# ---- the application ----


def misbehave(site: Site, path: str, words: str, times: int = 1) -> None:
    """Ask for something that its worker does not survive. `words` are what the log says of it, with the path.

    By POST, so that no second worker is given it; `times` at once, where it takes so many to bring a worker down.
    """
    before = site.workers()
    named = site.log.count(words)
    for _ in range(times):
        site.ask(path, "POST")
    site.wait_logged(words, named + 1)
    wait_until(lambda: len(now := site.workers()) == len(before) and now != before)


def exit_within(site: Site) -> None:
    misbehave(site, "/exit", "ended with exit code 7 while running")


def crash_within(site: Site) -> None:
    misbehave(site, "/crash", "was killed by signal 11 (SIGSEGV) while running")


def hang_within(site: Site) -> None:
    """Hold a whole worker: its loop, or its threads. Of two workers with two each, three hold all of one."""
    misbehave(site, "/block", "(POST /block)", 3 if site.engine == "threads" else 1)


def leak_within(site: Site) -> None:
    misbehave(site, "/leak?80", "MiB: replacing it")


def close_within(site: Site) -> None:
    """Close all descriptors, those of the server and of the log too."""
    aborts = site.engine in ("gevent", "uvloop")  # their loops do
    misbehave(site, "/close", "SIGABRT" if aborts else "its file descriptors were closed")


def fork_within(site: Site) -> None:
    """Fork, and kill the worker while its child lives on with all that it has inherited."""
    site.ask("/fork?3", "POST")
    kill_worker(site)
