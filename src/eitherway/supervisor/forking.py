"""Forking, for all that the supervisor starts: the same care before, and the same beginning in the child."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OURS = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
_EVERYBODYS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD)
HANDLED = frozenset({*_OURS, *_EVERYBODYS})  # by a supervisor
_OBEYED = HANDLED - {signal.SIGCHLD}


def fork() -> int:
    """Fork, with empty buffers, or the child would write what is in them once more. Raises OSError."""
    flush_streams()
    return os.fork()


def flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # a full disk, a broken pipe, or no stream at all


def fork_holding(numbers: Iterable[int]) -> tuple[int, set[int]]:
    """Fork with signals held back, and the mask as it was before: in the parent until the fork is over, in the child
    until that lets them through. What comes to the child before must not be taken for the parent's. Raises OSError."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    pid = -1
    try:
        pid = fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid, before


@contextmanager
def signals_held() -> Iterator[None]:
    """Until the supervisor takes them: who has its number from the pid file may use it at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OBEYED)
    try:
        yield
    finally:
        while signal.sigtimedwait(_OBEYED, 0) is not None:
            pass  # it has come to nothing: they are not to be what ends it
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def reset_signals() -> None:
    """In a child that is no worker: ignore those that tell a supervisor what to do, and die of the others."""
    signal.set_wakeup_fd(-1)
    for number in _OURS:
        signal.signal(number, signal.SIG_IGN)
    for number in _EVERYBODYS:
        signal.signal(number, signal.SIG_DFL)


def die_with_parent(parent: int) -> None:
    """In a child: be killed when the parent has ended, whatever is being done then. It may have by now."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def leave_the_cpu() -> None:
    """Do not take the CPU from whoever wakes us, unless an operator has chosen otherwise (sched(7): SCHED_BATCH).

    A worker that preempts the balancer with every request that it is given costs both of them their caches.
    """
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        pass  # a sandbox forbids it; it works without


def adopt_orphans() -> None:
    """Become the parent of those among the descendants whose own has ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def show_stacks() -> None:
    """Have the log show the Python stack of a crash in compiled code, and of an abort."""
    try:
        faulthandler.enable()
    except (OSError, ValueError, RuntimeError):
        pass  # stderr is no file
