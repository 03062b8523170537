"""What the supervisor and the balancer say to each other: lines of JSON over a socket pair.

In: {"add": id, "path": ..., "slots": n, "loop": false}, {"remove": id}, {"retire": true}, {"drain": true},
{"snapshot": true}.
Out: {"ready": true}, {"removed": id}, {"snapshot": {...}}.
The end of the stream means that the supervisor has died.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from socket import socket as Socket  # noqa: N812
from typing import Any

from eitherway.net.poller import IN, OUT, Poller

logger = logging.getLogger("eitherway.balancer")

_RECEIVE = 65536


class Control:
    """The balancer's end. `act` gets every message, `gone` is called at the stream's end."""

    def __init__(self, sock: Socket) -> None:
        self._socket = sock
        self._received = b""
        self._unsent = b""
        self._poller: Poller | None = None

    def start(self, poller: Poller, act: Callable[[Any], None], gone: Callable[[], None]) -> None:
        self._socket.setblocking(False)
        self._poller = poller
        self._act = act
        self._gone = gone
        poller.watch(self._socket.fileno(), self._on_event)

    def tell(self, message: dict[str, object]) -> None:
        self._unsent += json.dumps(message).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        if self._poller is None:
            return
        waited = bool(self._unsent)
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            self._poller.interest(self._socket.fileno(), IN | OUT)
            return
        except OSError:
            self._unsent = b""  # the supervisor has died; the stream's end says so too
            return
        if waited:
            self._poller.interest(self._socket.fileno(), IN)

    def _on_event(self, bits: int) -> None:
        if bits & OUT:
            self._flush()
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            try:
                self._act(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                logger.error("balancer: cannot act on %r from the supervisor: %r", line, error)

    def _end(self) -> None:
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.remove(self._socket.fileno())
            self._gone()
