"""The balancer's process: signals, the control socket, and the balancer itself."""

from __future__ import annotations

import gc
import logging
import os
import signal
from dataclasses import asdict
from socket import socket as Socket  # noqa: N812
from typing import Any

from eitherway.balancer.balancer import Balancer
from eitherway.balancer.control import Control
from eitherway.config import Config
from eitherway.metrics.counters import Scoreboard
from eitherway.net.listener import ListeningSocket

logger = logging.getLogger("eitherway.balancer")


def run(config: Config, sockets: list[ListeningSocket], control: Socket, scoreboard: Scoreboard) -> int:
    channel = Control(control)
    balancer = Balancer(config, sockets, channel.tell, scoreboard)
    terms = 0

    def act(message: Any) -> None:
        if not isinstance(message, dict):
            raise TypeError("not an object")
        if "add" in message:
            balancer.add(int(message["add"]), str(message["path"]), int(message["slots"]), bool(message.get("loop")))
        elif "remove" in message:
            balancer.remove(int(message["remove"]))
        elif message.get("retire"):
            balancer.retire()
        elif message.get("drain"):
            balancer.drain()
        elif message.get("snapshot"):
            channel.tell({"snapshot": asdict(balancer.snapshot())})
        else:
            raise ValueError("unknown message")

    def gone() -> None:
        logger.warning("balancer: the supervisor has gone")
        balancer.drain()

    def on_term(number: int, frame: object) -> None:
        nonlocal terms
        terms += 1
        if terms > 1:
            os._exit(128 + number)
        balancer.poller.post(balancer.drain)

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the supervisor gets it too, and decides
    channel.start(balancer.poller, act, gone)
    gc.collect()
    gc.freeze()
    try:
        balancer.run()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has been obeyed
        balancer.close()
        scoreboard.end_balancer()  # orphaned workers wait for it
        for sock in sockets:
            sock.close()
    return 0
