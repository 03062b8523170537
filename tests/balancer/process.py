"""The balancer in a process of its own: `python process.py CONTROL_FD SETTINGS_AS_JSON`, the address on stdout."""

from __future__ import annotations

import json
import logging
import socket
import sys

from eitherway.balancer import run_balancer
from eitherway.config import Config, parse_bind
from eitherway.metrics.counters import Scoreboard
from eitherway.net.listener import display, open_socket


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    control = socket.socket(fileno=int(sys.argv[1]))
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(sys.argv[2]).items()}
    config = Config(**{"bind": ("127.0.0.1:0",), **given})
    sockets = [open_socket(parse_bind(bind), config.backlog) for bind in config.bind]
    print(display(sockets[0]), flush=True)
    return run_balancer(config, sockets, control, Scoreboard())


if __name__ == "__main__":
    sys.exit(main())
