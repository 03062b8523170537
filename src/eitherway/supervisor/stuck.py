"""Where a request is stuck: the Python stacks of threads, greenlets and tasks, as text for the log."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Iterable
from threading import main_thread
from types import FrameType
from typing import Any

from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import describe

Frames = list[tuple[FrameType, int]]  # outermost first, each with its line

_HERE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - as text, as in a code object
_LIBRARIES = (_HERE, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen")


class Watch:
    """Which requests are stuck: those that for `timeout` seconds neither sent anything nor waited for their client.

    A connection that has left HTTP is no request any more, and may stay for ever.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._progress: dict[Exchange, tuple[int, float]] = {}  # bytes sent, and since when no more of them

    def overdue(self, running: Iterable[Exchange], now: float) -> list[Exchange]:
        """Called again and again: what is stuck of what runs.

        One that has waited is known to have done so only where it was seen: hence it is looked at before it is due.
        """
        progress: dict[Exchange, tuple[int, float]] = {}
        for exchange in running:
            if now - exchange.started_at <= self._timeout / 2 or exchange.switched:
                continue
            sent, since = self._progress.get(exchange, (0, exchange.started_at))
            if exchange.bytes_sent != sent or _waits_for_client(exchange):
                sent, since = exchange.bytes_sent, now
            progress[exchange] = sent, since
        self._progress = progress
        return [exchange for exchange, (_, since) in progress.items() if now - since > self._timeout]


def _waits_for_client(exchange: Exchange) -> bool:
    reads = exchange.read_waiter is not None and not exchange.body.complete
    return reads or exchange.write_waiter is not None


def thread_stacks() -> dict[Exchange, Frames]:
    """The requests that threads are running now, with their stacks."""
    found = {}
    for frame in sys._current_frames().values():
        frames = _outward(frame)
        for each, _ in frames:
            exchange = each.f_locals.get("exchange") if each.f_code.co_name == "__call__" else None
            if isinstance(exchange, Exchange):
                found[exchange] = frames
                break
    return found


def loop_stack() -> Frames:
    """What the main thread does, in which loops run."""
    return _outward(sys._current_frames().get(main_thread().ident or 0))


def task_stack(task: Any) -> Frames:
    """The stack of a task that waits, or of a greenlet; empty where there is none."""
    if hasattr(task, "gr_frame"):
        return _outward(task.gr_frame)
    frames: Frames = []
    awaitable = task.get_coro() if hasattr(task, "get_coro") else getattr(task, "coro", None)
    while awaitable is not None:
        frame = next(
            (f for name in ("cr_frame", "gi_frame", "ag_frame") if (f := getattr(awaitable, name, None))), None
        )
        if frame is None:
            break
        frames.append((frame, frame.f_lineno))
        names = ("cr_await", "gi_yieldfrom", "ag_await")
        awaitable = next((a for name in names if (a := getattr(awaitable, name, None)) is not None), None)
    return frames


def _outward(frame: FrameType | None) -> Frames:
    frames: Frames = []
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    frames.reverse()
    return frames


def where(frames: Frames) -> str:
    """The innermost place in the user's own code: "shop/views.py:88 get_report"."""
    if not frames:
        return "the queue of its worker"
    own = [each for each in frames if not each[0].f_code.co_filename.startswith(_LIBRARIES)]
    frame, line = (own or frames)[-1]
    return f"{_short(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}"


def listing(frames: Frames) -> str:
    """The whole stack behind the server's own frames, innermost last, as Python prints one."""
    inside = [each for each in frames if not each[0].f_code.co_filename.startswith(_HERE)]
    lines = []
    for frame, number in inside or frames:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_name}')
        if text := linecache.getline(code.co_filename, number, frame.f_globals).strip():
            lines.append(f"    {text}")
    return "\n".join(lines)


def report(worker: str, seconds: float, exchange: Exchange, frames: Frames) -> str:
    """The line for the log, and the stack below it."""
    line = f"{worker} stuck for {seconds:.3g} s in {where(frames)} ({describe(exchange)})"
    return f"{line}\n{listing(frames)}" if frames else line


def _short(path: str) -> str:
    here = os.getcwd() + os.sep  # noqa: PTH109 - text
    return path.removeprefix(here)
