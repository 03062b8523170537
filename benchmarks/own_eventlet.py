"""Eventlet's own WSGI server, as its documentation starts it: `python -m own_eventlet HOST:PORT MODULE:APP`."""

from __future__ import annotations

import sys
from importlib import import_module

GREENLETS = 12_000  # as many connections as the others are allowed


def main() -> None:
    import eventlet

    eventlet.monkey_patch()  # before the application is imported
    from eventlet import wsgi

    address, application = sys.argv[1:]
    host, _, port = address.rpartition(":")
    module, _, name = application.partition(":")
    listener = eventlet.listen((host, int(port)), backlog=2048)
    wsgi.server(listener, getattr(import_module(module), name), max_size=GREENLETS, log_output=False)


if __name__ == "__main__":
    main()
