"""--preload: a process that imports the application once, and that workers are forked from, to share its memory.

The workers become the supervisor's children all the same: the template forks twice, and the supervisor has asked the
system for the orphans among its descendants (prctl(2), PR_SET_CHILD_SUBREAPER). So it sees them die as it sees others.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket as socket_module
import threading
from collections.abc import Callable
from dataclasses import replace
from socket import socket as Socket  # noqa: N812

from eitherway.config import MODELS, Config
from eitherway.errors import ConfigError
from eitherway.net.listener import ListeningSocket
from eitherway.supervisor.child import Post, run_worker
from eitherway.supervisor.forking import adopt_orphans, die_with_parent, fork, fork_holding, reset_signals
from eitherway.supervisor.handle import Failure, Line, make_lines, told
from eitherway.worker import load

MakePost = Callable[[int, Line, int], Post]  # of a worker's number, line and slot


def check(config: Config) -> None:
    """Raises ConfigError where the application cannot be imported before the workers are forked."""
    if config.engine != "auto" and MODELS[config.engine].patches:
        raise ConfigError(
            f"--preload does not go with --engine {config.engine}: it has to patch a worker before the application is "
            "imported there; leave --preload out"
        )


class Template:
    """The supervisor's view of it. Forks are asked for at once, and happen when the import is done."""

    def __init__(
        self,
        generation: int,
        config: Config,
        sockets: list[ListeningSocket],
        application: object,
        post: MakePost,
        forget: Callable[[], None],
    ) -> None:
        self.generation = generation
        self.failure = Failure("the template process has ended", "", 1)  # until it says a better reason
        adopt_orphans()
        self.line, theirs = make_lines()
        parent = os.getpid()
        self.pid, _ = fork_holding({signal.SIGTERM})  # it may be told to end at once
        if not self.pid:
            try:
                die_with_parent(parent)  # an import may never come to its end
                self.line.close()
                forget()
                _be_template(config, sockets, application, post, theirs)
            finally:
                os._exit(1)
        theirs.close()

    def fork(self, id: int, slot: int, line: Line, own: Socket | None) -> None:
        """Have a worker forked. One that has ended does not fork it; its last words on the line say why."""
        fds = [line.fileno(), *([own.fileno()] if own else [])]
        message = json.dumps({"id": id, "slot": slot}).encode().ljust(64)
        try:
            socket_module.send_fds(self.line.socket, [message], fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # heard soon, as the end of the line

    def retire(self) -> None:
        """It forks what it was asked for, then ends."""
        self.line.socket.shutdown(socket_module.SHUT_WR)

    def signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # it has ended

    def kill(self) -> None:
        self.line.close()
        self.signal(signal.SIGKILL)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # it has ended


def _be_template(
    config: Config, sockets: list[ListeningSocket], application: object, post: MakePost, line: Line
) -> None:
    reset_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    loaded = told(line, lambda: load(config, application))
    if loaded is None:
        return
    if threading.active_count() > 1:
        line.send({"warning": "the application has started threads while it was imported; workers will lack them"})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # or one could be forked that nobody is told of
    gc.collect()
    gc.freeze()
    line.socket.setblocking(True)
    while True:
        data, fds, _, _ = socket_module.recv_fds(line.socket, 64, 2)
        if not data:
            os._exit(0)  # the supervisor has ended, or wants a new template
        message = json.loads(data)
        if pid := _fork_for_the_supervisor():
            line.send({"forked": message["id"], "pid": pid})
            for fd in fds:
                os.close(fd)
            continue
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        line.close()
        if fds[1:]:
            sockets = [ListeningSocket(fileno=fds[1])]
        own = post(message["id"], Line(Socket(fileno=fds[0])), message["slot"])
        run_worker(replace(config, chdir=""), sockets, loaded, own)


def _fork_for_the_supervisor() -> int:
    """As os.fork, but when it returns in the parent the new process is the supervisor's child. -1: it failed."""
    reader, writer = os.pipe()
    middle = fork()
    if middle:
        os.close(writer)
        os.waitpid(middle, 0)
        with open(reader) as said:
            return int(said.read() or -1)
    os.close(reader)
    pid = fork()
    if pid:
        os.write(writer, b"%d" % pid)
        os._exit(0)
    os.close(writer)
    return 0
