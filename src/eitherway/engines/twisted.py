"""twisted: Twisted's reactor turns. ASGI runs as tasks on its asyncio loop, WSGI on threads beside any reactor.

spawn, suspend, resume: as in asyncio.py, for WSGI as in its pool of threads. The reactor is installed before the
application is imported, because an application that imports `twisted.internet.reactor` first would choose it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

from twisted.internet import asyncioreactor
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from eitherway.config import REACTORS, Config
from eitherway.engines.asyncio import AsyncioEngine
from eitherway.engines.base import Engine, Parkable, Tick
from eitherway.engines.beside import ThreadsBeside
from eitherway.errors import EngineError
from eitherway.http.exchange import Exchange
from eitherway.interfaces.base import Interface, outlive_exits
from eitherway.net.poller import Poller

NewLoop = Callable[[], asyncio.AbstractEventLoop]

# What an application may have asked of the reactor while it was imported.
_ASKED = ("_eventTriggers", "_newTimedCalls", "_pendingTimedCalls", "threadCallQueue", "threadpool", "resolver")

_made_by = 0  # the process that has made the reactor, if that was here
_left: list[dict[str, Any]] = []  # descriptors of the process that this one was forked from; closing them would hurt it


def prepare(config: Config, new_loop: NewLoop | None) -> None:
    """Install the reactor. Raises EngineError where there is another already, or none of that name."""
    global _made_by
    name = config.reactor
    if "twisted.internet.reactor" in sys.modules:
        found = type(sys.modules["twisted.internet.reactor"]).__module__
        if name and found != _module_of(name):
            raise EngineError(f"--reactor {name}: the application has installed {found} already; leave --reactor out")
        return
    if config.loop and name not in ("", "asyncio"):
        raise EngineError(f"--loop is for the reactor asyncio, not for {name}; leave one of the two out")
    _made_by = os.getpid()
    if name in ("", "asyncio"):
        asyncioreactor.install((new_loop or asyncio.new_event_loop)())  # type: ignore[no-untyped-call]
        return
    try:
        import_module(_module_of(name)).install()
    except Exception as error:
        raise EngineError(f"--reactor {name} cannot be installed: {type(error).__name__}: {error}") from None


def _module_of(name: str) -> str:
    return f"twisted.internet.{name}reactor" if name in REACTORS else name


def _get_reactor(new_loop: NewLoop) -> Any:
    """The installed reactor. One from before a fork gets descriptors of its own: those are the parent's too."""
    reactor: Any = import_module("twisted.internet.reactor")
    if _made_by != os.getpid():
        _left.append(vars(reactor).copy())
        asked = {name: vars(reactor)[name] for name in _ASKED if name in vars(reactor)}
        readers, writers = set(reactor.getReaders()) - reactor._internalReaders, reactor.getWriters()
        is_asyncio = isinstance(reactor, asyncioreactor.AsyncioSelectorReactor)
        type(reactor).__init__(reactor, *([new_loop()] if is_asyncio else []))
        vars(reactor).update(asked)
        for reader in readers:
            reactor.addReader(reader)
        for writer in writers:
            reactor.addWriter(writer)
        reactor.callLater(0, int)  # with asyncio's it looks at what was asked only when something new is
    return reactor


def _run(reactor: Any) -> None:
    """Run the reactor. It sees its child processes end; how the server ends is the server's business."""
    # What it puts in TERM's place as it begins; INT it leaves to who has it. Never its own, not for a moment.
    reactor.sigTerm = signal.getsignal(signal.SIGTERM)
    if isinstance(reactor, asyncioreactor.AsyncioSelectorReactor):
        reactor.startRunning()
        outlive_exits(reactor._asyncioEventloop.run_forever)
    else:  # these log what is raised in them
        reactor.run()


class ReactorEngine(AsyncioEngine):
    """twisted, for ASGI: the reactor runs asyncio's loop, so Deferreds and coroutines await each other."""

    def __init__(self, config: Config, poller: Poller, new_loop: NewLoop = asyncio.new_event_loop) -> None:
        self._reactor = _get_reactor(new_loop)
        if not isinstance(self._reactor, asyncioreactor.AsyncioSelectorReactor):
            raise EngineError(
                f"an ASGI application needs the reactor asyncio, and {type(self._reactor).__module__} is installed; "
                "leave --reactor out, and give the application by its name"
            )
        super().__init__(config, poller, lambda: self._reactor._asyncioEventloop)

    def _turn(self, serving: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(serving)
        task.add_done_callback(self._stop_reactor)
        _run(self._reactor)
        if not task.done():
            raise EngineError("the application has stopped the reactor")
        task.result()

    def _stop_reactor(self, done: object) -> None:
        self._reactor.callWhenRunning(self._reactor.stop)


class _AnyReactor(Engine):
    """Serves the sockets on whatever reactor there is."""

    def __init__(self, config: Config, poller: Poller, new_loop: NewLoop = asyncio.new_event_loop) -> None:
        super().__init__(config, poller)
        self._reactor = _get_reactor(new_loop)
        self._is_stopping = False
        self._error: BaseException | None = None

    def run(self, interface: Interface, started: Callable[[], None], tick: Tick) -> None:
        self._reactor.callWhenRunning(self._begin, started, tick)
        _run(self._reactor)
        if self._error is not None:
            raise self._error
        if not self._is_stopping:
            raise EngineError("the application has stopped the reactor")

    def _begin(self, started: Callable[[], None], tick: Tick) -> None:
        try:
            started()
        except BaseException as error:  # the reactor would log it and go on
            self._error = error
            self._reactor.stop()
        else:
            self._reactor.addReader(_Sockets(self.poller))
            self._keep_ticking(tick)

    def _keep_ticking(self, tick: Tick) -> None:
        self._reactor.callLater(tick(), self._keep_ticking, tick)

    def stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._reactor.callFromThread(self._reactor.stop)


class BareReactorEngine(_AnyReactor):
    """twisted, for applications that bring their own server: they get accepted sockets, so there are no exchanges."""

    def spawn(self, exchange: Exchange) -> None:
        raise AssertionError("a socket has been read here that is the application's")

    def suspend(self, parked: Parkable, direction: int) -> None:
        raise AssertionError("a socket has been read here that is the application's")


class ReactorAndThreadsEngine(ThreadsBeside, _AnyReactor):
    """twisted, for WSGI: the threads are our own.

    The reactor's pool of threads is the application's, for deferToThread: requests that wait for it do not fill it.
    """


@implementer(IReadDescriptor)
class _Sockets:
    """The poller as the reactor wants a reader to be."""

    def __init__(self, poller: Poller) -> None:
        self.fileno = poller.fileno
        self._turn = poller.turn

    def doRead(self) -> None:  # noqa: N802
        self._turn(0)

    def logPrefix(self) -> str:  # noqa: N802
        return "eitherway"

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """The reactor stops."""
