"""Which engine `auto` means: that depends on the application, which the supervisor never imports.

So a process of its own imports it, says what it found, and ends, before there are workers.
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType
from typing import Any, NoReturn

from eitherway.config import Config
from eitherway.errors import AppLoadError
from eitherway.supervisor.forking import die_with_parent, flush_streams, fork, reset_signals
from eitherway.supervisor.handle import Failure, Line, make_lines, told
from eitherway.worker import choose, load

_LOOK = 0.5  # seconds
_ENDS = (signal.SIGTERM, signal.SIGQUIT)


def engine_of(config: Config, application: object) -> str:
    """The engine that the workers will run. Raises StartError where the application cannot be imported."""
    if config.engine != "auto":
        return config.engine
    if config.interface != "auto" or application is not None:
        return choose(config, application)[1]
    for number in _ENDS:
        signal.signal(number, _leave)
    ours, theirs = make_lines()
    parent = os.getpid()
    pid = fork()
    if not pid:
        ours.close()
        _look(config, theirs, parent)
    theirs.close()
    # The supervisor's signals are held back until it takes them. An import may never end: these are heard now.
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_ENDS, signal.SIGINT})
    try:
        said = _wait(ours, pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    match said:
        case {"engine": str(engine)}:
            return engine
        case {"failed": text, "traceback": trace, "exit_code": code}:
            raise Failure(text, trace, code).error(code)
    raise AppLoadError(f"importing {config.app} ended the process that did it")


def _wait(line: Line, pid: int) -> dict[str, Any]:
    """What the process says first; nothing where it ends without a word, whoever holds its line then."""
    said: list[dict[str, Any]] = []
    ended = 0
    while not said and not ended:
        select.select([line], [], [], _LOOK)
        ended, _ = os.waitpid(pid, os.WNOHANG)
        said = line.receive()
    line.close()
    if not ended:
        os.waitpid(pid, 0)
    return said[0] if said else {}


def _look(config: Config, line: Line, parent: int) -> NoReturn:
    try:
        reset_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        die_with_parent(parent)
        if engine := told(line, lambda: choose(config, load(config, None))[1]):
            line.send({"engine": engine})
    finally:
        flush_streams()
        os._exit(0)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Told to end before anything serves: what has been opened is closed on the way out."""
    raise SystemExit(0)
