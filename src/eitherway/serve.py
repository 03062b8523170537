"""The composition root: opens the sockets, builds the parts, runs them."""

from __future__ import annotations

import resource

from eitherway.config import Settings, parse_bind
from eitherway.net.listener import close_socket, open_socket
from eitherway.worker import Worker, configure_logging


def serve(settings: Settings, application: object = None) -> int:
    """Serve what `settings` say (or the `application` given) until a signal; the exit code. Raises StartError."""
    config = settings.config
    configure_logging(config.log_level)
    _raise_file_limit(config.limit_connections)
    sockets = []
    try:
        for bind in config.bind:
            sockets.append(open_socket(parse_bind(bind), config.backlog))
        return Worker(config, sockets, application).run()
    finally:
        for sock in sockets:
            close_socket(sock)


def _raise_file_limit(connections: int) -> None:
    """Let the process open as many files as its connections need, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(connections + 512, hard) if hard != resource.RLIM_INFINITY else connections + 512
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
