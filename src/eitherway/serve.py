"""The composition root: opens the sockets, builds the parts, runs them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import current_thread, main_thread

from eitherway.config import Config, Settings, parse_bind
from eitherway.errors import ConfigError, StartError
from eitherway.metrics.pipes import open_log
from eitherway.net.inherited import PREDECESSOR, adopt, passed_sockets
from eitherway.net.listener import ListeningSocket, close_socket, open_socket
from eitherway.worker import Worker, configure_logging


def serve(settings: Settings, application: object = None) -> int:
    """Serve what `settings` say (or the `application` given) until a signal; the exit code. Raises StartError."""
    if current_thread() is not main_thread():
        raise StartError("a server takes signals, which Python gives to the main thread only; run it there")
    config = _with_access_log(settings.config)
    configure_logging(config.log_level)
    _raise_file_limit(config.limit_connections)
    sockets = passed_sockets()
    are_ours = not sockets
    try:
        for bind in config.bind if are_ours else ():
            address = parse_bind(bind)
            sockets.append(adopt(address.fd) if address.fd >= 0 else open_socket(address, config.backlog))
        if not _wants_supervisor(config):
            with _pid_file(config.pid_file):
                return Worker(config, sockets, application).run()
        from eitherway.supervisor.forking import signals_held  # here: a server of one process need not hold it

        with signals_held(), _pid_file(config.pid_file):
            return _supervise(config, sockets, application)
    finally:
        for sock in sockets:
            close_socket(sock)


def _with_access_log(config: Config) -> Config:
    """Its path made that behind --chdir, where not every process goes. Raises ConfigError: it cannot be written."""
    if config.access_log in ("", "-"):
        return config
    directory = Path(config.chdir)
    path = (directory / config.access_log).absolute()
    if directory.is_dir():  # else that is what has to be said
        try:
            open_log(str(path)).close()
        except OSError as error:
            raise ConfigError(f"cannot write the access log {config.access_log}: {error.strerror}") from None
    return replace(config, access_log=str(path))


def _wants_supervisor(config: Config) -> bool:
    """One process is enough where nothing is asked that takes a second one to do."""
    return config.workers != 1 or any(
        (
            config.balance == "request",
            config.reload,
            config.control_socket,
            config.preload,
            config.timeout,
            config.max_requests,
            config.max_memory,
            "NOTIFY_SOCKET" in os.environ,  # systemd wants to be told how we are
            PREDECESSOR in os.environ,  # as does a former supervisor
        )
    )


def _supervise(config: Config, sockets: list[ListeningSocket], application: object) -> int:
    # Imported here: a server of one process need not hold what supervising takes.
    from eitherway.supervisor import cpus, reload, template
    from eitherway.supervisor.front import balance
    from eitherway.supervisor.supervisor import Supervisor

    if config.reload:
        reload.check()
    if config.preload:
        template.check(config)
    workers = config.workers or cpus.available()
    return Supervisor(config, sockets, application, workers, balance(config, workers, application)).run()


@contextmanager
def _pid_file(name: str) -> Iterator[None]:
    """The file with this process's number, for as long as it serves and nobody else has put his there.

    A supervisor that is to replace another writes it when it does.
    """
    if not name:
        yield
        return
    path, text = Path(name).absolute(), f"{os.getpid()}\n"
    try:
        if PREDECESSOR not in os.environ:
            path.write_text(text)
    except OSError as error:
        raise ConfigError(f"cannot write the pid file {name}: {error.strerror}") from None
    try:
        yield
    finally:
        if path.exists() and path.read_text() == text:
            path.unlink()


def _raise_file_limit(connections: int) -> None:
    """Let the process open as many files as its connections need, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(connections + 512, hard) if hard != resource.RLIM_INFINITY else connections + 512
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
