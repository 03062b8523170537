"""The parent process. Asks the policy what to do about every event, and does it; hears signals, workers and commands.
It never imports the application, so that nothing in an application can bring it down.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from time import monotonic

from eitherway import __version__
from eitherway.config import Config, unused
from eitherway.errors import BindError
from eitherway.interfaces.base import COLOURS
from eitherway.net.listener import ListeningSocket, close_socket, display
from eitherway.supervisor import policy as p
from eitherway.supervisor.child import slots
from eitherway.supervisor.control import Answer, ControlServer
from eitherway.supervisor.events import Events
from eitherway.supervisor.front import Front, behind
from eitherway.supervisor.handle import Failure, Handle
from eitherway.supervisor.notify import Notifier
from eitherway.supervisor.reload import Watcher
from eitherway.supervisor.remains import Remains, make_directory
from eitherway.supervisor.rounds import Rounds
from eitherway.supervisor.status import describe
from eitherway.supervisor.upgrade import Predecessor, Upgrade, find_predecessor
from eitherway.supervisor.workers import UNWANTED, Workers

logger = logging.getLogger("eitherway.server")

_LOOK = 1.0  # seconds between two rounds


class Supervisor:
    """Serves by worker processes, on sockets that are open already, until a signal or a command ends it."""

    def __init__(
        self, config: Config, sockets: list[ListeningSocket], application: object, workers: int, balance: str
    ) -> None:
        self.config = config
        self.balance = balance
        self.engine = self.interface = ""  # as the first worker says
        self.started = monotonic()
        self.addresses = [display(sock) for sock in sockets]
        self.policy = p.Policy(workers, config.graceful_timeout)
        self._sockets = sockets
        self._directory = make_directory() if balance == "request" else ""
        self._remains = Remains(self._directory, config.pid_file)
        own = behind(config) if self._directory else config
        self.workers = Workers(own, sockets, application, self._forget, self._remains)
        self._events = Events()
        self._front: Front | None = None
        if self._directory:
            self._front = Front(config, sockets, self.workers.board, self._forget, self._on_balancer, self._events)
        self._rounds = Rounds(config, self.workers, self._recycle, self._replace)
        self._notifier = Notifier()
        self._control: ControlServer | None = None
        self._watcher: Watcher | None = None
        self._upgrade = Upgrade(sockets, self._on_replaced, self._events)
        self._predecessor = find_predecessor()
        self._undecided: list[p.Event] = []
        self._waiting: list[Answer] = []  # for the end of a reload
        self._failure: Failure | None = None  # of the last worker that could not start
        self._exit_code: int | None = None
        self._stopping = self._told = self._serving = self._announced = False
        self._looked = 0.0

    def run(self) -> int:
        """Serve; the exit code. Raises StartError when the application cannot be started."""
        try:
            self._events.take_signals((*_SIGNALS, signal.SIGCHLD), self._on_signal)
            self._control = ControlServer(self.config.control_socket, self._on_command, self._events)
            self._remains.add_control_socket([self._control.fresh, self._control.path], self._control.inode)
            if self._predecessor is None:
                self._control.appear()
            if self.config.reload:
                self._watcher = Watcher(self.config, self._forget, self._on_change, self._events)
            self._decide(p.Begin())
            while self._exit_code is None:
                self._events.wait(min(self.policy.due(), self._looked + _LOOK) - monotonic())
                self._reap()
                self._look()
                self._decide(p.Tick())
        finally:
            self._close()
        if self._exit_code and self._failure is not None:
            raise self._failure.error(self._exit_code)
        return self._exit_code

    def _forget(self) -> None:
        """In a child: close what is the supervisor's alone. Its end must be seen when it dies, not when they do."""
        self._events.forget()
        self.workers.close_lines()
        for each in (self._control, self._front, self._watcher, self._upgrade, self._predecessor):
            if each is not None:
                each.forget()

    def _close(self) -> None:
        for id in list(self.workers.handles):  # only where an error of ours brought us here
            self.workers.kill(id, UNWANTED)
        if self._front is not None:
            self._front.kill()
        self.workers.stop_templates()
        if self._watcher is not None:
            self._watcher.stop()
        if self._control is not None:
            self._control.close()
        self._events.close()
        self.workers.close_lines()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)  # what cleans /tmp may have been faster

    # -- signals and commands -------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if number in _SIGNALS:
            _SIGNALS[number](self)

    def _stop(self) -> None:
        """The first time gracefully, the second time now."""
        if self._told:
            self._quit()
        elif not self._stopping:  # else it has been replaced, and answers what is left
            self._notifier.stopping()
            count = len(self.workers.handles)
            logger.info("stopping %d worker%s", count, "s" * (count != 1))
            self._end(p.Stop())
        self._told = True

    def _on_replaced(self) -> None:
        """A new supervisor serves with our sockets."""
        if self._control is not None:
            self._control.disappear()
        self._end(p.Retire())

    def _end(self, event: p.Stop | p.Retire) -> None:
        """Gracefully. Behind a balancer workers follow when that has ended."""
        final = isinstance(event, p.Stop)
        self._begin_end()
        if self._front is not None and self._front.drain(final):
            self.workers.take_leave(list(self.workers.handles), final)
        else:
            self._decide(event)
            self.workers.end_templates()

    def _quit(self) -> None:
        self._begin_end()
        if self._front is not None:
            self._front.kill()
        self._decide(p.Stop(now=True))

    def _begin_end(self) -> None:
        """From now on only workers hold the listening sockets; they accept who has connected, then close them."""
        self._stopping = True
        self._upgrade.cancel()
        if self._watcher is not None:
            self._watcher.stop()
        for sock in self._sockets:
            close_socket(sock)
        self._answer_waiting({"error": "the server is stopping"})

    def _reload(self) -> None:
        if self._stopping:
            self._answer_waiting({"error": "the server is stopping"})
            return
        logger.info("reloading: replacing %d workers, one after the other", self.policy.wanted)
        self._notifier.reloading()
        self._failure = None
        self._decide(p.Reload())

    def _resize(self, by: int) -> None:
        self._decide(p.Resize(by))
        logger.info("%d workers from now on", self.policy.wanted)

    def _reopen(self) -> None:
        """Log files are reopened by who writes them, when they were moved; an application may want to know too."""
        for handle in self.workers.handles.values():
            self.workers.signal(handle, signal.SIGUSR1)

    def _on_command(self, command: str, answer: Answer) -> None:
        if command == "status":
            answer(describe(self))
        elif command == "reload":
            self._waiting.append(answer)
            self._reload()
        elif command == "stop":
            answer({"stopping": True})
            if not self._stopping:
                self._stop()
        else:
            answer({"error": f"there is no command {command!r}"})

    def _on_change(self, path: str) -> None:
        if path:
            logger.info("%s has changed", path)
            self._reload()
        else:
            logger.error("the process that watches files has ended; files are not watched any more")

    # -- workers and the balancer ---------------------------------------------------------------------------

    def _on_worker(self, handle: Handle) -> None:
        for message in handle.line.receive():
            match message:
                case {"ready": _, "engine": engine, "interface": interface}:
                    self.engine, self.interface = engine, interface
                    self._on_ready(handle)
                case {"failed": text, "traceback": trace, "exit_code": code}:
                    handle.failure = Failure(text, trace, code)
                case {"worn": why}:
                    self._recycle(handle, why)
                case {"stuck": text}:
                    logger.error("%s", text)
                    self._replace(handle, f"stuck for more than {self.config.timeout:g} s")
        if handle.line.closed:
            self._events.unwatch(handle.line)

    def _on_ready(self, handle: Handle) -> None:
        handle.is_ready = True
        if self.policy.is_draining(handle.id):  # nobody wants it any more, but it began to serve before it heard
            self.workers.drain(handle.id, final=True)
            return
        if self._stopping:
            self.workers.take_leave([handle.id], final=True)
        if self._front is not None:
            count = slots(self.config, self.engine, COLOURS[self.interface])
            self._front.add(handle.id, handle.path, count or self.config.worker_concurrency, is_loop=not count)
        self._decide(p.Ready(handle.id))

    def _recycle(self, handle: Handle, why: str) -> None:
        member = self.policy.members.get(handle.id)
        if member is not None and not member.worn:
            logger.info("%s %s: replacing it", handle, why)
            self._decide(p.Worn(handle.id))

    def _replace(self, handle: Handle, why: str) -> None:
        handle.reason = why
        self._decide(p.Stuck(handle.id))

    def _on_balancer(self) -> None:
        if self._front is None or self._front.line is None:
            return
        for message in self._front.line.receive():
            match message:
                case {"ready": _} if not self._front.is_ready:
                    self._front.is_ready = True
                    self._announce()
                case {"removed": id}:
                    self.workers.drain(id, final=True)
        if self._front.line.closed:
            self._events.unwatch(self._front.line)

    def _reap(self) -> None:
        for handle, status in self.workers.ended():
            self._on_worker(handle)  # its last words
            self._events.unwatch(handle.line)
            obituary = self.workers.obituary(handle, status)
            self.workers.bury(handle)
            if self._front is not None:
                self._front.remove(handle.id)
            if handle.failure is not None:
                self._failure = handle.failure
                if self.policy.served and not self.policy.reloading:  # else it is told with what follows from it
                    logger.error("%s could not start: %s\n%s", handle, self._failure.message, self._failure.traceback)
            if obituary:
                logger.error("%s", obituary)
            self._decide(p.Died(handle.id, handle.failure.exit_code if handle.failure else 0))
        self._reap_balancer()
        self.workers.bury_strangers(each.pid for each in (self._front, self._watcher, self._upgrade) if each)

    def _reap_balancer(self) -> None:
        front, now = self._front, monotonic()
        if front is None:
            return
        if front.reap(now):
            if front.is_draining:
                self._decide(p.Stop(left=front.left(now)))
            for handle in self.workers.handles.values():
                if self.policy.is_draining(handle.id) and not handle.is_draining:
                    self.workers.drain(handle.id, final=True)  # it would not be said any more that it is removed
        front.keep_running(now)

    def _look(self) -> None:
        now = monotonic()
        if now >= self._looked + _LOOK:
            self._looked = now
            self._notifier.alive(now)
            self._rounds.make(now)
            if self._front is not None:
                self._front.look()

    # -- what the policy decides ----------------------------------------------------------------------------

    def _decide(self, event: p.Event) -> None:
        self._undecided.append(event)
        if len(self._undecided) > 1:
            return  # what was decided before comes first: it is just being done
        while self._undecided:
            for action in self.policy.decide(self._undecided[0], monotonic()):
                self._do(action)
            self._undecided.pop(0)

    def _do(self, action: p.Action) -> None:
        match action:
            case p.Spawn(id):
                self._spawn(id)
            case p.Drain(id, final):
                # The balancer says when it has nothing left there.
                if final or self._front is None or not self._front.remove(id):
                    self.workers.drain(id, final)
                else:
                    self.workers.take_leave([id], final)
            case p.Kill(id, late):
                why = f"it did not end within {self.config.graceful_timeout:g} s" if late else UNWANTED
                self.workers.kill(id, why)
            case p.BackOff(delay):
                logger.warning("workers die early: the next starts in %.3g s", delay)
            case p.Serving():
                self._serving = True
                self._announce()
            case p.Reloaded():
                logger.info("reloaded: all workers are new")
                self._end_reload({"reloaded": self.policy.wanted})
            case p.ReloadFailed(new):
                why = self._failure.message if self._failure else "a new worker ended before it served"
                said = f"the reload failed, and the workers from before go on{f'; {new} are new' if new else ''}: {why}"
                logger.error("%s", said)
                self._end_reload({"error": said})
            case p.Finished(exit_code):
                self._exit_code = exit_code

    def _spawn(self, id: int) -> None:
        try:
            handle = self.workers.spawn(id, self.policy.generation)
        except OSError as error:
            logger.error("cannot start worker %d: %s", id, error)
            self._failure = Failure(f"cannot start a worker: {error}", "", 1)
            self._decide(p.Died(id, 1))
            return
        self._events.watch(handle.line, lambda: self._on_worker(handle))

    def _announce(self) -> None:
        """Once, when the workers serve and the balancer, where there is one, accepts."""
        if self._announced or not self._serving or not (self._front is None or self._front.is_ready):
            return
        self._announced = True
        logger.info(
            "eitherway %s serves %s (%s) on %s by %d worker%s (%s balancing) at %s, pid %d",
            __version__,
            self.config.app or "an application",
            self.interface,
            self.engine,
            self.policy.wanted,
            "s" * (self.policy.wanted > 1),
            self.balance,
            ", ".join(self.addresses),
            os.getpid(),
        )
        for line in unused(self.config, self.engine, COLOURS[self.interface], self.balance == "request"):
            logger.warning("%s", line)
        self._notifier.ready()
        if self._predecessor is not None:
            self._replace_predecessor(self._predecessor)

    def _replace_predecessor(self, predecessor: Predecessor) -> None:
        assert self._control is not None
        try:
            self._remains.take_pid_file()
            self._control.appear(replaces=True)
        except (OSError, BindError) as error:
            logger.error("cannot take the former server's place: %s", error)
        predecessor.replace(self._sockets)

    def _end_reload(self, answer: dict[str, object]) -> None:
        self._notifier.ready()
        self._answer_waiting(answer)

    def _answer_waiting(self, answer: dict[str, object]) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each(answer)


_SIGNALS: dict[int, Callable[[Supervisor], None]] = {
    signal.SIGTERM: Supervisor._stop,
    signal.SIGINT: Supervisor._stop,
    signal.SIGQUIT: Supervisor._quit,
    signal.SIGHUP: Supervisor._reload,
    signal.SIGUSR1: Supervisor._reopen,
    signal.SIGUSR2: lambda supervisor: supervisor._upgrade.begin(),
    signal.SIGTTIN: partial(Supervisor._resize, by=1),
    signal.SIGTTOU: partial(Supervisor._resize, by=-1),
}
