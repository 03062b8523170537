"""The load balancer, a process of its own between the clients and the workers. docs/balancer.md explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket as Socket  # noqa: N812

    from eitherway.config import Config
    from eitherway.metrics.counters import Scoreboard
    from eitherway.net.listener import ListeningSocket


def run_balancer(config: Config, sockets: list[ListeningSocket], control: Socket, scoreboard: Scoreboard) -> int:
    """Balance until the supervisor, at the other end of `control`, says drain, or dies; the exit code.

    The listening sockets are closed, but their paths are left: they are the supervisor's.
    """
    from eitherway.balancer.process import run

    return run(config, sockets, control, scoreboard)
