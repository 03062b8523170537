"""The engines: a file a concurrency model, imported when it is chosen (which are there: config/models.py)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from eitherway.config import MODELS, Config
from eitherway.errors import EngineError

if TYPE_CHECKING:
    from eitherway.engines.base import Engine
    from eitherway.net.poller import Poller


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
    model = MODELS[name]
    library = model.library
    if library and not _installed(library):
        raise EngineError(
            f'the engine {name} needs {library}, which is not installed; run: pip install "eitherway[{library}]"'
        )
    if model.patches:
        import_module(f"eitherway.engines.{name}").patch()


def create(name: str, colour: str, config: Config, poller: Poller) -> Engine:
    """The engine that runs interfaces of `colour`. Raises EngineError where there is none."""
    model = MODELS[name]
    entry = model.runs[colour]
    module, _, attribute = entry.partition(":")
    if not attribute:
        raise EngineError(f"the engine {name} cannot run this application: {entry}")
    engine_class = getattr(import_module(f"eitherway.engines.{module}"), attribute)
    engine: Engine
    if model.loop:
        module, _, factory = model.loop.partition(":")
        engine = engine_class(config, poller, getattr(import_module(module), factory))
    else:
        engine = engine_class(config, poller)
    return engine


def _installed(library: str) -> bool:
    try:
        import_module(library)
    except ImportError:
        return False
    return True
