"""The poller: one readiness set with all of a worker's sockets in it, itself a descriptor that any loop can watch.

Sockets are registered once, edge-triggered, for everything: hardly a system call changes their interest later. Whoever
owns a socket reads and writes it until it would block; the poller only says that it may go on.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from time import monotonic

IN, OUT, HUNG_UP, BROKEN = EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP | EPOLLERR
STREAM = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
# A Unix socket's reader wakes its writer with every read, wanted or not: there OUT is asked for when it is waited for.
UNIX_STREAM = STREAM & ~EPOLLOUT
_BATCH = 256

Handler = Callable[[int], None]

logger = logging.getLogger("eitherway.server")


class Poller:
    """Calls the handlers of the descriptors that are ready. One thread at a time may `turn` it; `post` is for all."""

    def __init__(self) -> None:
        self._epoll = epoll()
        self._handlers: dict[int, Handler] = {}
        self._gone: set[int] = set()  # removed in this batch: a number used anew must not get the old one's events
        self._posted: deque[Callable[[], None]] = deque()
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.now = monotonic()
        self._silent_until = 0.0
        self.watch(self._eventfd, self._on_wake)

    def fileno(self) -> int:
        """The set's own descriptor: readable when `turn` has something to do."""
        return self._epoll.fileno()

    def add(self, fd: int, handler: Handler, bits: int = STREAM) -> None:
        """Register a stream; `handler` is called with IN, OUT, HUNG_UP and BROKEN bits as each becomes true."""
        self._handlers[fd] = handler
        self._epoll.register(fd, bits)

    def watch(self, fd: int, handler: Handler) -> None:
        """Register a descriptor that is to be called for as long as it is readable (a listener)."""
        self._handlers[fd] = handler
        self._epoll.register(fd, EPOLLIN)

    def pause(self, fd: int) -> None:
        self._epoll.modify(fd, 0)

    def resume(self, fd: int) -> None:
        self._epoll.modify(fd, EPOLLIN)

    def interest(self, fd: int, bits: int) -> None:
        """Change what a descriptor is called for: IN, OUT, both, or 0; STREAM, at once for what is true already."""
        self._epoll.modify(fd, bits)

    def remove(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._gone.add(fd)
            self._epoll.unregister(fd)

    def turn(self, timeout: float | None) -> None:
        """Wait until something is ready, `timeout` seconds at most (None: for ever), and call its handlers."""
        if self._posted:
            timeout = 0
        gone = self._gone
        gone.clear()
        events = self._epoll.poll(timeout, _BATCH)
        self.now = monotonic()
        handlers = self._handlers
        for fd, bits in events:
            handler = handlers.get(fd)
            if handler is not None and fd not in gone:
                try:
                    handler(bits)
                except Exception:  # the others' events come once; and some loops would watch us no more
                    self._complain()
        if self._posted:
            self._run_posted()

    def post(self, callback: Callable[[], None]) -> None:
        """Have `callback` called by the thread that turns the poller, soon. From any thread."""
        self._posted.append(callback)
        self.wake()

    def wake(self) -> None:
        """Make `turn` return. From any thread, and from a signal handler."""
        os.eventfd_write(self._eventfd, 1)

    def _on_wake(self, bits: int) -> None:
        os.eventfd_read(self._eventfd)

    def _run_posted(self) -> None:
        # Only what is there now: callbacks that post again must not keep sockets waiting.
        for _ in range(len(self._posted)):
            try:
                self._posted.popleft()()
            except Exception:
                self._complain()

    def _complain(self) -> None:
        """Log an error of the server's own; one a second, since a listener's may come at every turn."""
        if self.now >= self._silent_until:
            self._silent_until = self.now + 1.0
            logger.exception("an error in the server itself")

    def close(self) -> None:
        os.close(self._eventfd)
        self._epoll.close()
        self._handlers.clear()

    def forget(self) -> None:
        """In a forked child: leave the set to the parent. An empty one takes its number, which a loop may know."""
        with epoll() as fresh:
            os.dup2(fresh.fileno(), self._epoll.fileno(), inheritable=False)
        self._handlers.clear()
