"""The engines: a file a concurrency model, imported when it is chosen; and the table of what runs what."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from eitherway.config import Config
from eitherway.errors import EngineError

if TYPE_CHECKING:
    from eitherway.engines.base import Engine
    from eitherway.net.poller import Poller

# engine -> colour of the interface -> module and class; a sentence where the pair cannot run.
_TABLE = {
    "sync": {"sync": "sync:SyncEngine", "async": "asyncio:OneAtATimeEngine"},
    "threads": {"sync": "threads:ThreadsEngine", "async": "threads:LoopThreadsEngine"},
    "gevent": {
        "sync": "gevent:GeventEngine",
        "async": "gevent switches greenlets and cannot run the coroutines of an ASGI application; "
        "use --engine uvloop or asyncio",
    },
    "asyncio": {"sync": "asyncio:LoopAndThreadsEngine", "async": "asyncio:AsyncioEngine"},
    "uvloop": {"sync": "asyncio:LoopAndThreadsEngine", "async": "asyncio:AsyncioEngine"},
}

NAMES = tuple(_TABLE)

# What an engine needs beyond the base dependencies; the extra has the library's name.
_LIBRARIES = {"gevent": "gevent", "uvloop": "uvloop"}


def choose(name: str, colour: str) -> str:
    """The engine's name, with "auto" resolved: threads for sync, uvloop or asyncio for async applications."""
    if name != "auto":
        return name
    if colour == "sync":
        return "threads"
    return "uvloop" if _installed("uvloop") else "asyncio"


def prepare(name: str) -> None:
    """What must happen before the application is imported: the library is there, and has patched what it patches.

    Raises EngineError.
    """
    library = _LIBRARIES.get(name)
    if library is not None and not _installed(library):
        raise EngineError(
            f'the engine {name} needs {library}, which is not installed; run: pip install "eitherway[{library}]"'
        )
    if name == "gevent":
        from gevent import monkey

        monkey.patch_all()


def create(name: str, colour: str, config: Config, poller: Poller) -> Engine:
    """The engine that runs interfaces of `colour`. Raises EngineError where there is none."""
    entry = _TABLE[name][colour]
    module, _, attribute = entry.partition(":")
    if not attribute:
        raise EngineError(f"the engine {name} cannot run this application: {entry}")
    engine_class = getattr(import_module(f"eitherway.engines.{module}"), attribute)
    if name == "uvloop":
        engine: Engine = engine_class(config, poller, import_module("uvloop").new_event_loop)
    else:
        engine = engine_class(config, poller)
    return engine


def _installed(library: str) -> bool:
    try:
        import_module(library)
    except ImportError:
        return False
    return True
