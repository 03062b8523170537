"""Telling systemd how we are: sd_notify(3), as a datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import os
import socket as socket_module
from time import monotonic


class Notifier:
    """Says nothing where nobody wants to know."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._interval = int(microseconds) / 2e6 if mine and microseconds.isdigit() else 0.0
        self._due = 0.0

    def say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_DGRAM) as sock:
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass  # systemd is restarting; it will ask again

    def ready(self) -> None:
        self.say("READY=1", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        self.say("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * 1e6)}")

    def stopping(self) -> None:
        self.say("STOPPING=1")

    def alive(self, now: float) -> None:
        """Feed the watchdog, where there is one, twice in its interval."""
        if self._interval and now >= self._due:
            self._due = now + self._interval
            self.say("WATCHDOG=1")
