"""Inside a worker process: load the application, join interface to engine, serve, drain."""

from __future__ import annotations

import gc
import logging
import os
import signal

# Bound now, as sleep: where greenlets are patched in, the guard needs a real thread.
from _thread import start_new_thread
from collections.abc import Callable
from threading import main_thread
from time import sleep
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from eitherway import __version__, engines
from eitherway.config import MODELS, Config, unused
from eitherway.engines.base import Engine
from eitherway.engines.patching import originals, unpatched
from eitherway.interfaces.base import COLOURS, Interface
from eitherway.interfaces.loading import detect_interface, load_application, prepare_path
from eitherway.metrics.pipes import StderrHandler
from eitherway.net.ending import Ending
from eitherway.net.listener import Listener, ListeningSocket, close_socket, display
from eitherway.net.poller import Poller
from eitherway.net.service import Service

if TYPE_CHECKING:
    from eitherway.metrics.access_log import AccessLog

logger = logging.getLogger("eitherway.server")

_LAST_WORDS = 2.0  # seconds beyond its time-outs that the engine gets to stop


class Worker:
    """Serves one application on listening sockets that are open already, until a signal ends it."""

    shares_sockets = False  # other processes accept from the sockets too

    def __init__(self, config: Config, sockets: list[ListeningSocket], application: object = None) -> None:
        self._config = config
        self._sockets = sockets
        self._application = application
        self._signals = 0
        self._stopped = self._ended = False
        self._belongings: list[Callable[[], None]] = [sock.close for sock in sockets]
        _workers.add(self)

    def run(self) -> int:
        """Serve; the exit code. Raises StartError."""
        config = self._config
        application = load(config, self._application)
        interface_name, self._engine_name = choose(config, application)
        colour = COLOURS[interface_name]
        self._interface_name = interface_name
        engines.prepare(self._engine_name, config)
        self._poller = Poller()
        self._engine = engines.create(self._engine_name, colour, config, self._poller)
        self._service = Service(
            config,
            self._poller,
            self._engine.spawn,
            collects_bodies=self._engine.collects_bodies,
            access_log=_open_access_log(config),
        )
        interface = _join(interface_name, application, self._engine, config, self._service)
        connect = getattr(interface, "connected", None)  # it brings a server of its own
        shared = self.shares_sockets
        self._listeners = [Listener(self._service, each, shared=shared, connect=connect) for each in self._sockets]
        self._ending = Ending(self._service, self._listeners, self._stop)
        self._belongings += [self._poller.forget, self._service.forget]
        self._take_signals()
        interface = self._prepare(interface)
        # What is loaded by now lives as long as the process; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        try:
            self._engine.run(interface, self._started, self._tick)
        finally:
            self._service.close()
            for listener in self._listeners:
                listener.stop()
            self._ended = True
        return 0

    def _prepare(self, interface: Interface) -> Interface:
        """The last thing before the engine runs."""
        return interface

    def _started(self) -> None:
        self._accept()
        self._announce()

    def _accept(self) -> None:
        for listener in self._listeners:
            listener.start()

    def _announce(self) -> None:
        logger.info(
            "eitherway %s serves %s (%s) on %s%s at %s, pid %d",
            __version__,
            self._config.app or "an application",
            self._interface_name,
            self._engine_name,
            " (monkey-patched)" if MODELS[self._engine_name].patches else "",
            ", ".join(display(sock) for sock in self._sockets),
            os.getpid(),
        )
        for line in unused(self._config, self._engine_name, COLOURS[self._interface_name], balanced=False):
            logger.warning("%s", line)

    def forget(self) -> None:
        """In a process that the application has forked: close what is the server's."""
        for each in self._belongings:
            each()

    # -- ending ---------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        """The first signal drains, a second one ends the process now."""
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)
        self._poller.post(self._drain)
        start_new_thread(self._guard_the_end, ())

    def _drain(self) -> None:
        self._ending.drain()

    def _stop(self) -> None:
        self._stopped = True
        self._engine.stop()

    def _guard_the_end(self) -> None:
        """In a thread of its own: end the process all the same where the application blocks what would end it."""
        patience = self._config.graceful_timeout
        sleep(patience + _LAST_WORDS)
        if self._stopped and not self._ended:  # the application's shutdown has time of its own
            sleep(max(1.0, patience) + _LAST_WORDS)
        if self._ended and main_thread().is_alive():
            return  # the program goes on behind us
        start_new_thread(_exit_soon, ())  # though the log may be blocked, too
        if not self._stopped:
            for exchange in list(self._service.running):
                line = exchange.line
                logger.warning("cut off after %g s of stopping: %s %s", patience, line.method, line.uri)
        what = "threads that are not daemons" if self._ended else "what the application does"
        logger.warning("%s would keep the process from its end; it ends without", what)
        for sock in self._sockets:
            close_socket(sock)
        os._exit(0)

    def _tick(self) -> float:
        return self._ending.look()


def _exit_soon() -> None:
    sleep(1.0)
    os._exit(0)


def _forget_all() -> None:
    """Kept open in an application's child, a port would not be free as long as it lives, nor clients see an end."""
    for worker in list(_workers):
        worker.forget()


_workers: WeakSet[Worker] = WeakSet()
os.register_at_fork(after_in_child=_forget_all)


def _open_access_log(config: Config) -> AccessLog | None:
    if not config.access_log:
        return None
    # Imported here: a server without an access log need not hold what writing one takes.
    from eitherway.metrics.access_log import AccessLog

    return AccessLog(config.access_log, config.access_format)


def _join(name: str, application: Any, engine: Engine, config: Config, service: Service) -> Interface:
    """The interface of that name over the application, with the engine's verb."""
    interface: Interface
    if name == "aiohttp":
        from eitherway.interfaces.aiohttp import AiohttpInterface

        interface = AiohttpInterface(application, config, service)
    elif name == "tornado":
        from eitherway.interfaces.tornado import TornadoInterface

        interface = TornadoInterface(application, config, service)
    elif name == "twisted":
        from eitherway.interfaces.twisted import TwistedInterface

        interface = TwistedInterface(application, config, service)
    elif name == "asgi":
        from eitherway.interfaces.asgi import ASGIInterface

        interface = ASGIInterface(application, config, service.ended, service.sessions)
    else:
        from eitherway.interfaces.wsgi import WSGIInterface

        sessions = service.sessions if engine.concurrent else None
        interface = WSGIInterface(application, config, service.ended, multithread=engine.multithread, sessions=sessions)
    interface.suspend = engine.suspend
    return interface


def choose(config: Config, application: object) -> tuple[str, str]:
    """The names of the interface and of the engine, where they are "auto" by what the application is.

    Raises StartError.
    """
    interface = detect_interface(application) if config.interface == "auto" else config.interface
    return interface, engines.choose(config, COLOURS[interface])


def load(config: Config, application: object) -> Any:
    """The application, imported when the engine has put itself in place, unless it is there already.

    Raises StartError.
    """
    patches = config.engine != "auto" and MODELS[config.engine].patches
    before = originals() if patches else {}
    if config.engine != "auto":
        engines.prepare(config.engine, config)
    prepare_path(config)
    found = load_application(config.app) if application is None else application
    if patches:
        for sentence in unpatched(config.engine, before):
            logger.warning(sentence)
    return found


def configure_logging(level: str) -> None:
    """The server's own log goes to stderr; the application's logging is left alone."""
    root = logging.getLogger("eitherway")
    root.setLevel(level.upper())
    root.propagate = False
    if not root.handlers:
        handler = StderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(handler)
