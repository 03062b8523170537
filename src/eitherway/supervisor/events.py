"""What the supervisor waits for: descriptors that become readable, and signals among them."""

from __future__ import annotations

import selectors
import signal
import socket as socket_module
from collections.abc import Callable, Iterable
from typing import Any


class Events:
    """Calls what was given for each descriptor that is readable. Signals come as bytes over a socket of our own."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket_module.socketpair()
        self._before: dict[int, Any] = {}

    def take_signals(self, numbers: Iterable[int], on_signal: Callable[[int], None]) -> None:
        """From now on, and those that were held back until now."""
        for sock in (self._wake, self._woken):
            sock.setblocking(False)
        for number in numbers:
            self._before[number] = signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

        def hear() -> None:
            for number in self._woken.recv(512):
                on_signal(number)

        self.watch(self._woken, hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)  # they may have come already

    def watch(self, what: Any, callback: Callable[[], object]) -> None:
        self._selector.register(what, selectors.EVENT_READ, callback)

    def unwatch(self, what: Any) -> None:
        """Before `what` is closed: children may hold it too, and then closing alone does not end the watching."""
        try:
            self._selector.unregister(what)
        except (KeyError, ValueError):
            pass  # it was not watched any more

    def wait(self, timeout: float) -> None:
        for key, _ in self._selector.select(max(0.0, timeout)):
            key.data()

    def forget(self) -> None:
        """In a child: close what is the supervisor's."""
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def close(self) -> None:
        if self._before:
            signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.forget()


def _ignore(number: int, frame: object) -> None:
    """The wake-up descriptor has it."""
