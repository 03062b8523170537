"""Carries out what the policy decides about worker processes: forks, signals and reaps them, hears what they say."""

from __future__ import annotations

import logging
import os
import signal
import socket as socket_module
from collections.abc import Callable, Iterable
from pathlib import Path

from eitherway.config import Config
from eitherway.metrics import counters as c
from eitherway.net.listener import ListeningSocket
from eitherway.supervisor.child import SPEECHLESS, Post, run_worker
from eitherway.supervisor.forking import HANDLED, fork_holding
from eitherway.supervisor.handle import Failure, Handle, Line, make_lines
from eitherway.supervisor.memory import OutOfMemory
from eitherway.supervisor.remains import Remains
from eitherway.supervisor.template import Template

logger = logging.getLogger("eitherway.server")

_UNIX_BACKLOG = 1024
_NEVER_FORKED = -1
UNWANTED = "it was to end at once"  # why a worker is killed of which that need not be said, if nothing ran in it


class Workers:
    """The handles of all worker processes that have not ended yet. `forget` closes what a child must not keep."""

    def __init__(
        self,
        config: Config,
        sockets: list[ListeningSocket],
        application: object,
        forget: Callable[[], None],
        remains: Remains,
    ) -> None:
        self.board = c.Scoreboard()
        self.handles: dict[int, Handle] = {}
        self._config = config
        self._sockets = sockets
        self._application = application
        self._forget = forget
        self._remains = remains
        self.memory = OutOfMemory()
        self._templates: list[Template] = []  # the last one is of the newest generation

    # -- starting -------------------------------------------------------------------------------------------

    def spawn(self, id: int, generation: int) -> Handle:
        """Fork a worker, or have it forked. Raises OSError where the system does not allow one more process."""
        slot = self.board.take(id)
        if not slot:
            raise OSError("the scoreboard has no slot left")
        path = self._remains.socket_of(id)  # its own; "": it shares ours
        try:
            handle = self._start(id, generation, slot, path)
        except OSError:
            self.board.give_back(slot)
            if path:
                Path(path).unlink(missing_ok=True)
            raise
        self.handles[id] = handle
        return handle

    def _start(self, id: int, generation: int, slot: int, path: str) -> Handle:
        # Made first: a template must not hold the line of a worker.
        template = self._template_of(generation) if self._config.preload else None
        sockets = [_listen(path)] if path else self._sockets
        ours, theirs = make_lines()
        handle = Handle(id, generation, 0, slot, ours, path)
        try:
            if template is not None:
                template.fork(id, slot, theirs, sockets[0] if path else None)
            else:
                handle.pid = self._fork(sockets, self._post(id, theirs, slot), ours)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            if path:
                sockets[0].close()
        return handle

    def _post(self, id: int, line: Line, slot: int) -> Post:
        return Post(id, line, self.board, slot, not self._remains.socket_of(id), self._remains)

    def _template_of(self, generation: int) -> Template:
        """The template of a generation: a reload imports anew."""
        templates = self._templates
        if not templates or templates[-1].generation != generation:
            if templates:
                templates[-1].retire()
            arguments = (self._config, self._sockets, self._application, self._post, self._forget_all)
            templates.append(Template(generation, *arguments))
        return templates[-1]

    def end_templates(self) -> None:
        """No more workers will be wanted."""
        for template in self._templates:
            template.signal(signal.SIGKILL)

    def stop_templates(self) -> None:
        for template in self._templates:
            template.kill()
        self._templates.clear()

    def _hear_templates(self) -> None:
        for template in list(self._templates):
            self._hear(template)
            if template.line.closed:
                template.kill()
                self._templates.remove(template)

    def _hear(self, template: Template) -> None:
        """Learn the numbers of workers it has forked; those that it cannot fork any more have ended."""
        for message in template.line.receive():
            match message:
                case {"forked": id, "pid": pid}:
                    if (handle := self.handles.get(id)) is not None:
                        handle.pid = pid
                        if pid < 0:
                            handle.failure = Failure("the system allows no more processes", "", 1)
                        elif handle.reason:
                            self.signal(handle, signal.SIGKILL)  # it is not wanted any more
                case {"failed": text, "traceback": trace, "exit_code": code}:
                    template.failure = Failure(text, trace, code)  # its end may be seen only later
                case {"warning": text}:
                    logger.warning("%s", text)
        if template.line.closed:
            for handle in self.handles.values():
                if not handle.pid and handle.generation == template.generation:
                    handle.pid = _NEVER_FORKED
                    handle.failure = None if handle.reason else template.failure

    def _fork(self, sockets: list[ListeningSocket], post: Post, ours: Line) -> int:
        pid, before = fork_holding(HANDLED)
        if not pid:
            self._become_worker(sockets, post, ours, before)
        return pid

    def _become_worker(self, sockets: list[ListeningSocket], post: Post, ours: Line, mask: set[int]) -> None:
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            ours.close()
            self._forget_all()
            run_worker(self._config, sockets, self._application, post)
        finally:
            os._exit(1)

    def _forget_all(self) -> None:
        """In a child: close what it must not keep: a listening socket would take clients whom nobody answers."""
        if self._remains.socket_of(0):  # workers have sockets of their own
            for sock in self._sockets:
                sock.close()
        self._forget()

    # -- their end ------------------------------------------------------------------------------------------

    def ended(self) -> list[tuple[Handle, int]]:
        """The workers that have ended, each with its status. They are to be buried."""
        self._hear_templates()
        ended = []
        for handle in self.handles.values():
            if not handle.pid:
                continue  # its template is about to fork it
            try:
                pid, status = os.waitpid(handle.pid, os.WNOHANG) if handle.pid > 0 else (handle.pid, 0)
            except ChildProcessError:
                pid, status = handle.pid, 0
            if pid:
                ended.append((handle, status))
        return ended

    def bury_strangers(self, known: Iterable[int]) -> None:
        """Processes that an application has left behind are ours at their end: where we are process 1, and where
        workers are forked from a template. `known` are others of the supervisor's own."""
        if os.getpid() != 1 and not self._config.preload:
            return  # what else ends here is a child of who has called us, and not ours to be waited for
        if any(not handle.pid for handle in self.handles.values()):
            return  # its template has not said yet which it is
        ours = {*known, *(handle.pid for handle in self.handles.values()), *(each.pid for each in self._templates)}
        try:
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in ours:
                os.waitpid(ended.si_pid, 0)
        except ChildProcessError:
            pass  # we have no children at all

    def bury(self, handle: Handle) -> None:
        """Forget a worker that has ended; its counts are kept."""
        del self.handles[handle.id]
        self.board.give_back(handle.slot)
        handle.line.close()
        if handle.path:
            Path(handle.path).unlink(missing_ok=True)

    def obituary(self, handle: Handle, status: int) -> str:
        """How it ended, in words; empty where it ended as it should, or has said itself why."""
        code = os.waitstatus_to_exitcode(status)
        if handle.failure is not None or (code == 0 and (handle.is_draining or not handle.is_ready)):
            return ""
        if code == -signal.SIGTERM and handle.is_draining and not handle.is_ready:
            return ""  # as it was told, before it could hear
        if code == 0 and self.board.words(handle.slot)[c.STATE] == c.DRAINING:
            logger.info("%s was told to end by others, and has", handle)
            return ""
        if handle.reason == UNWANTED and not self.board.words(handle.slot)[c.RUNNING]:
            return ""
        if code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
            if code == -signal.SIGKILL and not handle.reason:
                how += self.memory.word()
        else:
            how = f"ended with exit code {code}"
            if code == SPEECHLESS:
                how += ": its file descriptors were closed"
        if handle.reason:
            how += f" ({handle.reason})"
        return f"{handle} {how}{self._what_ran(handle)}"

    def _what_ran(self, handle: Handle) -> str:
        running = self.board.words(handle.slot)[c.RUNNING]
        if not running:
            return "" if handle.is_ready else " while starting"
        others = f" and {running - 1} other{'s' * (running > 2)}" if running > 1 else ""
        return f" while running {self.board.text(handle.slot)}{others}"

    # -- ending ---------------------------------------------------------------------------------------------

    def drain(self, id: int, final: bool) -> None:
        handle = self.handles.get(id)
        if handle is None:
            return
        handle.is_draining = True
        if not handle.pid:
            handle.reason = UNWANTED
            self._keep_from_being_forked(handle, signal.SIGTERM)
        elif not handle.is_ready or not handle.line.send({"drain": "final" if final else "retire"}):
            self.signal(handle, signal.SIGTERM)

    def take_leave(self, ids: Iterable[int], final: bool) -> None:
        """Have workers close their WebSockets, which else would last: the balancer waits for its last connection."""
        for handle in [self.handles[id] for id in ids if id in self.handles]:
            if handle.is_ready:
                handle.line.send({"leave": "final" if final else "retire"})

    def kill(self, id: int, why: str) -> None:
        handle = self.handles.get(id)
        if handle is None:
            return
        handle.reason = handle.reason or why
        self.signal(handle, signal.SIGKILL)
        if not handle.pid:
            self._keep_from_being_forked(handle, signal.SIGKILL)

    def _keep_from_being_forked(self, handle: Handle, number: int) -> None:
        """Its template is still importing, perhaps for ever; and of no worker that it was asked for more is wanted."""
        handle.line.send({"drain": "final"})  # if it is forked just now
        for template in self._templates:
            if template.generation == handle.generation:
                template.signal(number)

    def signal(self, handle: Handle, number: int) -> None:
        if handle.pid <= 0:
            return  # there is no process yet
        try:
            os.kill(handle.pid, number)
        except ProcessLookupError:
            pass  # it has ended, and will be reaped

    def name(self, id: int) -> str:
        return str(self.handles.get(id, f"worker {id}"))

    def close_lines(self) -> None:
        for handle in self.handles.values():
            handle.line.close()
        for template in self._templates:
            template.line.close()


def _listen(path: str) -> ListeningSocket:
    sock = ListeningSocket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise OSError(f"cannot listen on {path}: {error.strerror or error}") from None
    sock.listen(_UNIX_BACKLOG)
    sock.setblocking(False)
    return sock
